"""Options that mean the same in every command, and their way into RunOptions."""
from __future__ import annotations

import argparse
import os
from pathlib import Path

from lab.errors import USAGE, Stop
from lab.run import ANY_BACKEND, DEFAULT_BACKEND, EMULATED_BACKEND, DEFAULT_GUEST, DEFAULT_PEER, RunOptions, default_jobs
from lab.suite import Selection, check_globs, parse_shard

MAX_JOBS = 256
FORMATS = ("human", "jsonl", "ktap", "junit", "lava", "sarif", "markdown")


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1_000_000:
        raise ValueError
    return number


def _natural(text: str) -> int:
    number = int(text, 0)
    if not 0 <= number < 1 << 64:
        raise ValueError
    return number


_positive.__name__, _natural.__name__ = "positive number", "natural number"  # argparse's messages


def add_selection_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--role", choices=("frontend", "backend"), default="frontend", help="what the peer is")
    parser.add_argument("--case", action="append", default=[], metavar="GLOB", help="only these cases (repeatable)")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="not these (repeatable)")
    parser.add_argument("--group", action="append", default=[], metavar="NAME", help="only these groups of cases (repeatable); "
                        "the group `long` runs only when it is named, or with --full")
    parser.add_argument("--full", action="store_true", help="the long cases, too")


def add_bed_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bed", choices=("qemu", "loopback"), default=None,
                        help="where peer and fake meet (default: qemu for a frontend, loopback for a backend)")
    parser.add_argument("--module", action="append", default=[], metavar="FILE", type=Path,
                        help="the driver as a module of the guest's kernel (repeatable: also the buffer module)")
    parser.add_argument("--driver-source", metavar="DIR", type=Path, help="a kernel tree's drivers/gpu/drm/xen, to be built")
    parser.add_argument("--kernel", metavar="IMAGE", type=Path, help="the guest's kernel; needs --modules")
    parser.add_argument("--modules", metavar="DIR", type=Path, help="its modules (lib/modules/VERSION)")
    parser.add_argument("--paranoid", action="store_true", help="boot the guest's kernel with slab poisoning and red zones")
    parser.add_argument("--processors", type=int, choices=range(1, 5), default=1, metavar="N",
                        help="of a machine, for all its domains (default: 1; more let domains race, and take much longer)")
    parser.add_argument("--arch", choices=("amd64", "arm64"), default="amd64", help="of the qemu bed's machine (default: %(default)s)")
    parser.add_argument("--xen", metavar="IMAGE", type=Path, help="the hypervisor; needs --xen-tools")
    parser.add_argument("--xen-tools", metavar="DIR", type=Path, help="the tools built with it")


def _add_execution_options(parser: argparse.ArgumentParser) -> None:
    """How the cases run, whatever the peer."""
    parser.add_argument("--jobs", type=_positive, default=None, metavar="N", help="machines at once (default: cores + 1; for a frontend on qemu cores + 2)")
    parser.add_argument("--repeat", type=_positive, default=1, metavar="N", help="each case N times")
    parser.add_argument("--again", type=int, choices=range(0, 11), default=2, metavar="N",
                        help="a case that fails unexpectedly runs N times more, alone in a fresh machine (default: 2)")
    parser.add_argument("--fresh", action="store_true", help="a machine of its own for every case")
    parser.add_argument("--seed", type=_natural, default=1, metavar="N", help="for everything random")
    parser.add_argument("--expectations", type=Path, metavar="FILE", help="known outcomes (default: the peer's own)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default: a new one under out/)")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    add_selection_options(parser)
    add_bed_options(parser)
    parser.add_argument("--driver-domain", action="store_true",
                        help="qemu bed: a backend runs in an unprivileged domain of its own, not in dom0")
    parser.add_argument("--peer", metavar="NAME|FILE", help=f"peer descriptor (default: {DEFAULT_PEER}, or {DEFAULT_BACKEND})")
    parser.add_argument("--peer-command", metavar="CMD", help="the backend under test, for the shell; it is domain 0's")
    _add_execution_options(parser)
    parser.add_argument("--leaks", action="store_true", help="scan the guest's kernel for lost memory behind each case; it needs kmemleak "
                        "(`kernel debug-guest`), and seven seconds more for each case")
    parser.add_argument("--shard", metavar="I/N", help="the I-th of N parts of the cases")
    parser.add_argument("--format", choices=FORMATS, default="human", help="what to print on stdout")
    parser.add_argument("--list", action="store_true", help="print what would run, and stop")
    parser.add_argument("--keep", action="store_true", help="after the one selected case, a shell in its machine")


def add_gate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--case", action="append", default=[], metavar="GLOB", help="only these cases (repeatable)")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="not these (repeatable)")
    parser.add_argument("--peer", metavar="NAME|FILE", default=DEFAULT_PEER, help=f"peer descriptor (default: {DEFAULT_PEER})")
    _add_execution_options(parser)


def add_certify_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--role", choices=("frontend", "backend"), default="frontend", help="what the peer is")
    add_bed_options(parser)
    parser.add_argument("--peer", metavar="NAME|FILE", help=f"peer descriptor (default: {DEFAULT_PEER}, or {DEFAULT_BACKEND})")
    parser.add_argument("--peer-command", metavar="CMD", help="the backend under test, for the shell; it is domain 0's")
    _add_execution_options(parser)
    parser.add_argument("--run", metavar="RUN", help="certify this recorded run; nothing is run")
    parser.add_argument("--waivers", type=Path, metavar="FILE", help="YAML: a list of {case, verdict, reason, reference}")
    parser.add_argument("--key", type=Path, metavar="FILE", help="minisign's secret key")
    parser.add_argument("--bundle", type=Path, metavar="FILE", help="where to write (default: bundle.tar in the run's folder)")
    parser.add_argument("--make-list", action="store_true", help="write the mandatory list of the suite as it is now, and stop")


def add_lab_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("job", "lint", "run", "server"), help="job: images, job and device dictionary; lint: LAVA's schema "
                        "and what it does not see; run: `lava-run` on such a job, its results against the stream; server: the same on a whole "
                        "LAVA server, which is brought up here for it")
    parser.add_argument("files", metavar="JOB", nargs="*", type=Path, help="for lint: jobs")
    parser.add_argument("--case", action="append", default=[], metavar="GLOB", help="only these cases (repeatable)")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="not these (repeatable)")
    parser.add_argument("--boot", choices=("qemu", "network", "running"), default="qemu", help="qemu: LAVA starts QEMU; network: iPXE boots a board; "
                        "running: the board runs already (`run` without --connect imitates one)")
    parser.add_argument("--connect", metavar="COMMAND", help="what leads to the board's serial line")
    parser.add_argument("--start", metavar="COMMAND", help="typed at the prompt of a board that runs already (default: its dom0 starts the suite)")
    parser.add_argument("--prompt", action="append", default=[], metavar="REGEX", help="that prompt (repeatable; default: '# $')")
    parser.add_argument("--device-type", default="qemu", metavar="TYPE", help="the job's device type (default: %(default)s)")
    parser.add_argument("--tag", action="append", default=[], metavar="TAG", help="a tag that the device must have (repeatable)")
    parser.add_argument("--minutes", type=_positive, default=60, metavar="N", help="the job's time limit (default: %(default)s)")
    parser.add_argument("--url", metavar="URL", help="where the images can be had (default: the files here)")
    parser.add_argument("--stay", action="store_true", help="server: it stays up behind the job, until Ctrl-C")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the job (default: a new one under out/)")


def certify_options(arguments: argparse.Namespace) -> RunOptions:
    """The whole suite: a selection would leave cases of the list out."""
    return run_options(argparse.Namespace(**vars(arguments), case=[], exclude=[], shard=None, driver_domain=False, leaks=False))


def add_fuzz_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="a target (`list` prints them), `triage`, `merge`, or `planted`")
    parser.add_argument("inputs", metavar="INPUT", nargs="*", help="for triage: inputs that found something; "
                        "for planted: a target, and defects by GLOB (--time and --runs are of each); for merge: a target, the corpus to keep, and others")
    parser.add_argument("--time", type=float, metavar="SECONDS", help="how long (default: 60)")
    parser.add_argument("--runs", type=_positive, metavar="N", help="how many executions, instead of a time")
    parser.add_argument("--jobs", type=_positive, default=1, metavar="N", help="processes at once (default: 1)")
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="start from these inputs, and keep what is new there "
                        "(default: the committed ones, left as they are)")
    parser.add_argument("--engine", choices=("libfuzzer", "aflpp"), default="libfuzzer", help="who makes the inputs (default: libfuzzer)")
    parser.add_argument("--sync", type=Path, metavar="DIR", help="for aflpp: the folder that it shares with other processes and machines")
    parser.add_argument("--driver-source", metavar="DIR", type=Path, help="a kernel tree or its drivers/gpu/drm/xen, "
                        "in the place of Debian's")
    parser.add_argument("--peer", metavar="NAME|FILE", help="backend-command: peer descriptor (default: displif-fake-backend, or any-backend)")
    parser.add_argument("--peer-command", metavar="CMD", help="backend-command: the backend under attack, for the shell; it is domain 0's")
    parser.add_argument("--peer-coverage", action="store_true", help="backend-command: the backend is built with afl-clang-fast, or runs under "
                        "afl-qemu-trace, and the engine sees what it executes")
    parser.add_argument("--mask", action="append", default=[], metavar="NAME", help="backend-command: go on past this finding; a glob (repeatable)")
    parser.add_argument("--unmask", action="append", default=[], metavar="NAME", help="report this known finding; all: every one")
    parser.add_argument("--coverage", action="store_true", help="print the lines that the corpus reaches, and stop")
    parser.add_argument("--seed", type=_natural, default=1, metavar="N", help="for everything random")
    parser.add_argument("--promote", metavar="NAME", help="triage: what the real guest shows becomes the case frontend.regression.NAME")
    parser.add_argument("--no-guest", action="store_true", help="triage: not in the real guest")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (default: a new one under out/)")


def _bed_of(role: str, bed: str | None) -> str:
    return bed or ("loopback" if role == "backend" else "qemu")


def _peer_of(role: str, bed: str, peer: str | None, command: str | None) -> str:
    if peer:
        return peer
    if role == "backend":
        return ANY_BACKEND if command else EMULATED_BACKEND if bed == "qemu" else DEFAULT_BACKEND
    return DEFAULT_GUEST if bed == "loopback" else DEFAULT_PEER


def _selection(arguments: argparse.Namespace) -> Selection:
    try:
        shard = parse_shard(arguments.shard) if getattr(arguments, "shard", None) else None
    except ValueError as error:
        raise Stop(USAGE, f"--shard: {error}") from None
    return Selection(check_globs(arguments.case, "--case"), check_globs(arguments.exclude, "--exclude"), shard,
                     tuple(getattr(arguments, "group", ())), getattr(arguments, "full", False))


def list_options(arguments: argparse.Namespace) -> RunOptions:
    return RunOptions(role=arguments.role, selection=_selection(arguments))


def bed_options(arguments: argparse.Namespace) -> RunOptions:
    return RunOptions(bed=_bed_of("frontend", arguments.bed), modules=tuple(arguments.module), driver_source=arguments.driver_source,
                      kernel=arguments.kernel, modules_dir=arguments.modules, xen=arguments.xen,
                      xen_tools=arguments.xen_tools, paranoid=arguments.paranoid, processors=arguments.processors, arch=arguments.arch)


def gate_options(arguments: argparse.Namespace) -> RunOptions:
    """What both sides have in common."""
    return RunOptions(peer=arguments.peer, selection=_selection(arguments), jobs=_jobs(arguments.jobs, "frontend", "qemu"),
                      repeat=arguments.repeat, again=arguments.again, fresh=arguments.fresh, seed=arguments.seed, expectations=arguments.expectations,
                      out=arguments.out)


def _jobs(asked: int | None, role: str, bed: str) -> int:
    if asked is not None and asked > MAX_JOBS:
        raise Stop(USAGE, f"--jobs {asked}: at most {MAX_JOBS}")
    return asked or default_jobs(role, bed)


def run_options(arguments: argparse.Namespace) -> RunOptions:
    role, bed = arguments.role, _bed_of(arguments.role, arguments.bed)
    jobs = _jobs(arguments.jobs, role, bed)
    if arguments.peer_command is not None and bed == "qemu" and role == "frontend":
        raise Stop(USAGE, "--peer-command is for --role backend, and for the loopback bed")
    if arguments.leaks and (role, bed) != ("frontend", "qemu"):
        raise Stop(USAGE, "--leaks is for the frontend's role on the qemu bed: a guest's kernel is scanned")
    peer = _peer_of(role, bed, arguments.peer, arguments.peer_command)
    return RunOptions(
        role=role, bed=bed, peer=peer, peer_command=arguments.peer_command, selection=_selection(arguments),
        jobs=jobs, repeat=arguments.repeat, again=arguments.again, fresh=arguments.fresh, seed=arguments.seed,
        expectations=arguments.expectations, out=arguments.out, modules=tuple(arguments.module), driver_source=arguments.driver_source,
        kernel=arguments.kernel, modules_dir=arguments.modules, xen=arguments.xen, xen_tools=arguments.xen_tools,
        driver_domain=arguments.driver_domain, paranoid=arguments.paranoid, processors=arguments.processors, arch=arguments.arch,
        leaks=arguments.leaks)
