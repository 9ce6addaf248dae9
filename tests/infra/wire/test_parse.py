"""The quick reader of JSON never differs from the strict one, and the same content is the same bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.wire.decode import InvalidError, _canonical, _parse, _parse_strictly, parse
from infra.wire.questions import Question, QuestionError, read

TEXTS = st.text(max_size=6) | st.sampled_from(['a":', '":"', '\\":', " :", "a", "b"])
SPACES = st.sampled_from(["", "", "", " ", "\n", "\t", "\r", "  "])


@st.composite
def values(draw: st.DrawFn, depth: int = 3) -> str:
    """JSON as text, with white space anywhere and names that stand twice."""

    def space() -> str:
        return draw(SPACES)

    kind = draw(st.integers(0, 3 if depth else 1))
    if kind == 0:
        return json.dumps(draw(TEXTS), ensure_ascii=draw(st.booleans()))
    if kind == 1:
        return json.dumps(draw(st.none() | st.booleans() | st.integers(-(10**6), 10**6)))
    inner = draw(st.lists(values(depth - 1), max_size=4))
    if kind == 2:
        return f"[{space()}" + ",".join(f"{space()}{one}{space()}" for one in inner) + "]"
    names = [json.dumps(draw(TEXTS)) for _ in inner]
    members = zip(names, inner, strict=True)
    return "{" + ",".join(f"{space()}{name}{space()}:{space()}{one}{space()}" for name, one in members) + "}"


@settings(max_examples=2_000, deadline=None)
@given(values())
def test_the_quick_reader_never_differs_from_the_strict_one(text: str) -> None:
    """The same value, or refused by both: a name that stands twice above all."""
    assert outcome(_parse_strictly, text) == outcome(_parse, text)


def test_the_quick_reader_sees_a_name_that_stands_twice() -> None:
    """Wherever it stands, and whatever the texts beside it hold."""
    twice = ['{"a":1,"a":2}', '{"a":1,"a" :2}', '{"b":[{"a":"\\":","a":1}]}', '{"a":1,"\\u0061":2}']

    assert [outcome(_parse, text) for text in twice] == ["NOT_JSON"] * 4


def test_content_is_the_same_in_any_order() -> None:
    """Also where a number is beyond 64 bits, which the quick writer refuses."""
    for one, other in (({"a": 1, "b": [2]}, {"b": [2], "a": 1}), ({"a": 2**70, "b": 1}, {"b": 1, "a": 2**70})):
        assert _canonical(one) == _canonical(other)
        assert json.loads(_canonical(one)) == one


def outcome(parse: Any, text: str) -> object:  # `Any`: two functions of the module's own.
    """What is read, or the reason why nothing is."""
    try:
        return parse(text.encode())
    except InvalidError as why:
        return why.reason


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_an_empty_body_is_called_so(body: bytes) -> None:
    """As a question, and as an event."""
    with pytest.raises(InvalidError) as event:
        parse(body)
    with pytest.raises(QuestionError, match="the body is empty"):
        read(Question, body)

    assert event.value.detail == "the body is empty"
