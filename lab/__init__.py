"""The lab: everything that brings a bed up and drives it from the host."""
