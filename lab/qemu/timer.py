"""The timer that QEMU does not save, set again in a restored machine.

QEMU migrates the physical and the virtual timer of an Arm processor, and not the hypervisor's (target/arm/machine.c,
vmstate_arm_cpu; seen with 7.2), which is the one that Xen uses (xen/arch/arm/time.c, reprogram_timer()). In a restored machine no timer
of any domain goes off until Xen sets that one anew, and it does so only when the domain whose timer is due first wakes: it may
be one that waits for just this. So each is woken, by an event of XenStore that means nothing: Linux watches
control/sysrq, and takes an empty one for none (drivers/xen/manage.c, sysrq_handler()).
"""

from __future__ import annotations

from .agent import AgentChannel
from .architecture import Hardware
from .errors import BedError

# dom0 is awake: it answers.
WAKE = ('domains=$(xenstore-list /local/domain) || exit; '
        'for domain in $domains; do [ $domain = 0 ] || xenstore-write /local/domain/$domain/control/sysrq "" || exit; done')


def set_again(agent: AgentChannel, hardware: Hardware) -> None:
    """To be called once, before a restored machine is used. Raises BedError."""
    if not hardware.loses_hypervisor_timer:
        return
    answer = agent.require("sh", command=WAKE)
    if answer.get("status") != 0:
        raise BedError(f"the domains of the restored machine cannot be woken: {str(answer.get('output', '')).strip()[-300:]}")
