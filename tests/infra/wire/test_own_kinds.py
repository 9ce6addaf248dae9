"""Facts that the guard alone makes: they come by no topic and no call, and are read again where they are ours."""

from __future__ import annotations

import json

import pytest

from domain.events import Origin, RawRecord, RecallOrdered
from infra.wire.decode import Decoded, Rejected, decode, decode_line, decode_stored
from infra.wire.encode import encode_order
from infra.wire.kinds import INBOUND_TOPICS, OWN
from tests.builders import day

ORDERED = RecallOrdered("a-1", "l-1", "the wrong customer", "the desk", day(5))
VALUE = json.dumps(encode_order(ORDERED, event_id="o-1")).encode()


def read(topic: str, *, any_topic: bool = False, ours: bool = False) -> Decoded | Rejected:
    """An order that came in this way."""
    raw = RawRecord(Origin(topic, 0, 0, day(5)), b"a-1", VALUE)
    return decode(raw, any_topic=any_topic, ours=ours)


@pytest.mark.parametrize("topic", [*INBOUND_TOPICS, OWN])
@pytest.mark.parametrize("any_topic", [False, True], ids=["as a record", "as a call"])
def test_an_order_from_elsewhere_is_refused(topic: str, any_topic: bool) -> None:
    """Whoever may send events may not order a recall by that."""
    result = read(topic, any_topic=any_topic)

    assert isinstance(result, Rejected)
    assert (result.reason, result.accounts) == ("WRONG_TOPIC", ("a-1",))
    assert result.detail == "guard.recall.ordered.v1 is made by the guard alone, where a person orders it"


def test_an_order_of_ours_is_read() -> None:
    """As it was made, from its bytes, from a line of a file, and from what the ledger keeps of it."""
    result = read(OWN, ours=True)
    line = decode_line(VALUE, 1)

    assert isinstance(result, Decoded)
    assert isinstance(line, Decoded)
    assert [result.recorded.event, line.recorded.event] == [ORDERED, ORDERED]
    assert (result.number, result.topic, result.time, result.digest) == (22, OWN, day(5), line.digest)
    assert decode_stored("a-1", 22, result.stored, None) == ORDERED
