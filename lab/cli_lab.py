"""`lab`: LAVA jobs, made, checked, and run by LAVA's own code."""
from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Mapping

from lab import package
from lab.build import build_carried
from lab.errors import INFRASTRUCTURE, USAGE, Stop
from lab.lava import images, job, lint, results, server, tools
from lab.progress import Progress
from lab.qemu import Bed, BedOptions
from lab.qemu.cache import Cache
from lab.qemu.errors import BedError
from lab.run import make_folder
from lab.suite import check_globs
from reports.model import read_run
from reports.write import write_file

_SERVER_SECONDS = 600.0  # until the scheduler has given the job to the worker, and until the worker has told its end
JOB, DEVICE, LOG, BOARD = "job.yaml", "device.yaml", "lava.log", "board"


def command(arguments: argparse.Namespace) -> int:
    try:
        return {"lint": _lint, "job": _job, "run": _run, "server": _server}[arguments.what](arguments)
    except BedError as error:
        raise Stop(INFRASTRUCTURE, error.message, error.hint) from None


def _lint(arguments: argparse.Namespace) -> int:
    """0: neither LAVA's schema nor the linter complains. 1: one does."""
    if not arguments.files:
        raise Stop(USAGE, "no job is named", "./displif-cts lab lint JOB.yaml")
    lava = tools.obtain(Cache(None), Progress().bed)
    complaints = 0
    for file in arguments.files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Stop(USAGE, f"{file}: {error}") from None
        found = lint.lint_job(text)
        if schema := lava.schema_complaints(file):
            found.insert(0, f"LAVA's schema: {schema}")
        complaints += len(found)
        print("\n".join(f"{file}: {complaint}" for complaint in found) if found else f"{file}: good")
    return 1 if complaints else 0


def _options(arguments: argparse.Namespace) -> job.JobOptions:
    return job.JobOptions(check_globs(arguments.case, "--case"), check_globs(arguments.exclude, "--exclude"), device_type=arguments.device_type,
                          tags=arguments.tag, minutes=arguments.minutes, base_url=arguments.url, start=arguments.start,
                          prompts=arguments.prompt or job.JobOptions.prompts)


def _make(arguments: argparse.Namespace, folder: Path, progress: Progress) -> None:
    """Images, job and device dictionary, into the folder."""
    options = _options(arguments)
    if arguments.boot == "running" and arguments.connect:
        (folder / JOB).write_text(job.running_job(options))
        (folder / DEVICE).write_text(job.board_device(arguments.connect))
        return
    programs = build_carried(progress)
    with Bed(BedOptions(), programs=programs.bin, progress=progress.bed) as bed, progress.phase("images", "Xen, dom0, disk"):
        archive, = package.make(programs.carried, "amd64", folder, deb=False)
        made = images.build(bed.gather(), archive, folder)
    if arguments.boot == "qemu":
        (folder / JOB).write_text(job.qemu_job(made, options))
        (folder / DEVICE).write_text(job.qemu_device())
        return
    board = folder / BOARD
    board.write_text(job.imitated_board(made, options))
    board.chmod(0o755)
    (folder / JOB).write_text(job.network_job(made, options) if arguments.boot == "network" else job.running_job(options))
    (folder / DEVICE).write_text(job.board_device(arguments.connect or str(board.resolve())))


def _job(arguments: argparse.Namespace) -> int:
    folder = make_folder(arguments.out)
    _make(arguments, folder, Progress())
    print(folder / JOB)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    """0: LAVA's results are the stream's. 3: they are not, or the job did not end well."""
    if arguments.boot == "network" and not arguments.connect:
        raise Stop(USAGE, "--boot network needs a board: --connect names the command that leads to its serial line")
    progress = Progress()
    lava = tools.obtain(Cache(None), progress.bed)
    folder = make_folder(arguments.out)
    _make(arguments, folder, progress)
    return run_job(lava, folder, progress)


def _server(arguments: argparse.Namespace) -> int:
    """The job on a whole server of our own. 0: its results, over its API, are the stream's. 3: not, or no job came to its end."""
    if arguments.boot != "qemu" or arguments.device_type not in ("qemu", server.DEVICE_TYPE):
        raise Stop(USAGE, "`lab server` has one device, which is a qemu one: leave --boot and --device-type out")
    if os.geteuid() != 0:
        raise Stop(INFRASTRUCTURE, "LAVA's worker keeps what it downloads in /var/lib/lava/dispatcher: it wants root", "sudo ./displif-cts lab server")
    arguments.device_type = server.DEVICE_TYPE
    progress = Progress()
    parts = server.obtain(Cache(None), progress.bed)
    folder = make_folder(arguments.out)
    _make(arguments, folder, progress)
    with tempfile.TemporaryDirectory(prefix="displif-cts-lava-") as work, server.Server(parts, Path(work), progress.bed, arguments.tag) as lava:
        number = lava.submit((folder / JOB).read_text())
        with progress.phase("LAVA job", f"{lava.url}/scheduler/job/{number}"):
            record = lava.wait(number, 60.0 * arguments.minutes + _SERVER_SECONDS)
        (folder / LOG).write_bytes(lava.log(number))
        status = report(folder, 0 if record["health"] == "Complete" else 1, lava.results(number))
        if arguments.stay:
            print(f"The server stays until Ctrl-C: {lava.url}, user {server.USER}, password {lava.secret}", flush=True)
            while True:
                time.sleep(1)
    return status


def run_job(lava: tools.LavaTools, folder: Path, progress: Progress) -> int:
    """`lava-run` on the folder's job and device."""
    for complaint in (lava.schema_complaints(folder / JOB), *lint.lint_job((folder / JOB).read_text()), *lint.lint_device((folder / DEVICE).read_text())):
        if complaint:
            raise Stop(INFRASTRUCTURE, f"{folder / JOB}: {complaint}")
    (folder / "dispatcher.yaml").write_text(f"dispatcher_ip: 127.0.0.1\nprefix: displif-cts-{os.getpid()}-\n")  # two jobs at once are both number 1
    with tempfile.TemporaryDirectory(prefix="displif-cts-lava-") as work, progress.phase("lava-run"):
        status = lava.run(folder / JOB, folder / DEVICE, folder / "dispatcher.yaml", Path(work), folder / LOG)
    return report(folder, status)


def report(folder: Path, status: int, database: Mapping[str, str] | None = None) -> int:
    """What came back, and whether LAVA and the stream say the same. `database`: what a server has in its own."""
    found = results.read(folder / LOG)
    stream = found.stream()
    run = None
    if stream is not None:
        (folder / "stream.jsonl").write_bytes(stream)
        run = read_run(folder / "stream.jsonl")
    texts = results.differences(found, run)
    if database is not None:
        texts += results.server_differences(found, database)
    table = "".join(f"{result:<8} {name}\n" for name, result in sorted(found.cases.items()))
    write_file(folder / "lava-results.txt", table)
    sys.stdout.write(table)
    for text in texts:
        print(f"DIFFERS   {text}")
    if status != 0:
        print(f"lava-run  status {status}")
    if run is not None:
        print(f"time      {sum(case.seconds for case in run.cases.values()):.1f} s of the job are the cases'")
    print(f"log       {folder / LOG}")
    judged = sum(case.verdict is not None for case in run.cases.values()) if run else 0
    print(f"{'NOT ' if texts or status else ''}THE SAME: {len(found.cases)} results in LAVA, {judged} verdicts in the stream")
    return 3 if texts or status else 0
