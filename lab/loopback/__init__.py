"""The loopback bed: Xen without a hypervisor (harness/loopback), and a backend under test as a process of domain 0."""
from .bed import LoopbackBed
from .command import PeerCommand

__all__ = ["LoopbackBed", "PeerCommand"]
