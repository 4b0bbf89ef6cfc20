"""Which cases a selection takes: groups, and the long ones only when they are asked for."""
from __future__ import annotations

import pytest

from lab.errors import Stop
from lab.mandatory import binding_cases
from lab.suite import Case, Selection, Suite, select

RING, BUS, LONG = "frontend.ring.a", "frontend.bus.a", "frontend.long.a"
MONITOR = "frontend.monitor.m"
SUITE = Suite((
    Case(BUS, requirements=("r.must",), group="bus"), Case(LONG, requirements=("r.must",), group="long"),
    Case(MONITOR, monitor=True, group="monitor"), Case(RING, requirements=("r.must",), group="ring"),
), ({"id": "r.must", "level": "must", "role": "frontend"},))


@pytest.mark.parametrize(("selection", "wanted"), [
    (Selection(), [BUS, RING]),
    (Selection(globs=("frontend.*",)), [BUS, RING]),
    (Selection(full=True), [BUS, LONG, RING]),
    (Selection(groups=("long",)), [LONG]),
    (Selection(groups=("bus", "ring")), [BUS, RING]),
    (Selection(globs=("frontend.long.*",)), [LONG]),
    (Selection(globs=(LONG, BUS)), [BUS, LONG]),
    (Selection(full=True, excludes=("*.ring.*",)), [BUS, LONG]),
])
def test_long_cases_run_when_they_are_asked_for(selection: Selection, wanted: list[str]) -> None:
    assert [case.id for case in select(SUITE, selection).runnable] == wanted


def test_monitors_watch_whatever_group_runs() -> None:
    assert [case.id for case in select(SUITE, Selection(groups=("bus",))).monitors] == [MONITOR]


def test_a_group_that_is_none_is_no_empty_success() -> None:
    with pytest.raises(Stop) as raised:
        select(SUITE, Selection(groups=("rign",)))
    assert raised.value.status == 3 and "bus, long, monitor, ring" in str(raised.value.hint)


def test_a_selection_says_what_it_is() -> None:
    assert Selection().to_json() is None
    assert Selection(groups=("long",)).to_json() == {"case": [], "exclude": [], "shard": None, "group": ["long"]}
    assert Selection(full=True).to_json() == {"case": [], "exclude": [], "shard": None, "full": True}


def test_no_long_case_is_mandatory() -> None:
    assert binding_cases(SUITE) == [BUS, RING]
