"""The shell of `--keep` and `shell`: dom0's, and the verbs of the agent and of the exerciser in the guest."""
from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from lab.qemu.errors import BedError, InstanceDied

HELP = """\
  COMMAND ...              runs in dom0 (busybox sh, Xen's tools, /carried/bin)
  :VERB key=value ...      a verb of the agent, e.g. :domain, :klog offset=0
  :guest.VERB key=value .. a verb of the exerciser in the guest, e.g. :guest.hello, :guest.module name=drm_xen_front
  :quit                    ends the machine"""


def console(machine: Any, source: TextIO | None = None, out: TextIO | None = None) -> None:
    """Reads commands until :quit, the end of input or of the machine."""
    source, out = source or sys.stdin, out or sys.stdout
    interactive = source.isatty()
    print(f"machine kept: QEMU is process {machine.pid}, console log {machine.serial_log}\n{HELP}", file=out)
    while True:
        if interactive:
            print("dom0# ", end="", file=out, flush=True)
        line = source.readline()
        if not line or line.strip() == ":quit":
            return
        if line.strip():
            try:
                print(answer(machine, line.strip()), file=out, flush=True)
            except InstanceDied as error:
                print(error.message, file=out)
                return
            except (BedError, ValueError) as error:
                print(error, file=out)


def answer(machine: Any, line: str) -> str:
    """What one line gives."""
    if not line.startswith(":"):
        reply = machine.agent.call("sh", timeout=600, command=line)
        text = str(reply.get("output", reply)).rstrip("\n")
        return text if not reply.get("status") else f"{text}\n[status {reply['status']}]".lstrip("\n")
    verb, *words = line[1:].split()
    pairs = [word.partition("=") for word in words]
    if any(not sign for _, sign, _ in pairs):
        raise ValueError("arguments are key=value")
    return json.dumps(machine.agent.call(verb, timeout=120, **{key: value for key, _, value in pairs}), indent=1)
