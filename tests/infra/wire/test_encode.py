"""What the guard says, in bytes."""

from __future__ import annotations

import pytest

from domain.events import Origin, RawRecord
from infra.wire.encode import COPY_MAX_BYTES, Outgoing, encode_quarantined
from tests.builders import day

WHY = (
    ("guard_reason", b"TOO_LARGE"),
    ("guard_origin_topic", b"billing.payments"),
    ("guard_origin_partition", b"3"),
    ("guard_origin_offset", b"17"),
)


def bad(*, key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...]) -> RawRecord:
    """A bad record."""
    return RawRecord(Origin("billing.payments", 3, 17, day(1)), key, value, headers)


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"a-1", b"{", ()),
        (None, None, ()),
        (b"a-1", b"\x00\xff", (("trace", b"1"), ("trace", b""))),
        (b"k", b"v" * (COPY_MAX_BYTES - 4), (("h", b"12"),)),
    ],
)
def test_a_bad_record_is_copied_as_it_came(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...]
) -> None:
    """Key, value and headers, and behind them why it is bad and where it was."""
    copy = encode_quarantined(bad(key=key, value=value, headers=headers), "TOO_LARGE", "a-1")

    assert Outgoing("a-1", "", "guard.quarantine", key or b"", value or b"", (*headers, *WHY)) == copy


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"a-1", b"v" * (COPY_MAX_BYTES - 2), ()),
        (b"k" * (COPY_MAX_BYTES + 1), b"", ()),
        (b"", b"", (("h" * 4, b"v" * (COPY_MAX_BYTES - 3)),)),
    ],
)
def test_what_would_not_pass_the_broker_is_told_by_its_size(
    key: bytes, value: bytes, headers: tuple[tuple[str, bytes], ...]
) -> None:
    """Whatever made it too large stays in the table; the copy says how large it was."""
    copy = encode_quarantined(bad(key=key, value=value, headers=headers), "TOO_LARGE", "a-1")

    omitted = ("guard_omitted_bytes", str(COPY_MAX_BYTES + 1).encode())
    assert Outgoing("a-1", "", "guard.quarantine", b"a-1", b"", (omitted, *WHY)) == copy
