"""Two runs against each other."""
from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reports import compare as c
from reports.tests import streams as s
from reports.write import judged_stream

X = "frontend.x.case"


def seen(case: str, text: str, verdict: str = "fail", level: str = "must") -> s.Records:
    return [s.begin(case), s.check(case, False, level=level) | {"seen": text}, s.verdict(case, verdict, text)]


def infra(case: str) -> s.Records:
    return [s.begin(case), s.rec("error", case, text="no store"), s.verdict(case, "infra-error", "no store")]


def crash(case: str, text: str) -> s.Records:
    return [s.begin(case), s.msg(case), s.rec("health", case, state="crashed", reason=text), s.verdict(case, "crash", text)]


def judged(folder: Path, records: s.Records, **run: Any) -> Any:
    folder.mkdir(exist_ok=True)
    whole = [*s.good(), *records]
    ids = list(dict.fromkeys(record["case"] for record in whole))
    return judged_stream(s.write(folder, [*s.head(ids, **run), *whole]))


SITUATIONS: dict[str, tuple[s.Records, s.Records, str, int]] = {
    "same pass": (s.good(X), s.good(X), "", 0),
    "same failure": (seen(X, "id 8"), seen(X, "id 8"), "", 0),
    "same failure, other addresses": (seen(X, "cookie 0xffff888004d34200 at [   12.345678]"), seen(X, "cookie 0x1 at [  9.000001]"), "", 0),
    "newly failing": (s.good(X), seen(X, "id 8"), "newly failing", 1),
    "a crash is a failure too": (s.good(X), crash(X, "BUG"), "newly failing", 1),
    "newly passing": (seen(X, "id 8"), s.good(X), "newly passing", 0),
    "another reason": (seen(X, "id 8"), seen(X, "id 9"), "changed evidence", 1),
    "fail, then crash": (seen(X, "id 8"), crash(X, "BUG"), "changed evidence", 1),
    "crash at another place": (crash(X, "BUG: a | Call Trace"), crash(X, "BUG: a | Oops"), "", 0),
    "another crash": (crash(X, "BUG: a | Call Trace"), crash(X, "BUG: b | Call Trace"), "changed evidence", 1),
    "newly warned": (s.good(X), [s.begin(X), s.check(X, True), *seen(X, "slow", "warn", "should")[1:]], "newly warned", 1),
    "newly skipped": (s.good(X), s.skipped(X), "newly skipped", 1),
    "judged now": (s.skipped(X), s.good(X), "newly passing", 0),
    "no verdict now": (s.good(X), infra(X), "without a verdict now", 1),
    "a verdict now": (infra(X), s.good(X), "newly passing", 0),
    "gone": (s.good(X), [], "gone", 1),
    "new": ([], s.good(X), "new", 0),
    "new and failing": ([], seen(X, "id 8"), "newly failing", 1),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_differs(tmp_path: Path, name: str) -> None:
    before, after, kind, status = SITUATIONS[name]
    comparison = c.compare(judged(tmp_path / "a", before), judged(tmp_path / "b", after))
    assert [(d.case, d.kind) for d in comparison.differences] == ([(X, kind)] if kind else [])
    assert comparison.exit_status == status
    said = c.text(comparison)
    assert (X in said) == bool(kind) and (kind or "NOTHING DIFFERS") in said
    page = c.html(comparison)
    HTMLParser().feed(page)
    assert (f"<code>{X}</code>" in page) == bool(kind) and ("--case frontend.x.case" in page) == (kind not in ("", "gone", "new"))


def entry(verdict: str, **more: Any) -> dict[str, Any]:
    return {"case": X, "bed": "*", "versions": "*", "verdict": verdict, "reason": "r", "reference": "docs/x.md", "owner": "o",
            "expires": "2027-01-01", **more}


@pytest.mark.parametrize(("before", "after", "entries", "kind", "status"), [
    (crash(X, "BUG"), seen(X, "id 8"), [entry("crash"), entry("fail")], "by chance, as recorded", 0),
    (crash(X, "BUG"), seen(X, "id 8"), [entry("crash")], "changed evidence", 1),
    (s.good(X), seen(X, "id 8"), [entry("fail", flaky_rate=0.3)], "by chance, as recorded", 0),
    (seen(X, "id 8"), s.good(X), [entry("fail", flaky_rate=0.3)], "by chance, as recorded", 0),
    (s.good(X), seen(X, "id 8"), [entry("fail")], "newly failing", 1),
    (s.good(X), crash(X, "BUG"), [entry("fail", flaky_rate=0.3)], "newly failing", 1),
    (seen(X, "id 8"), seen(X, "id 9"), [entry("fail", flaky_rate=0.3)], "changed evidence", 1),
])
def test_what_expectations_know_to_show_at_times_is_not_worse(
        tmp_path: Path, before: s.Records, after: s.Records, entries: s.Records, kind: str, status: int) -> None:
    comparison = c.compare(*(judged(tmp_path / name, side, expectations=entries) for name, side in (("a", before), ("b", after))))
    assert [(d.case, d.kind) for d in comparison.differences] == [(X, kind)] and comparison.exit_status == status
    assert kind in c.text(comparison) and kind in c.html(comparison)


def test_a_case_without_a_verdict_says_why_and_not_what_it_saw(tmp_path: Path) -> None:
    records = [s.begin(X), s.check(X, False) | {"seen": "id 8", "timed": True}, s.rec("health", X, state="ok", reason="", own_gap_ms=5000, peer_gap_ms=0, tolerance_ms=1000),
               s.verdict(X, "infra-error", "our own side stood still for 5000 ms; ring.id-echoed: expected id 7 or id 9; saw id 8")]
    comparison = c.compare(judged(tmp_path / "a", s.good(X)), judged(tmp_path / "b", records))
    for said in (c.text(comparison), c.html(comparison)):
        assert "no verdict" in said and "our own side stood still for 5000 ms" in said and "ring.id-echoed: saw" not in said


def test_a_run_that_is_not_whole_is_not_compared(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    cut = judged_stream(s.write(tmp_path / "b", [*s.head((s.GOOD,)), *s.good()], end=False))
    for pair in ((judged(tmp_path / "a", []), cut), (cut, judged(tmp_path / "a", []))):
        comparison = c.compare(*pair)
        assert comparison.exit_status == 3 and "no end record" in c.text(comparison) and "no end record" in c.html(comparison)


def test_the_attempts_of_one_run(tmp_path: Path) -> None:
    def attempts(*parts: s.Records) -> Any:
        records = [record | {"attempt": number} for number, part in enumerate(parts, 1) for record in part]
        goods = [record | {"attempt": number} for number in range(2, len(parts) + 1) for record in s.good()]
        return judged(tmp_path / "a", [*records, *goods], repeat=len(parts))

    same = c.compare_attempts(attempts(seen(X, "id 8"), seen(X, "id 8"), seen(X, "id 8")))
    assert same.exit_status == 0 and "NOTHING DIFFERS in 2 cases" in c.text(same)
    differing = c.compare_attempts(attempts(s.good(X), seen(X, "id 8"), s.good(X)))
    assert [(d.case, d.kind) for d in differing.differences] == [(X, "newly failing")]
    evidence = c.compare_attempts(attempts(seen(X, "id 8"), seen(X, "id 8"), seen(X, "id 9")))
    assert [(d.case, d.kind) for d in evidence.differences] == [(X, "changed evidence")]
    assert c.compare_attempts(judged(tmp_path / "a", [])).exit_status == 3


def test_what_a_guest_says_stays_text(tmp_path: Path) -> None:
    page = c.html(c.compare(judged(tmp_path / "a", s.good(X)), judged(tmp_path / "b", seen(X, "<script>alert(1)</script>"))))
    assert "<script" not in page and "&lt;script&gt;" in page
