"""The qemu bed: Debian's own Xen, kernels and QEMU under plain emulation. See README.md."""

from .bed import Bed, BedOptions
from .errors import AgentTimeout, BedError, InstanceDied
from .instance import Instance

__all__ = ["AgentTimeout", "Bed", "BedError", "BedOptions", "Instance", "InstanceDied"]
