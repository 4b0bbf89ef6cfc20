import os
import subprocess
import time

from lab.qemu.processor import Lateness, Share, virtual_processors

MS = 1_000_000


def lateness(*after):
    """Of a machine with two processors that had these shares, one pair after the other."""
    steps = iter([{"1": Share(0, 0), "2": Share(0, 0)}, *({"1": Share(*one), "2": Share(*two)} for one, two in after)])
    return Lateness(lambda: next(steps))


def test_a_machine_that_is_served_is_not_late():
    assert lateness(((900 * MS, 0), (10 * MS, 20 * MS))).waited_ms() == 0
    assert lateness(((900 * MS, 4000 * MS), (0, 0))).waited_ms() == 0


def test_the_worst_served_processor_counts():
    assert lateness(((900 * MS, 0), (100 * MS, 2000 * MS))).waited_ms() == 2000
    assert lateness(((10 * MS, 5000 * MS), (100 * MS, 2000 * MS))).waited_ms() == 5000


def test_only_what_came_since_the_restart_counts():
    late = lateness(((100 * MS, 5000 * MS), (0, 0)), ((200 * MS, 5100 * MS), (0, 0)))
    late.restart()
    assert late.waited_ms() == 0


def test_a_thread_is_known_by_its_name():
    """One that is named as QEMU names its own, and one that is not."""
    code = "import ctypes, threading, time\n" \
           "libc = ctypes.CDLL(None)\n" \
           "def work():\n    libc.prctl(15, b'CPU 0/TCG')\n    time.sleep(60)\n" \
           "threading.Thread(target=work).start()\nprint(flush=True)\n"
    child = subprocess.Popen(["/usr/bin/python3", "-c", code], stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        limit = time.monotonic() + 10
        while not (shares := virtual_processors(child.pid)) and time.monotonic() < limit:
            time.sleep(0.01)
        assert len(shares) == 1 and str(child.pid) not in shares
        assert next(iter(shares.values())).ran > 0
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert virtual_processors(child.pid) == {} and str(os.getpid()) not in virtual_processors(os.getpid())
