"""The lab: everything that brings a bed up and drives it from the host."""
import os as _os

# Debian's users do not have these on their PATH; mke2fs and depmod lie there, and need no root.
_os.environ["PATH"] = _os.pathsep.join([_os.environ.get("PATH", _os.defpath), "/usr/sbin", "/sbin"])
