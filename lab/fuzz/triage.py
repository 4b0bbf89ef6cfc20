"""`fuzz triage`: what a finding needs, no more, and how far it has been confirmed."""
from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Sequence

from lab.errors import USAGE, Stop
from lab.peer import shown_path
from lab.progress import Progress

from .builds import Built, build_target
from .corpus import pack_text, pack_texts, print_input
from .engine import environment
from .findings import Finding, parse
from .guest_fuzz import input_tool, run_tool
from .outside import PASS_OVER, Outside, attacking
from .guest_replay import GuestReplay, Replay, evidence, reason_for_model_only
from .known import Known, known_findings
from .promote import promote
from .sequence import SEQUENCE, InputSequence, actions_of, fewest, read_sequence, reduced, text_of
from .sessions import PEER
from .sockets import sockets_folder
from .targets import COMMAND, TARGETS, Target

LIMIT = 60  # seconds of one replay
SAY_EVERY = 25  # replays of sequences


def target_of(path: Path, otherwise: Target = TARGETS[0]) -> Target:
    """By the folder of the run that found it, or of the corpus that it is in."""
    for target in sorted(TARGETS, key=lambda each: -len(each.name)):  # one name may be the beginning of another
        if any(target.name in part for part in path.resolve().parts):
            return target
    return otherwise


def replay(built: Built, path: Path, mask: str = "none", before: Sequence[Path] = ()) -> Finding | None:
    """What the input finds, after those that come before it. None: nothing."""
    try:
        with sockets_folder() as sockets:
            done = subprocess.run([str(built.program), f"-timeout={LIMIT}", *map(str, before), str(path)], capture_output=True, text=True,
                                  errors="replace", check=False, timeout=2 * LIMIT + len(before), cwd=path.parent,
                                  env=environment(mask, built) | sockets | {"ASAN_OPTIONS": "malloc_context_size=12"})
    except subprocess.TimeoutExpired:
        return Finding("timeout", "it does not end", ())
    return parse(done.stderr) if done.returncode != 0 else None


def minimise(built: Built, lines: list[str], key: str, folder: Path, mask: str = "none") -> list[str]:
    """The fewest actions, in order, that still end in the finding."""
    def still(fewer: list[str]) -> bool:
        found = replay(built, _pack(built, fewer, folder), mask)
        return found is not None and found.key == key

    return fewest(lines, still)


def _pack(built: Built, actions: list[str], folder: Path) -> Path:
    return pack_text(built, text_of(actions), folder)


def _found(built: Built, packed: Path) -> tuple[Finding | None, Known | None, str]:
    """What the input finds beside all that is known; else which known finding it is: the one without whose mask something is
    found. Unmasked together, one that is met by every input would hide the others. With the mask that shows it."""
    known = known_findings(built)
    found = replay(built, packed, ",".join(known) or "none")
    if found is not None or not known:
        return found, None, ",".join(known) or "none"
    for name in known:
        mask = ",".join(other for other in known if other != name)
        found = replay(built, packed, mask)
        if found is not None:
            return found, known[name], mask
    return None, None, "none"


@dataclass(frozen=True)
class Wish:
    """What is asked for beside the verdict."""

    guest: bool = True  # replay in the real guest
    promote: str | None = None  # the name of a new case


@dataclass
class Verdict:
    """real, model only, or not reproduced; `lines` are the actions that it needs, `guest` what the real guest showed."""

    word: str
    text: str
    lines: list[str] = field(default_factory=list)
    guest: Replay | None = None


def triage(paths: list[Path], progress: Progress, wish: Wish = Wish(), peer: Outside | None = None) -> int:
    """`peer`: what inputs of backend-command attack."""
    if not paths:
        raise Stop(USAGE, "fuzz triage needs inputs", "e.g. out/fuzz-*/findings/*/input")
    if wish.promote is not None and (len(paths) > 1 or not wish.guest):
        raise Stop(USAGE, "--promote takes one input, which the real guest must show")
    for path in paths:
        if not path.is_file():
            raise Stop(USAGE, f"{path} is no file")
    replays = GuestReplay(progress)
    try:
        verdicts = [_one(path, progress, replays, wish, peer) for path in paths]
        if wish.promote is not None:
            _promote(wish.promote, verdicts[0], replays)
    finally:
        replays.close()
    return 0 if all(verdict.word == "not reproduced" for verdict in verdicts) else 1


def _promote(name: str, verdict: Verdict, replays: GuestReplay) -> None:
    if verdict.guest is None or verdict.guest.finding is None:
        raise Stop(USAGE, f"--promote: the real guest does not show it, so that a case would prove nothing ({verdict.word})")
    path = promote(name, verdict.guest.finding, verdict.lines, f"{PEER} {replays.peer_version}")
    print(f"promoted  frontend.regression.{name}: {shown_path(path)}")
    print(f"          judge it: ./displif-cts run --case frontend.regression.{name}; what it then asks for: "
          "./displif-cts expectations update, ./displif-cts certify --make-list")


def _one(path: Path, progress: Progress, replays: GuestReplay, wish: Wish, peer: Outside | None) -> Verdict:
    target = target_of(path) if peer is None else target_of(path, COMMAND)
    print(f"input     {path}")
    verdict = _in_guest(path, progress, replays) if target.guest else _in_process(path, target, progress, replays, wish, peer)
    print(f"verdict   {verdict.word}: {verdict.text}")
    return verdict


def _in_process(path: Path, target: Target, progress: Progress, replays: GuestReplay, wish: Wish, peer: Outside | None) -> Verdict:
    built = build_target(target, progress)
    if peer is not None and target.command:
        built = attacking(built, peer, [])
    text = print_input(built, path) if target.typed else ""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packed = pack_text(built, text, folder) if target.typed else path.resolve()
        if peer is not None and target.command and path.with_name(SEQUENCE).is_file():
            sequence = read_sequence(path.with_name(SEQUENCE))
            # As when it was found, or what was passed over then would end it before.
            built = replace(built, environment={**peer.environment, PASS_OVER: sequence.passed_over})
            if not _shows(replay(built, packed), path.parent.name):
                verdict = _together(built, sequence, path.parent.name, folder, peer, progress)
                if verdict is not None:
                    return verdict
        found, known, mask = _found(built, packed)
        if found is None:
            return Verdict("not reproduced", "the input ends without a finding, whatever is unmasked")
        _tell(found)
        if known is not None:
            print(f"known     {known.name}: {known.what}; masked in ordinary runs")
        whole = actions_of(text)
        lines = minimise(built, whole, found.key, folder, mask) if target.typed else []
        _tell_actions(lines)
    if target.driver and wish.guest:
        return _confirm(found, known, whole, lines, replays)
    if target.driver:
        seen = f" (the case {known.seen} shows it there)" if known is not None and known.seen else ""
        return Verdict("model only", f"not replayed in the real guest{seen}", lines)
    where = f"as a program: {peer.shown}" if peer is not None and target.command else "in process"
    if found.broken_requirement:
        return Verdict("real", f"the backend breaks {found.kind}, {where}", lines)
    return Verdict("real", f"the code under test is the one that ships, {where}", lines)


def _shows(found: Finding | None, key: str) -> bool:
    return found is not None and found.key == key


def _together(built: Built, sequence: InputSequence, key: str, folder: Path, peer: Outside, progress: Progress) -> Verdict | None:
    """What the last input brings about only after others: `key`. None: after these it does not, either."""
    replays = 0

    def found(inputs: list[list[str]]) -> Finding | None:
        nonlocal replays
        replays += 1
        if replays % SAY_EVERY == 0:
            progress.say("triage", f"{replays} sequences replayed, this one of {len(inputs)} inputs")
        paths = pack_texts(built, [text_of(lines) for lines in inputs], folder)
        return replay(built, paths[-1], before=paths[:-1]) if paths else None

    before = len(sequence.inputs) - 1
    seen = found(sequence.inputs)
    if seen is None or seen.key != key:
        print(f"sequence  after the {before} inputs before it, too, it does not end in {key}")
        return None
    _tell(seen)
    inputs = reduced(sequence.inputs, lambda fewer: _shows(found(fewer), key))
    if len(inputs) > 1:
        print(f"needs     {len(inputs)} inputs, one after the other on a connection:")
    for number, lines in enumerate(inputs, 1):
        _tell_actions(lines, "" if len(inputs) == 1 else f" in input {number}")
    return Verdict("real", f"the backend shows it after {before} inputs before this one, as a program: {peer.shown}",
                   [line for lines in inputs for line in lines])


def _confirm(found: Finding, known: Known | None, whole: list[str], lines: list[str], replays: GuestReplay) -> Verdict:
    """What the model found, in the real guest: the minimised input, and when that shows nothing, the whole one."""
    sessions = 0
    for actions in (lines, whole):
        seen = replays.play(text_of(actions))
        sessions += seen.sessions
        if seen.finding is not None:
            _tell_guest(seen)
            case = f"; the case {known.seen} shows it, too" if known is not None and known.seen else ""
            return Verdict("real", f"reproduced in the guest, in session {sessions}: {seen.finding.title()}{case}", actions, seen)
        if actions == whole:
            break
    if known is not None and known.seen:
        return Verdict("real", f"the case {known.seen} shows it in the guest; these actions did not, in {sessions} sessions", lines)
    reason = reason_for_model_only(found, lines, sessions)
    if reason:
        return Verdict("model only", reason, lines)
    return Verdict("not reproduced", f"the model shows it, {sessions} sessions in the guest do not, and nothing is known that explains it", lines)


def _in_guest(path: Path, progress: Progress, replays: GuestReplay) -> Verdict:
    """Found there: minimised there, too."""
    text = run_tool(input_tool(progress), "print", path)
    lines = actions_of(text)
    seen = replays.play(text)
    if seen.finding is None:
        return Verdict("not reproduced", f"{seen.sessions} sessions in the guest end without a finding", lines)
    _tell(seen.finding)
    lines = replays.minimise(lines, seen.finding.key)
    _tell_actions(lines)
    _tell_guest(seen)
    return Verdict("real", f"reproduced in the guest, in session {seen.sessions}: {seen.finding.title()}", lines, seen)


def _tell(found: Finding) -> None:
    print(f"finding   {found.key}: {found.title()}")
    for function, place in list(zip(found.frames, found.places))[:6]:
        print(f"          {function} {place}")


def _tell_actions(lines: list[str], where: str = "") -> None:
    if lines:
        print(f"needs     {len(lines)} actions{where}:")
    for line in lines:
        print(f"          {line}")


def _tell_guest(seen: Replay) -> None:
    print(f"in guest  {seen.outcome.verdict}, in session {seen.sessions}:")
    for line in evidence(seen):
        print(f"          {line}")
