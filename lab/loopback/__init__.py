"""The loopback bed: Xen without a hypervisor (harness/loopback), and a backend under test as a process of domain 0."""
from lab.peer_command import PeerCommand

from .bed import LoopbackBed

__all__ = ["LoopbackBed", "PeerCommand"]
