"""The edit that a red run asks for ends the red: judged again with the file as edited, the run is as expected."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.edits import Edit, apply_edits, filled, plan_edits
from reports.expectations import ExpectationError, parse
from reports.tests import streams as s
from reports.write import judged_stream

FILE = """\
# Known of this peer.

# why this one is here
- case: frontend.ring.bad
  bed: qemu
  versions: ">=6.1, <6.2"
  verdict: fail
  reason: the driver's way,
    told on two lines
  reference: xen_drm_front.c
  owner: somebody
  expires: "2026-12-31"
# about the monitor
- {case: frontend.monitor.reserved-zero, bed: qemu, versions: "6.1.*", verdict: fail, reason: r, reference: f, owner: o, expires: 2026-12-31}
"""
GIVEN = {"reason": "looked at again", "reference": "issue: 7", "owner": "me", "expires": "2027-01-31"}


def entries_of(text: str) -> s.Records:
    return [entry.to_json() for entry in parse(text, "lab/peers/x.yaml")]


def judged_with(folder: Path, text: str, records: s.Records, **run: Any) -> Any:
    ids = list(dict.fromkeys(record["case"] for record in records))
    return judged_stream(s.write(folder, [*s.head(ids, entries_of(text), **run), *records]))


ALL_BAD = [*s.good(), *s.bad(), *s.monitored()]
GOOD_AGAIN = [*s.good(), *s.good(s.BAD), *s.monitored(ok=True)]

SITUATIONS: dict[str, tuple[str, s.Records, list[str]]] = {
    "nothing to do": (FILE, ALL_BAD, []),
    "an unexpected failure": ("# none yet\n", ALL_BAD, [f"add {s.BAD}", f"add {s.MONITOR}"]),
    "an empty list": ("[]\n", [*s.good(), *s.bad()], [f"add {s.BAD}"]),
    "a mapping with an empty list": ("expectations: []\n", [*s.good(), *s.bad()], [f"add {s.BAD}"]),
    "unexpected passes": (FILE, GOOD_AGAIN, ["remove lab/peers/x.yaml:4", "remove lab/peers/x.yaml:14"]),
    "an entry without a case": (FILE + FILE[FILE.index("- case"):FILE.index("# about")].replace("ring.bad", "gone"), ALL_BAD, ["remove lab/peers/x.yaml:15"]),
    "expired and still so": (FILE.replace('"2026-12-31"', '"2026-01-31"'), ALL_BAD, ["change lab/peers/x.yaml:4"]),
    "expired and mended": (FILE.replace('"2026-12-31"', '"2026-01-31"'), [*s.good(), *s.good(s.BAD), *s.monitored()], ["remove lab/peers/x.yaml:4"]),
    "a glob that holds for some": (FILE.replace("ring.bad", "ring.*"), ALL_BAD, ["remove lab/peers/x.yaml:4", f"add {s.BAD}"]),
    "a glob that holds for none": (FILE.replace("ring.bad", "ring.*"), GOOD_AGAIN, ["remove lab/peers/x.yaml:14", "remove lab/peers/x.yaml:4"]),
    "another verdict": (FILE.replace("verdict: fail\n", "verdict: hang\n"), ALL_BAD, ["change lab/peers/x.yaml:4"]),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_edits_of_a_red_run_make_it_as_expected(tmp_path: Path, name: str) -> None:
    text, records, wanted = SITUATIONS[name]
    judged = judged_with(tmp_path, text, records)
    edits = plan_edits(judged)
    assert [edit.text.split(" (")[0].split(": ")[0] for edit in edits] == wanted
    assert bool(edits) == (judged.exit_status == 1)
    edited = apply_edits(text, "x.yaml", [filled(edit, GIVEN) if edit.asks else edit for edit in edits])
    assert judged_with(tmp_path, edited, records).exit_status == 0, edited


def test_comments_and_other_entries_stay(tmp_path: Path) -> None:
    edits = plan_edits(judged_with(tmp_path, FILE, [*s.good(), *s.good(s.BAD), *s.monitored()]))
    assert apply_edits(FILE, "x.yaml", edits) == FILE[:FILE.index("- case")] + FILE[FILE.index("# about"):]


def test_a_change_touches_its_keys_alone(tmp_path: Path) -> None:
    text = FILE.replace('"2026-12-31"', '"2026-01-31"')
    (edit,) = plan_edits(judged_with(tmp_path, text, ALL_BAD))
    assert edit.asks == ("reason", "expires")
    wanted = text.replace("the driver's way,\n    told on two lines", "looked at again").replace('"2026-01-31"', "'2027-01-31'")
    assert apply_edits(text, "x.yaml", [filled(edit, GIVEN)]) == wanted


def test_a_file_that_changed_since_the_run_is_not_guessed_at(tmp_path: Path) -> None:
    edits = plan_edits(judged_with(tmp_path, FILE, GOOD_AGAIN))
    with pytest.raises(ExpectationError, match="not in it any more"):
        apply_edits(FILE.replace("owner: somebody", "owner: another"), "x.yaml", edits)
    moved = "# one more line\n" + FILE
    assert "ring.bad" not in apply_edits(moved, "x.yaml", edits)


def test_a_bad_date_is_refused_before_anything_is_written() -> None:
    edit = Edit("new", None, {**GIVEN, "case": "a", "bed": "qemu", "versions": "*", "verdict": "fail", "expires": "soon"})
    with pytest.raises(ExpectationError, match="expires is no date"):
        apply_edits(FILE, "x.yaml", [edit])


def test_a_flaky_case_is_told_with_its_rate(tmp_path: Path) -> None:
    again = [record | {"attempt": attempt} for attempt in (2, 3) for record in s.good(s.BAD)]
    judged = judged_with(tmp_path, "[]", [*s.bad(), *again])
    assert judged.exit_status == 1  # never hidden
    (edit,) = plan_edits(judged)
    assert edit.values and edit.values["flaky_rate"] == 0.33 and "33%" in edit.why
