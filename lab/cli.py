"""The command `displif-cts`: sub-commands, exit status, signals."""
from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from lab.cli_options import add_bed_options, add_certify_options, add_fuzz_options, add_gate_options, add_lab_options, add_run_options, add_selection_options
from lab.errors import INFRASTRUCTURE, USAGE, Stop, Terminated

INTERRUPTED = 130
TERMINATED = 143


class Parser(argparse.ArgumentParser):
    """argparse with our status and form of message."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise Stop(USAGE, message, f"`{self.prog} --help` lists the options")


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="displif-cts", description="Conformance tests for Xen's para-virtual display protocol.",
                    epilog="Exit status: 0 as expected, 1 the peer surprised, 2 usage, 3 infrastructure or nothing judged.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    run = commands.add_parser("run", help="judge a peer and report")
    add_run_options(run)
    listing = commands.add_parser("list", help="print the cases")
    add_selection_options(listing)
    listing.add_argument("--format", choices=("human", "jsonl"), default="human")
    test = commands.add_parser("test", help="run the suite's own tests")
    test.add_argument("--full", action="store_true", help="the long ones too")
    test.add_argument("--only", choices=("unit", "python"), help="C++ unit tests or Python tests alone")
    mutants = commands.add_parser("mutants", help="show that seeded deviations of the driver are caught")
    mutants.add_argument("--mutant", action="append", default=[], metavar="GLOB", help="only these (repeatable)")
    mutants.add_argument("--bed", choices=("qemu", "loopback"), default="qemu",
                         help="qemu: modules in the real guest; loopback: the driver in user space, with sanitizers, and faster (default: qemu)")
    mutants.add_argument("--jobs", type=int, default=None, metavar="N", help="machines at once (default: cores + 1)")
    mutants.add_argument("--list", action="store_true", help="print the mutants and stop")
    mutants.add_argument("--mechanical", type=int, default=0, metavar="N", help="N small changes that nobody chose, instead")
    mutants.add_argument("--seed", type=int, default=1, metavar="N", help="chooses the mechanical ones (default: 1)")
    selftest = commands.add_parser("selftest", help="show that every fault of both fakes is caught, and nothing else")
    selftest.add_argument("--role", choices=("frontend", "backend"), help="only faults of this side")
    selftest.add_argument("--fault", action="append", default=[], metavar="GLOB", help="only these (repeatable)")
    selftest.add_argument("--full", action="store_true", help="all cases against a fault, not up to the first that catches it; and all under each legal stress")
    selftest.add_argument("--jobs", type=int, default=None, metavar="N", help="machines at once (default: cores + 1)")
    selftest.add_argument("--mechanical", type=int, default=0, metavar="N", help="instead: N small changes that nobody chose, in each fake's source")
    selftest.add_argument("--seed", type=int, default=1, metavar="N", help="chooses the mechanical ones (default: 1)")
    coverage = commands.add_parser("coverage", help="requirements without a case, cases without a fault, headers without a "
                                   "requirement")
    coverage.add_argument("--role", choices=("frontend", "backend"), default=None, help="only this one")
    coverage.add_argument("--headers", metavar="DIR", default="/usr/include/xen/io", help="Xen's headers (default: %(default)s)")
    coverage.add_argument("--matrix", metavar="FILE", help="a kill matrix of `selftest`: its survivors count as missing")
    coverage.add_argument("--format", choices=("human", "json"), default="human")
    bench = commands.add_parser("bench", help="measure")
    bench.add_argument("what", choices=("bed", "loopback", "package", "report", "fuzz"), help="bed: restores, cases per minute, template build; "
                       "loopback: round trips, connection, mappings, each against a baseline of the same run; "
                       "package: its size, and how long its programs take to start in a dom0; "
                       "report: time and memory of each report, by the number of cases; "
                       "fuzz: executions per second of each target, against an empty one")
    bench.add_argument("--quick", action="store_true", help="fewer repetitions")
    add_fuzz_options(commands.add_parser("fuzz", help="look for what nobody thought of"))
    report = commands.add_parser("report", help="make reports again from a stream")
    report.add_argument("run", metavar="RUN", nargs="*", help="a run's folder or its stream.jsonl (default: the newest run)")
    report.add_argument("--view", choices=("cases", "security", "times"), default="cases",
                        help="security: by class of attack, of several runs if wanted; times: where the run's time went, by group")
    report.add_argument("--kill-matrix", metavar="FILE", type=Path, help="for html: selftest's kill-matrix.json, shown beside the run")
    report.add_argument("--fuzz", action="append", default=[], metavar="FILE", type=Path, help="for --view security: what a fuzzing session left (repeatable)")
    report.add_argument("--format", choices=("human", "html", "junit", "ktap", "lava", "sarif", "markdown", "all"), default="human")
    report.add_argument("--out", metavar="FILE", help="where to write (default: stdout; for all: the run's folder)")
    expectations = commands.add_parser("expectations", help="the edits that a red run asks for")
    expectations.add_argument("what", choices=("show", "update"), help="show: print them; update: make them, asking for the reason")
    expectations.add_argument("run", metavar="RUN", nargs="?", help="a run's folder or its stream.jsonl (default: the newest run)")
    expectations.add_argument("--file", metavar="FILE", help="the file to edit (default: the run's own)")
    expectations.add_argument("--case", action="append", default=[], metavar="GLOB", help="only edits for these cases (repeatable)")
    for name, text in (("reason", "why it is so"), ("reference", "where that is shown: source, issue, header"),
                       ("owner", "who looks after it"), ("expires", "the last day on which it holds, YYYY-MM-DD")):
        expectations.add_argument(f"--{name}", metavar="TEXT", help=f"{text} (default: asked for)")
    comparing = commands.add_parser("compare", help="what differs between two runs, or between the attempts of one")
    comparing.add_argument("before", metavar="RUN", help="a run's folder or its stream.jsonl")
    comparing.add_argument("after", metavar="RUN", nargs="?", help="the other one (default: the first one's repeated attempts)")
    comparing.add_argument("--format", choices=("text", "html"), default="text")
    comparing.add_argument("--out", metavar="FILE", help="where to write (default: stdout)")
    merging = commands.add_parser("merge", help="the shards of one run, as one run")
    merging.add_argument("runs", metavar="RUN", nargs="+", help="a shard's folder or its stream.jsonl")
    merging.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the whole run")
    gate = commands.add_parser("gate", help="run a driver before and after a change, and show what differs")
    for side, text in (("base", "the driver as it was"), ("patched", "the driver as it is now")):
        gate.add_argument(f"--{side}", action="append", required=True, type=Path, metavar="DIR|FILE",
                          help=f"{text}: a kernel tree or its drivers/gpu/drm/xen, modules (repeatable), or a kernel")
        gate.add_argument(f"--{side}-modules", type=Path, metavar="DIR", help="the modules of that kernel")
    add_gate_options(gate)
    certify = commands.add_parser("certify", help="run the mandatory list, and seal the evidence in a bundle")
    add_certify_options(certify)
    verify = commands.add_parser("verify", help="does a bundle say what its own records say?")
    verify.add_argument("bundle", metavar="BUNDLE", type=Path)
    verify.add_argument("--replay", action="store_true", help="let the monitors judge a frontend's messages once more (builds the runner)")
    verify.add_argument("--key", type=Path, metavar="FILE", help="the maker's public key, for the signature")
    shell = commands.add_parser("shell", help="a shell in dom0 of a fresh machine")
    add_bed_options(shell)
    package = commands.add_parser("package", help="the programs that a dom0 needs, as an archive and a Debian package")
    package.add_argument("--arch", choices=("amd64", "arm64"), default="amd64", help="of the dom0 (default: %(default)s)")
    package.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="where to write (default: here)")
    add_lab_options(commands.add_parser("lab", help="LAVA jobs: make one, check it, run it by LAVA's own code"))
    kernel = commands.add_parser("kernel", help="build a small kernel out of Debian's source, and say how to run the suite on it")
    kernel.add_argument("name", choices=("debug-guest", "kasan-guest"), help="lab/kernel/README.md says what each is")
    kernel.add_argument("--arch", choices=("amd64", "arm64"), default="amd64", help="what for (default: %(default)s)")
    kernel.add_argument("--out", type=Path, metavar="DIR", help="a copy that the cache does not forget")
    commands.add_parser("doctor", help="look at this machine and say what is missing")
    return parser


def _parsed(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """argparse leaves over the words that follow an option: `fuzz` takes its inputs there, too."""
    arguments, rest = parser.parse_known_args(argv)
    if rest and (arguments.command != "fuzz" or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.inputs = [*arguments.inputs, *rest]
    return arguments


def dispatch(arguments: argparse.Namespace) -> int:
    """Sub-commands are imported when used: `report` must not need what `bench` needs."""
    if arguments.command in ("run", "list", "shell"):
        from lab import cli_run

        return getattr(cli_run, arguments.command + "_command")(arguments)
    if arguments.command == "test":
        from lab.cli_test import test

        return test(arguments.full, arguments.only)
    if arguments.command == "mutants":
        from lab.mutants import command

        return command(arguments)
    if arguments.command == "selftest":
        from lab.selftest import command

        return command(arguments)
    if arguments.command == "fuzz":
        from lab.fuzz import command

        return command(arguments)
    if arguments.command == "coverage":
        from lab.coverage import command

        return command(arguments)
    if arguments.command == "bench":
        from lab.bench import command

        return command(arguments)
    if arguments.command == "report":
        from lab.cli_report import command

        return command(arguments)
    if arguments.command in ("compare", "gate"):
        from lab import cli_compare

        return getattr(cli_compare, arguments.command)(arguments)
    if arguments.command in ("certify", "verify"):
        from lab import cli_certify

        return getattr(cli_certify, arguments.command)(arguments)
    if arguments.command == "merge":
        from lab.merge import command

        return command(arguments)
    if arguments.command == "kernel":
        from lab.kernel.kernels import command

        return command(arguments)
    if arguments.command == "package":
        from lab.package import command

        return command(arguments)
    if arguments.command == "lab":
        from lab.cli_lab import command

        return command(arguments)
    if arguments.command == "expectations":
        from lab.cli_expectations import command

        return command(arguments)
    from lab.cli_doctor import doctor

    return doctor()


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated


def main(argv: list[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background jobs start with it ignored
    parser = make_parser()
    try:
        arguments = _parsed(parser, argv)
        if arguments.command is None:
            parser.print_help()
            return USAGE
        return dispatch(arguments)
    except Stop as stop:
        print(stop.text(), file=sys.stderr)
        return stop.status
    except KeyboardInterrupt:
        print("displif-cts: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Terminated:
        print("displif-cts: terminated", file=sys.stderr)
        return TERMINATED
    except BrokenPipeError:  # the reader of our output went away
        sys.stdout = None  # type: ignore[assignment]
        return INFRASTRUCTURE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"displif-cts: {where}{error.strerror or error}", file=sys.stderr)
        return INFRASTRUCTURE


if __name__ == "__main__":
    sys.exit(main())
