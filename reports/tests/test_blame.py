"""Which step a failed check speaks of."""
from __future__ import annotations

from typing import Any

import pytest

from reports.blame import BEFORE, NAMED, UNANSWERED, Mark, find_mark


def msg(kind: str, way: str = "f2b", **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "dir": way, "fields": fields}


CREATE = msg("req", op="DBUF_CREATE", id=0, width=1224, height=868, connector=0)
CREATED = msg("resp", "b2f", op="DBUF_CREATE", id=0, status=-12)
DESTROY = msg("req", op="DBUF_DESTROY", id=1, connector=0)
CONFIG = msg("req", op="SET_CONFIG", id=2, x=0, width=1224, height=868)
STATE = msg("state", side="frontend", state=3, name="Initialised")
CALL, RETURN = msg("guest", "-", call="wait", fd=1), msg("guest", "-", **{"return": "wait", "result": "success"})
INDEX = msg("index", "b2f", name="rsp_prod", value=1)


@pytest.mark.parametrize("messages, seen, silent, wanted", [
    ([CREATE, CREATED, DESTROY, INDEX, RETURN], "DBUF_DESTROY of the refused cookie", False, Mark(2, NAMED)),
    ([CREATE, CREATED, CONFIG, RETURN], "1224x868+0+0", False, Mark(2, NAMED)),
    ([CREATE, DESTROY, msg("req", op="DBUF_DESTROY", id=7, connector=0), INDEX], "2 of 3 do not; DBUF_DESTROY id 1, connector 0", False, Mark(1, NAMED)),
    ([STATE, msg("state", "b2f", side="backend", name="Closed")], "Initialised", False, Mark(0, NAMED)),
    ([CREATED, INDEX, CALL, RETURN, INDEX], "the flip completed", False, Mark(3, BEFORE)),
    ([CREATE, CALL, STATE, INDEX], "the guest is silent", True, Mark(1, UNANSWERED)),
    ([CALL, RETURN, CREATE, INDEX], "the guest is silent", True, Mark(2, BEFORE)),
    ([CREATED, INDEX], "DBUF_CREATE", False, Mark(1, BEFORE)),
    ([], "anything", False, None),
])
def test_the_step_that_is_marked(messages: list[Any], seen: str, silent: bool, wanted: Mark | None) -> None:
    assert find_mark(messages, seen, "frontend", silent) == wanted


def test_for_a_backend_the_other_direction_is_the_peers() -> None:
    assert find_mark([CREATE, CREATED, DESTROY], "status -12, op DBUF_CREATE", "backend") == Mark(1, NAMED)


def test_fields_of_any_shape_are_taken() -> None:
    odd = [{"kind": "req", "dir": "f2b"}, {}, msg("req", a=None, b=[1], c={"d": 1}, e=True, f="")]
    assert find_mark(odd, "true 1; ; None", "frontend") == Mark(2, BEFORE)
