"""One run, from options to a sealed stream. The command line and the pytest plugin both use it."""
from __future__ import annotations

import datetime
import os
import platform
import shlex
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable

from lab.again import Surprises
from lab.attacks import attack_classes
from lab.build import ROOT, LoopbackPrograms, Programs, build_carried, build_loopback
from lab.environment import with_programs
from lab.errors import INFRASTRUCTURE, USAGE, Stop
from lab.peer import Peer, load_expectations, load_peer
from lab.progress import Progress
from lab.recording import Recording
from lab.schedule import CASES_PER_MACHINE, BedLike, Job, Scheduler, Settings, batches_for
from lab.suite import Plan, Selection, Suite, load_suite, select
from reports.expectations import Expectation

DEFAULT_PEER = "linux-drm-xen-front"
DEFAULT_BACKEND = "displif-fake-backend"
EMULATED_BACKEND = "displif-fake-backend-emulated"  # of the qemu bed
DEFAULT_GUEST = "displif-fake-frontend"  # of the frontend role on loopback
ANY_BACKEND = "any-backend"  # of --peer-command
CARRIED_FREE_BYTES = 64 * 1024 * 1024


def default_jobs(role: str = "backend", bed: str = "loopback") -> int:
    """More than there are cores: a case spends some of its time waiting for a limit to pass. A real driver's are the
    longest (Linux's frontend: 3 s)."""
    return (os.cpu_count() or 1) + (2 if (role, bed) == ("frontend", "qemu") else 1)


USER_SPACE_PEER = "linux-user-space"  # lab/peers
USER_SPACE_PROGRAM = "displif-linux-guest"


@dataclass(frozen=True)
class RunOptions:
    role: str = "frontend"
    bed: str = "qemu"
    peer: str = DEFAULT_PEER
    peer_command: str | None = None
    selection: Selection = Selection()
    jobs: int = field(default_factory=default_jobs)
    repeat: int = 1
    again: int = 0  # how often a case that fails unexpectedly runs again, alone
    fresh: bool = False  # a machine of its own for every case
    seed: int = 1
    expectations: Path | None = None
    out: Path | None = None
    modules: tuple[Path, ...] = ()
    driver_source: Path | None = None
    kernel: Path | None = None
    modules_dir: Path | None = None
    xen: Path | None = None
    xen_tools: Path | None = None
    driver_domain: bool = False  # the backend under test in a domain of its own
    paranoid: bool = False  # the guest's kernel with poisoned slabs and red zones
    processors: int = 1  # of a machine, for all its domains
    arch: str = "amd64"  # of the qemu bed's machine
    leaks: bool = False  # the guest's kernel is scanned for lost memory behind each case
    argv: tuple[str, ...] = ()

    def repro(self) -> list[str]:
        """The command that repeats the run, without its selection of cases."""
        words = ["./displif-cts", "run"]
        default = RunOptions()
        for option in ("role", "bed", "arch", "peer", "peer_command", "seed", "expectations", "driver_source", "kernel", "modules_dir",
                       "xen", "xen_tools"):
            value = getattr(self, option)
            # A backend's own default is another bed than a frontend's.
            if value != getattr(default, option) or (option == "bed" and self.role == "backend"):
                name = "--modules" if option == "modules_dir" else "--" + option.replace("_", "-")
                words += [name, str(value)]
        words += ["--fresh"] if self.fresh else []
        words += ["--driver-domain"] if self.driver_domain else []
        words += ["--paranoid"] if self.paranoid else []
        words += ["--leaks"] if self.leaks else []
        words += ["--processors", str(self.processors)] if self.processors != 1 else []
        for module in self.modules:
            words += ["--module", str(module)]
        return words


@dataclass(frozen=True)
class Prepared:
    """All input is read and found good; nothing has been booted."""

    options: RunOptions
    peer: Peer
    expectations: list[Expectation]
    expectations_file: str | None
    programs: Programs | LoopbackPrograms
    suite: Suite
    plan: Plan


def prepare(options: RunOptions, progress: Progress, meanwhile: Callable[[], AbstractContextManager[None]] = nullcontext) -> Prepared:
    """Reads the user's files first, so that a mistake shows before anything is built. `meanwhile` spans the build."""
    _check_files(options)
    peer = load_peer(options.peer, options.role)
    if options.bed == "loopback" and peer.descriptor["kind"] != "command":
        raise Stop(USAGE, f"peer {peer.name} is a {peer.descriptor['kind']}; the loopback bed runs commands only")
    if _is_guest_program(options, peer):
        _refuse_driver_options(options, peer)
    if options.bed == "loopback" and options.driver_source and not _takes_driver_source(options, peer):
        raise Stop(USAGE, f"--driver-source on the loopback bed is for the peer {USER_SPACE_PEER}, not for {peer.name}")
    expectations, file = load_expectations(peer, options.expectations)
    with meanwhile():
        programs = build_loopback(progress) if options.bed == "loopback" else build_carried(progress, options.arch)
        if _takes_driver_source(options, peer):
            from lab.fuzz.guest import build_linux_guest

            build_linux_guest(progress, options.driver_source)
    suite = load_suite(programs.lister, options.role)
    plan = select(suite, options.selection)
    return Prepared(options, peer, expectations, file, programs, suite, plan)


def _takes_driver_source(options: RunOptions, peer: Peer) -> bool:
    """Is the peer built from Linux's driver, as a program of this host?"""
    return options.bed == "loopback" and list(peer.descriptor.get("command", [])) == [USER_SPACE_PROGRAM]


def _is_guest_program(options: RunOptions, peer: Peer) -> bool:
    """Is the frontend under test a program, in the guest of the qemu bed?"""
    return (options.role, options.bed, peer.descriptor["kind"]) == ("frontend", "qemu", "command")


def _refuse_driver_options(options: RunOptions, peer: Peer) -> None:
    if options.modules or options.driver_source:
        raise Stop(USAGE, f"--module and --driver-source are a kernel's driver, and peer {peer.name} is a program")
    if options.arch != RunOptions().arch:
        raise Stop(USAGE, f"--arch {options.arch} is for the driver in a kernel: peer {peer.name} is a program of this machine")


def _check_files(options: RunOptions) -> None:
    if options.bed != "qemu":
        _refuse_machine_options(options)
    if options.role == "backend" and (options.modules or options.driver_source):
        raise Stop(USAGE, "--module and --driver-source are the frontend's driver; in --role backend the suite plays the frontend")
    for option, paths, folder in (
        ("--module", options.modules, False), ("--kernel", (options.kernel,), False),
        ("--xen", (options.xen,), False), ("--driver-source", (options.driver_source,), True),
        ("--modules", (options.modules_dir,), True), ("--xen-tools", (options.xen_tools,), True),
    ):
        for path in paths:
            if path is not None:
                _check_path(option, path, folder)
    if options.driver_domain and (options.role, options.bed) != ("backend", "qemu"):
        raise Stop(USAGE, "--driver-domain is where a backend under test runs: it needs --role backend --bed qemu")
    if (options.kernel is None) != (options.modules_dir is None):
        raise Stop(USAGE, "--kernel and --modules belong together: an image, and the modules built with it")
    if (options.xen is None) != (options.xen_tools is None):
        raise Stop(USAGE, "--xen and --xen-tools belong together: libxenctrl must match the hypervisor")
    if options.modules and options.driver_source:
        raise Stop(USAGE, "--module and --driver-source exclude each other")


def _refuse_machine_options(options: RunOptions) -> None:
    """Said, and not ignored: a run without the kernel that was handed in proves nothing about it."""
    default = RunOptions()
    for option, name in (("modules", "--module"), ("kernel", "--kernel"), ("modules_dir", "--modules"), ("xen", "--xen"),
                         ("xen_tools", "--xen-tools"), ("paranoid", "--paranoid"), ("processors", "--processors"),
                         ("arch", "--arch")):
        if getattr(options, option) != getattr(default, option):
            raise Stop(USAGE, f"{name} is for the qemu bed; the {options.bed} bed has neither kernel nor hypervisor")


def _check_path(option: str, path: Path, folder: bool) -> None:
    try:
        if folder:
            os.listdir(path)
        else:
            with open(path, "rb"):
                pass
    except OSError as error:
        raise Stop(USAGE, f"{option} {path}: {error.strerror}") from None


def open_bed(prepared: Prepared, progress: Progress) -> Any:
    """Brings the bed up: for qemu packages, images, template. Raises BedError."""
    if prepared.options.bed == "loopback":
        from lab.loopback import LoopbackBed, PeerCommand

        return LoopbackBed(prepared.programs, PeerCommand.of(prepared.peer.descriptor, prepared.options.peer_command),
                           prepared.options.role)
    from lab.qemu import Bed

    options = prepared.options
    if options.role == "backend":
        return _open_backend_bed(prepared, progress)
    if _is_guest_program(options, prepared.peer):
        return _open_guest_program_bed(prepared, progress)
    bed = Bed(replace(_machine(options), module=_driver(options, progress)), programs=prepared.programs.bin, progress=progress.bed)
    bed.prepare()
    return bed


def _machine(options: RunOptions) -> Any:
    from lab.qemu import BedOptions

    return BedOptions(kernel=options.kernel, modules_dir=options.modules_dir, xen=options.xen, xen_tools=options.xen_tools,
                      paranoid=options.paranoid, processors=options.processors, arch=options.arch)


def _driver(options: RunOptions, progress: Progress) -> list[Path]:
    """The modules under test; none where the guest's kernel brings them along."""
    from lab.kernel import build_driver, stock_driver_source
    from lab.kernel.source import DRIVER
    from lab.qemu.architecture import ARCHITECTURES

    source = options.driver_source
    if source is None and not options.modules and options.kernel is None and not ARCHITECTURES[options.arch].ships_driver:
        source = stock_driver_source(progress=progress.bed, arch=options.arch) / DRIVER
    if source is None:
        return list(options.modules)
    return list(build_driver(source, progress.bed, modules_dir=options.modules_dir, arch=options.arch))


def _open_backend_bed(prepared: Prepared, progress: Progress) -> Any:
    from lab.peer_command import PeerCommand
    from lab.qemu.backend import BackendBed

    options, carried = prepared.options, prepared.programs.carried
    command = PeerCommand.of(prepared.peer.descriptor, options.peer_command).without_shell()
    bed = BackendBed(_machine(options), programs=carried / "bin", progress=progress.bed, command=command, carried=carried,
                     driver_domain=options.driver_domain)
    bed.prepare()
    return bed


def _open_guest_program_bed(prepared: Prepared, progress: Progress) -> Any:
    from lab.peer_command import PeerCommand
    from lab.qemu.guest_program import GuestProgramBed

    words = PeerCommand.of(prepared.peer.descriptor, prepared.options.peer_command).without_shell().argv
    found = build_loopback(progress).bin.get(words[0]) or shutil.which(words[0])
    if found is None:
        raise Stop(INFRASTRUCTURE, f"the peer's command cannot be started: {words[0]}: not found, or not executable")
    bed = GuestProgramBed(_machine(prepared.options), programs=prepared.programs.bin, progress=progress.bed,
                          program=Path(found).resolve(), arguments=words[1:])
    bed.prepare()
    return bed


def make_folder(out: Path | None) -> Path:
    """The run's own folder: the one asked for, or a new one under out/ that no other run has."""
    base = ROOT / "out" / datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    candidates = [out] if out is not None else [base, *(Path(f"{base}-{n}") for n in range(2, 100))]
    for folder in candidates:
        try:
            folder.mkdir(parents=True, exist_ok=out is not None)
        except FileExistsError:
            if out is not None:
                raise Stop(USAGE, f"--out {out}: not a folder") from None
            continue
        except OSError as error:
            raise Stop(INFRASTRUCTURE, f"cannot create {folder}: {error.strerror}") from None
        _check_space(folder)
        return folder
    raise Stop(INFRASTRUCTURE, f"{base} and its like exist already")


def _check_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < CARRIED_FREE_BYTES:
        raise Stop(INFRASTRUCTURE, f"{folder} has {free >> 20} MiB free; a run needs at least "
                   f"{CARRIED_FREE_BYTES >> 20} MiB", "give --out a folder on another disk")


def suite_version() -> dict[str, Any]:
    """The commit that the tree stands on, and whether anything in it differs from that."""
    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit or "unknown", "clean": bool(commit) and changes == ""}


def write_head(recording: Recording, prepared: Prepared, facts: dict[str, Any]) -> None:
    """run, env, plan: what is about to be judged, before anything is."""
    options, peer = prepared.options, prepared.peer
    recording.write("run", {
        "suite": "displif-cts", "suite_version": suite_version(), "argv": list(options.argv), "repro": options.repro(),
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "role": options.role, "bed": options.bed, "peer": peer.descriptor, "peer_version": peer.version(facts),
        "expectations": [entry.to_json() for entry in prepared.expectations],
        "expectations_file": prepared.expectations_file,
        "seed": options.seed, "repeat": options.repeat, "again": options.again, "selection": options.selection.to_json(),
    })
    host = {"system": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()}
    command = options.peer_command or peer.descriptor.get("command")
    recording.write("env", {**with_programs(facts, prepared.programs, command), "host": {**host, **facts.get("host", {})}})
    attacks = attack_classes(options.role, [case.id for case in prepared.suite.cases])
    recording.write("plan", {**prepared.plan.to_record(), "attacks": attacks})


class CaseLines:
    """Tells on stderr how the cases get on."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, case_id: str, attempt: int, verdict: str, reason: str) -> None:
        self._done += 1
        which = case_id if attempt == 1 else f"{case_id} (attempt {attempt})"
        why = reason.splitlines()[0][:160] if reason else ""
        self._progress.say("cases", f"{self._done}/{self._total} {verdict:<11} {which}" + (f"  {why}" if why else ""))


def machine_enders(prepared: Prepared, version: str) -> frozenset[str]:
    """Cases that the expectations know to crash or wedge their machine."""
    known = [entry for entry in prepared.expectations
             if entry.verdict in ("crash", "hang") and entry.applies(prepared.options.bed, version)]
    return frozenset(case.id for case in prepared.plan.runnable if any(entry.covers(case.id) for entry in known))


def execute(prepared: Prepared, bed: BedLike, facts: dict[str, Any], folder: Path,
            on_verdict: Callable[[str, int, str, str], None],
            keep: Callable[[Any], None] | None = None,
            on_start: Callable[[Scheduler], None] = lambda _: None) -> None:
    """Runs the plan on the bed and writes the stream. Interrupted, it leaves a stream without `end`."""
    options, plan = prepared.options, prepared.plan
    recording = Recording(folder, [case.id for case in plan.monitors])
    try:
        write_head(recording, prepared, facts)
        disk = bed.make_disk(prepared.programs.carried)
        peer = prepared.peer.descriptor | {"version": prepared.peer.version(facts)}
        settings = Settings(options.role, options.bed, peer, options.seed, options.leaks, facts=facts)
        version = prepared.peer.version(facts)
        surprises = Surprises([entry for entry in prepared.expectations if entry.applies(options.bed, version)], on_verdict)
        scheduler = Scheduler(bed, disk, recording, settings, surprises)
        on_start(scheduler)
        if keep is not None:
            scheduler.run_batch((Job(plan.runnable[0], 1),), keep)
        else:
            size = 1 if options.fresh else getattr(bed, "cases_per_machine", CASES_PER_MACHINE)
            ending = machine_enders(prepared, str(peer["version"]))
            scheduler.run(batches_for(plan.runnable, options.repeat, size, ending), options.jobs)
            again = surprises.batches(plan.runnable, options.repeat, options.again)
            if again:
                scheduler = Scheduler(bed, disk, recording, settings, on_verdict)
                on_start(scheduler)
                scheduler.run(again, options.jobs)
        recording.judge_monitors()
        recording.seal()
    finally:
        recording.close()


def command_line(options: RunOptions) -> RunOptions:
    """With the command as it was typed."""
    return replace(options, argv=("./displif-cts", *map(shlex.quote, sys.argv[1:])))
