"""Streams, whole and damaged: what is wrong is named, and the run is never green for it."""
from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any, Callable

import jsonschema
import pytest

from reports.expectations import from_json
from reports.judge import judge, requirement_states
from reports.model import Messages, read_run
from reports.reader import StreamError, StreamReader
from reports.tests import streams as s
from reports.write import FORMATS, judged_stream, render

SCHEMA = json.loads((Path(__file__).parents[1] / "stream.schema.json").read_text())


def test_a_whole_stream_keeps_the_schema_and_is_as_expected(tmp_path: Path) -> None:
    path = s.write(tmp_path, s.whole(s.KNOWN))
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.check_schema(SCHEMA)
    for line in path.read_text().splitlines():
        validator.validate(json.loads(line))
    judged = judged_stream(path)
    assert judged.trouble == [] and judged.exit_status == 0
    assert sorted(r.id for r in judged.deviations()) == sorted((s.BAD, s.MONITOR))


@pytest.mark.parametrize("change", [
    {"t": "check", "ok": "yes"}, {"t": "verdict", "verdict": "green"}, {"t": "msg", "hex": "0"}, {"seq": -1},
    {"t": "artifact", "name": "../x", "path": "x", "sha256": "0"},
])
def test_the_schema_rejects(tmp_path: Path, change: dict[str, Any]) -> None:
    record = {"seq": 0, **s.check(s.GOOD, True), "kind": "req", "dir": "-", "reason": "", "attempt": 1, "ns_spent": 1}
    jsonschema.validate(record, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record | change, SCHEMA)


def without(records: s.Records, kind: str, case: str) -> s.Records:
    return [r for r in records if (r["t"], r.get("case")) != (kind, case)]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "no end": (lambda data: data[: data.rindex(b'{"v":1,"t":"end"')], "no end record"),
    "cut in a line": (lambda data: data[:-40], "cut off"),
    "empty": (lambda data: b"", "no plan"),
    "only rubbish": (lambda data: b"\x00\xff\xfe not a stream", "not JSON"),
    "one byte changed": (lambda data: data.replace(b'"ns_spent":1500000000', b'"ns_spent":1500000001', 1), "hash"),
    "a line removed": (lambda data: b"\n".join(l for l in data.split(b"\n") if b'"seq":5}' not in l), "seq is 6, not 5"),
    "a line twice": (lambda data: data.replace(b"\n", b"\n" + data.split(b"\n")[0] + b"\n", 1), "seq is 0, not 1"),
    "a line behind the end": (lambda data: data + b'{"v":1,"t":"x","seq":99,"ns":1}\n', "behind the end"),
    "a newer version": (lambda data: data.replace(b'"v":1', b'"v":2', 1), "version 2"),
    "deep nesting": (lambda data: b"[" * 200_000 + b"\n" + data, "line 1"),
    "lists for objects": (lambda data: data.replace(b'"fields":{', b'"fields":[1],"x":{', 1), "fields is of the wrong type"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_reported_and_never_green(tmp_path: Path, name: str) -> None:
    change, wanted = DAMAGE[name]
    path = s.write(tmp_path, s.whole(s.KNOWN))
    path.write_bytes(change(path.read_bytes()))
    judged = judged_stream(path)
    assert judged.exit_status == 3
    assert any(wanted in note for note in judged.trouble), judged.trouble
    for form in FORMATS:
        assert render(judged, form, tmp_path)


def sealed_again(data: bytes) -> bytes:
    """As a forger leaves it: the hash is right again."""
    head = data[:data.rindex(b"\n", 0, -1) + 1] if b"\n" in data[:-1] else b""
    return head + json.dumps(s.rec("end", counts={}, sha256=hashlib.sha256(head).hexdigest(), seq=0)).encode() + b"\n"


@pytest.mark.parametrize("seal", [False, True])
def test_random_damage_never_makes_the_reader_raise(tmp_path: Path, seal: bool) -> None:
    whole = s.write(tmp_path, s.whole(s.KNOWN)).read_bytes()
    source = random.Random(1)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(source.randint(1, 8)):
            at = source.randrange(len(data))
            data[at:at + source.randint(0, 30)] = bytes(source.choices(b'{}[],:"0aet\n\xff', k=source.randint(0, 5)))
        path = tmp_path / "stream.jsonl"
        path.write_bytes(sealed_again(bytes(data)) if seal else data)
        judged = judged_stream(path)
        assert seal or bytes(data) == whole or judged.exit_status == 3
        for form in ("junit", "ktap", "human", "html"):
            render(judged, form, tmp_path)


def test_values_of_the_wrong_type_are_damage_not_a_crash(tmp_path: Path) -> None:
    odd: list[Any] = [None, 1, -1, "x", [], {}, True, 1.5, [None], {"a": 1}]
    whole = s.whole(s.KNOWN)
    for at, record in enumerate(whole):
        for key in record:
            for value in odd:
                path = s.write(tmp_path, [*whole[:at], record | {key: value}, *whole[at + 1:]])
                judged = judged_stream(path)
                for form in FORMATS:
                    render(judged, form, tmp_path)


def test_a_file_that_cannot_be_opened_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StreamError, match="No such file"):
        read_run(tmp_path / "nothing.jsonl")
    with pytest.raises(StreamError, match="Is a directory"):
        list(StreamReader(tmp_path))


@pytest.mark.parametrize("records, wanted", [
    (s.head(()), "nothing is known"),
    ([*s.head((s.SKIP,)), *s.skipped()], "no case gave a verdict"),
    ([*s.head((s.GOOD,))], "no case gave a verdict"),
    ([*s.head((s.GOOD,)), *s.good(), *s.good()], "second verdict"),
    ([*s.head((s.GOOD,)), *s.good(), *s.bad()], "not in the plan"),
    ([*s.head((s.GOOD,)), *s.bad(s.GOOD)[:-1], s.verdict(s.GOOD, "pass")], "its records say fail"),
    ([*s.head((s.BAD,)), *s.good(s.BAD)[:-1], s.verdict(s.BAD, "fail")], "its records say pass"),
    ([*s.head((s.GOOD,)), s.begin(s.GOOD), s.check(s.GOOD, True), s.verdict(s.GOOD, "green")], "is no verdict"),
    ([s.head()[0], *s.good()], "no plan"),
    ([*s.head((s.GOOD,)), *s.head((s.GOOD,))[2:], *s.good()], "a second plan"),
])
def test_a_run_that_proves_nothing_is_never_green(tmp_path: Path, records: s.Records, wanted: str) -> None:
    judged = judged_stream(s.write(tmp_path, records))
    assert judged.exit_status == 3
    assert any(wanted in note for note in judged.trouble), judged.trouble


def test_a_planned_case_without_verdict_is_missing(tmp_path: Path) -> None:
    judged = judged_stream(s.write(tmp_path, without(s.whole(s.KNOWN), "verdict", s.GOOD)))
    assert {r.id: r.outcome for r in judged.results}[s.GOOD] == "missing"
    assert judged.exit_status == 3


def test_unknown_record_types_are_ignored(tmp_path: Path) -> None:
    judged = judged_stream(s.write(tmp_path, [*s.head((s.GOOD,)), s.rec("from-the-future", x=[1]), *s.good()]))
    assert judged.exit_status == 0


E = s.expectation
OUTCOMES: dict[str, tuple[str, s.Records, str, int]] = {
    # name: verdict, expectations, outcome, exit status
    "pass, none": ("pass", [], "expected", 0),
    "fail, none": ("fail", [], "unexpected-fail", 1),
    "fail, known": ("fail", [E(s.GOOD)], "expected", 0),
    "fail, known by a glob": ("fail", [E("frontend.ring.*")], "expected", 0),
    "fail, other bed": ("fail", [E(s.GOOD, bed="host")], "unexpected-fail", 1),
    "fail, other version": ("fail", [E(s.GOOD, versions="5.*")], "unexpected-fail", 1),
    "fail, fixed before": ("fail", [E(s.GOOD, fixed_in="6.1.100-1")], "unexpected-fail", 1),
    "fail, fixed later": ("fail", [E(s.GOOD, fixed_in="6.1.200-1")], "expected", 0),
    "fail, a hang is known": ("fail", [E(s.GOOD, verdict="hang")], "unexpected-fail", 1),
    "pass, known to fail": ("pass", [E(s.GOOD)], "unexpected-pass", 1),
    "pass, known to be flaky": ("pass", [E(s.GOOD, flaky_rate=0.5)], "expected", 0),
    "fail, expired": ("fail", [E(s.GOOD, expires="2026-02-28")], "stale", 1),
    "fail, expires that day": ("fail", [E(s.GOOD, expires="2026-03-01")], "expected", 0),
    "pass, expired": ("pass", [E(s.GOOD, expires="2026-02-28")], "stale", 1),
    "fail, second entry fits": ("fail", [E(s.GOOD, verdict="crash"), E(s.GOOD)], "expected", 0),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcome_is_verdict_times_expectation(tmp_path: Path, name: str) -> None:
    word, expectations, outcome, status = OUTCOMES[name]
    records = s.good() if word == "pass" else s.bad(s.GOOD)
    judged = judged_stream(s.write(tmp_path, [*s.head((s.GOOD,), expectations), *records]))
    assert judged.results[0].outcome == outcome
    assert judged.exit_status == status, judged.trouble
    if status:
        action = judged.results[0].action
        assert "lab/peers/x.yaml" in action
        for form in FORMATS:
            assert action.splitlines()[0][:30] in render(judged, form, tmp_path) or form in ("ktap", "lava")


def test_an_entry_that_matches_no_case_is_stale(tmp_path: Path) -> None:
    judged = judged_stream(s.write(tmp_path, [*s.head((s.GOOD,), [E("frontend.gone.*")]), *s.good()]))
    assert judged.exit_status == 1
    assert judged.stale[0].action == ("delete the entry at lab/peers/x.yaml:3, or give its case the id that it has now")


def test_an_entry_for_a_case_outside_the_selection_is_not_stale(tmp_path: Path) -> None:
    head = s.head((s.GOOD,), [E("frontend.other.case")], selection={"case": [s.GOOD]})
    head[2]["known"].append("frontend.other.case")
    assert judged_stream(s.write(tmp_path, [*head, *s.good()])).exit_status == 0


@pytest.mark.parametrize("selection, outcome", [(None, "unexpected-pass"), ({"case": ["x"]}, "expected")])
def test_a_monitor_passing_on_a_part_of_the_suite_is_no_surprise(tmp_path: Path, selection: Any, outcome: str) -> None:
    records = [*s.head((s.GOOD, s.MONITOR), [E(s.MONITOR)], selection=selection), *s.good(), *s.monitored(ok=True)]
    judged = judged_stream(s.write(tmp_path, records))
    assert {r.id: r.outcome for r in judged.results}[s.MONITOR] == outcome


def test_infrastructure_trouble_beats_a_surprise(tmp_path: Path) -> None:
    broken = [s.begin(s.GOOD), s.rec("error", s.GOOD, text="no store"), s.verdict(s.GOOD, "infra-error", "no store")]
    judged = judged_stream(s.write(tmp_path, [*s.head((s.BAD, s.GOOD)), *s.bad(), *broken]))
    assert [r.outcome for r in judged.results] == ["unexpected-fail", "missing"]
    assert judged.exit_status == 3


def test_states_of_requirements(tmp_path: Path) -> None:
    judged = judge(read_run(s.write(tmp_path, [*s.head((s.GOOD, s.WARN)), *s.good(), *s.warned()])))
    assert requirement_states(judged) == {"ring.id-echoed": "kept", "bus.prompt": "warned", "wire.reserved-zero": "unchecked"}


def test_expectations_keep_their_json_form() -> None:
    assert from_json(E(s.GOOD)).to_json() == E(s.GOOD)


def test_a_sealed_stream_reads_as_the_same_stream_without_its_seal(tmp_path: Path) -> None:
    again = [r | {"attempt": 2} for r in s.good()]
    odd = s.msg(s.GOOD, fields={"text": '"attempt":3,"seq":7}'})
    records = [*s.head((s.GOOD, s.BAD), repeat=2), s.begin(s.GOOD), odd, *s.good()[1:], *again, *s.bad(), *[r | {"attempt": 2} for r in s.bad()]]
    read = []
    for end in (True, False):
        run = read_run(s.write(tmp_path, records, end=end))
        read.append({key: (list(case.messages), case.verdict, case.failed_at) for key, case in run.cases.items()})
        with Messages(run.path) as messages:
            assert messages.record(run.cases[s.GOOD, 1].messages[0])["fields"] == {"text": '"attempt":3,"seq":7}'}
    assert read[0] == read[1] and len(read[0]) == 4


def test_a_second_end_and_what_stands_behind_a_sealed_end_are_named(tmp_path: Path) -> None:
    path = s.write(tmp_path, s.whole(s.KNOWN))
    data = path.read_bytes() + s._line({**s.good()[0], "seq": 90})
    path.write_bytes(data + s._line(s.rec("end", counts={}, sha256=hashlib.sha256(data).hexdigest(), seq=91)))
    judged = judged_stream(path)
    assert judged.exit_status == 3 and any("behind the end" in note for note in judged.trouble)


@pytest.mark.parametrize("path", sorted((Path(__file__).with_name("recorded")).glob("*.jsonl")), ids=lambda path: path.stem)
def test_streams_of_earlier_days_stay_readable(path: Path) -> None:
    judged = judged_stream(path)
    assert judged.trouble == [] and judged.exit_status == 0 and len(judged.results) == 18
    verdicts = {result.id: result.verdict for result in judged.results}
    assert verdicts["frontend.dbuf-create.error-status-not-destroyed"] == "fail"
    for form in FORMATS:
        assert "frontend.dbuf-create.error-status-not-destroyed" in render(judged, form, path.parent)


def test_cases_that_interleave_are_kept_apart(tmp_path: Path) -> None:
    one, other = s.good(), s.bad()
    mixed = [record for pair in zip(one, other) for record in pair]
    run = read_run(s.write(tmp_path, [*s.head((s.GOOD, s.BAD), [s.expectation(s.BAD)]), *mixed]))
    assert judge(run).exit_status == 0
    assert [len(run.cases[name, 1].messages) for name in (s.GOOD, s.BAD)] == [1, 1]


@pytest.mark.parametrize("end", [True, False])
def test_two_streams_written_into_one_file_are_noticed(tmp_path: Path, end: bool) -> None:
    """As a serial console leaves them: lines in each other's midst."""
    path = s.write(tmp_path, s.whole(s.KNOWN), end=end)
    data = path.read_bytes()
    path.write_bytes(data[:900] + data[:400] + data[900:])
    judged = judged_stream(path)
    assert judged.exit_status == 3 and judged.results
