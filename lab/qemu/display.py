"""dom0's display device, made ready for a backend.

bochs-drm enables a mode without telling the device to leave its memory as it is, so that the device clears as much of
its beginning as the mode covers (Linux, drivers/gpu/drm/tiny/bochs.c, bochs_hw_setmode(); QEMU, hw/display/vga.c,
vbe_ioport_write_data(), VBE_DISPI_INDEX_ENABLE): whatever was drawn into a buffer there before its first mode is set
is lost, whoever drew it. So a buffer that nobody shows lies there as long as the machine lives.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from .agent import AgentChannel
from .errors import BedError

EXERCISER = "/bin/displif-cts-exerciser"
PIPE, LOG = "/run/displif-cts/display", "/run/displif-cts/display.log"
DRIVER = "bochs-drm"
LARGEST = 1920 * 1080  # pixels: of the modes that a case sets
ANSWER_SECONDS = 60.0


def occupy_beginning(agent: AgentChannel, exerciser: Path) -> None:
    """Leaves a program in dom0 that holds a buffer at the beginning of the device's memory. Raises BedError."""
    agent.put(EXERCISER, exerciser.read_bytes(), 0o755)
    agent.require("sh", command=f"mkfifo {PIPE}")
    agent.require("start", name="display", argv=["/bin/busybox", "sh", "-c", f"exec {EXERCISER} --stdio <>{PIPE}"], stdout=LOG)
    steps = iter(range(1, 100))

    def ask(line: str) -> dict[str, Any]:
        return _ask(agent, next(steps), line)

    ask(f"open name=card driver={DRIVER}")
    found = ask("connectors fd=card")
    connector = next(c for c in found["connectors"] if c["connected"])
    modes = [mode for mode in connector["modes"] if mode["hdisplay"] * mode["vdisplay"] <= LARGEST]
    mode = max(modes, key=lambda mode: mode["hdisplay"] * mode["vdisplay"])
    size = f"width={mode['hdisplay']} height={mode['vdisplay']}"
    ask(f"create-dumb fd=card name=beginning {size}")
    ask("add-fb fd=card name=picture buffer=beginning")
    # What is shown gets its place in the device's memory, and stays there.
    ask(f"set-crtc fd=card crtc={connector['crtc']} fb=picture connector={connector['id']} {size}")
    ask(f"crtc-off fd=card crtc={connector['crtc']}")
    ask("drop-master fd=card")


def _ask(agent: AgentChannel, number: int, line: str) -> dict[str, Any]:
    agent.require("sh", command=f"echo '{number} {line}' >{PIPE}")
    limit = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < limit:
        for text in str(agent.require("sh", command=f"cat {LOG}")["output"]).splitlines():
            answer = json.loads(text) if text.startswith("{") and text.endswith("}") else {}
            if answer.get("seq") != number:
                continue
            if not answer.get("ok"):
                raise BedError(f"dom0's display device: {line}: {answer.get('error') or answer.get('errno')}")
            return answer
        time.sleep(0.05)
    raise BedError(f"dom0's display device: no answer to `{line}` within {ANSWER_SECONDS:.0f} s")
