"""Bytes as people look at them do nothing, whatever they are."""

from __future__ import annotations

import pytest

from consumers.console.wire import EVENT_MAX_BYTES, Shown, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b'{"a": 1}\r\n\tx', '{"a": 1}\n\tx'),
        ("счёт".encode(), "счёт"),
        (b"\xff\x00a", r"\xff\x00a"),
        ("a\u202etxt.exe".encode(), r"a\u202etxt.exe"),
        (b"\x1b[2J\r", r"\x1b[2J\r"),
        ("\U000e0041".encode(), r"\U000e0041"),
    ],
    ids=["text", "letters", "no UTF-8", "turns the direction", "steers a terminal", "a tag that nobody sees"],
)
def test_what_is_no_plain_text_is_written_out(value: bytes, text: str) -> None:
    """Control characters and those that turn text around are named, not sent."""
    plain = value.decode(errors="replace").replace("\r\n", "\n") == text

    assert shown(value) == Shown(text, not plain, 0)


def test_what_is_left_out_is_counted() -> None:
    """By the size that is kept, or beyond the most that is shown."""
    assert shown(b"abc", size=10).cut_bytes == 7
    assert shown(b"a" * (EVENT_MAX_BYTES + 5)).cut_bytes == 5
