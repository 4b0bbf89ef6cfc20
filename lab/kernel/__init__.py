"""The driver's source made into modules for the guest's kernel: headers and source come from Debian's packages,
unpacked in the cache and never installed."""

from .build import build_driver
from .errors import DriverBuildError
from .headers import KernelHeaders, debian_headers
from .source import DriverSource, find_source, stock_driver_source

__all__ = [
    "DriverBuildError",
    "DriverSource",
    "KernelHeaders",
    "build_driver",
    "debian_headers",
    "find_source",
    "stock_driver_source",
]
