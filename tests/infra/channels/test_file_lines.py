"""What stands in the files of the channel `file`: lines for an agency, and its lines as events."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime

import pytest

from domain.agency import FileFormat
from domain.delivery import Message
from domain.events import Origin, RawRecord
from infra.channels.file_lines import BAD_MAX_BYTES, LINES_MAX, events_of, head, line_of
from infra.wire.decode import EVENT_MAX_BYTES, Rejected, decode

AT = "2026-11-20T12:00:00+00:00"


def _message(type_: str, data: dict[str, object], message_id: str = "m-1") -> Message:
    event = {"specversion": "1.0", "id": message_id, "type": type_, "data": data}
    return Message(message_id, "p-1", "guard.recalls", b"p-1", json.dumps(event).encode())


RECALL = {
    "recall_id": "r-1",
    "placement_id": "p-1",
    "debt_id": "d-1",
    "account_id": "a-1",
    "agency_id": "north",
    "reason": "DEBT_SETTLED",
    "outstanding": 0,
    "currency": "RUB",
    "requested_at": AT,
    "acknowledge_by": "2026-11-20T13:00:00+00:00",
    "trigger": {"id": "e-1"},
}

CSV_LINES = [
    (
        "guard.recall.requested.v1",
        RECALL,
        (
            b"guard.recall.requested.v1,m-1,p-1,d-1,a-1,north,DEBT_SETTLED,0,RUB,"
            b"2026-11-20T12:00:00+00:00,2026-11-20T13:00:00+00:00\r\n"
        ),
    ),
    (
        "guard.balance.reduced.v1",
        {"placement_id": "p-1", "debt_id": "d-1", "outstanding": 5, "currency": "RUB", "as_of": AT},
        b"guard.balance.reduced.v1,m-1,p-1,d-1,,,,5,RUB,2026-11-20T12:00:00+00:00,\r\n",
    ),
    (
        "guard.placement.suspended.v1",
        {"placement_id": "p-1", "agency_id": "north", "reason": "DISPUTE_OPEN", "at": AT},
        b"guard.placement.suspended.v1,m-1,p-1,,,north,DISPUTE_OPEN,,,2026-11-20T12:00:00+00:00,\r\n",
    ),
    # Free text that a spreadsheet would take for a formula is told apart; an id stays what it is.
    *(
        ("t", {"reason": f"{sign}1+1", "debt_id": f"{sign}7"}, f"t,m-1,,{sign}7,,,'{sign}1+1,,,,\r\n".encode())
        for sign in "=+-@"
    ),
    ("t", {"reason": "\t=1"}, b"t,m-1,,,,,'\t=1,,,,\r\n"),
    ("t", {"reason": 'a "b", c'}, b't,m-1,,,,,"a ""b"", c",,,,\r\n'),
    ("t", {"reason": "two\nlines"}, b't,m-1,,,,,"two\nlines",,,,\r\n'),
]


@pytest.mark.parametrize(("type_", "data", "line"), CSV_LINES)
def test_a_message_as_a_row(type_: str, data: dict[str, object], line: bytes) -> None:
    """What a message does not have is empty; a reader of CSV finds what was said."""
    assert line_of(_message(type_, data), FileFormat.CSV) == line


def test_a_file_begins_with_its_columns() -> None:
    """In CSV; a file of events needs none."""
    columns = (
        b"type,message_id,placement_id,debt_id,account_id,agency_id,reason,outstanding,currency,at,"
        b"acknowledge_by\r\n"
    )

    assert (head(FileFormat.CSV), head(FileFormat.NDJSON)) == (columns, b"")


def test_an_event_is_one_line() -> None:
    """White space between its parts would be a second one."""
    spread = Message("m-1", "p-1", "guard.recalls", b"p-1", b'{"a":\r\n "two\\nlines"}')

    line = line_of(spread, FileFormat.NDJSON)

    assert (line.count(b"\n"), json.loads(line)) == (1, {"a": "two\nlines"})


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"{}", b'{"data": 1}'])
def test_what_is_no_event_is_no_row(value: bytes) -> None:
    """It would be an empty order."""
    with pytest.raises(ValueError, match=r"CloudEvent|Expecting"):
        line_of(Message("m-1", "p-1", "guard.recalls", b"p-1", value), FileFormat.CSV)


COLUMNS = "type,id,account_id,placement_id,recall_id,at,reason,channel"


def _event(type_: str, message_id: str, data: dict[str, str]) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": message_id,
        "source": "file:north",
        "type": type_,
        "time": AT,
        "subject": "a-1",
        "data": {"account_id": "a-1", "placement_id": "p-1", **data},
    }


ANSWERS = [
    (
        f"accepted,e-1,a-1,p-1,,{AT},,",
        _event("agency.placement.accepted.v1", "e-1", {"accepted_at": AT}),
    ),
    (
        f"acknowledged,e-1,a-1,p-1,r-1,{AT},,",
        _event("agency.recall.acknowledged.v1", "e-1", {"recall_id": "r-1", "acknowledged_at": AT}),
    ),
    (
        f'rejected,e-1,a-1,p-1,r-1,{AT},"not ours, ever",',
        _event(
            "agency.recall.rejected.v1", "e-1", {"recall_id": "r-1", "rejected_at": AT, "reason": "not ours, ever"}
        ),
    ),
    (
        f"contact,e-1,a-1,p-1,,{AT},,phone",
        _event("agency.contact.made.v1", "e-1", {"contacted_at": AT, "channel": "phone"}),
    ),
    (
        f" Contact , e-1 ,a-1,p-1,,{AT},, phone",
        _event("agency.contact.made.v1", "e-1", {"contacted_at": AT, "channel": "phone"}),
    ),
]


@pytest.mark.parametrize(("row", "event"), ANSWERS)
def test_a_row_of_an_agency_is_an_event(row: str, event: dict[str, object]) -> None:
    """Each kind of answer, under the id that the agency gave; the decoder takes it."""
    (line,) = events_of("day.csv", f"{COLUMNS}\r\n{row}\r\n".encode(), "north")

    assert json.loads(line) == event
    assert not isinstance(_decoded(line), Rejected)


def _decoded(line: bytes) -> object:
    origin = Origin("agencies.events", 0, 0, datetime(2026, 11, 20, tzinfo=UTC))
    headers = (("content-type", b"application/cloudevents+json"),)
    return decode(RawRecord(origin, b"a-1", line, headers))


WHOLE = f"acknowledged,,a-1,p-1,r-1,{AT},,"

SHAPES = [
    ("with a mark of its encoding", b"\xef\xbb\xbf" + f"{COLUMNS}\n{WHOLE}".encode(), 1),
    ("with semicolons", f"{COLUMNS}\n{WHOLE}".replace(",", ";").encode(), 1),
    ("with other ends of lines", f"{COLUMNS}\r{WHOLE}\r{WHOLE}".encode(), 2),
    (
        "with columns in another order",
        f"at,account_id,type,recall_id,placement_id\n{AT},a-1,acknowledged,r-1,p-1",
        1,
    ),
    ("with columns that nobody knows", f"{COLUMNS},remark\n{WHOLE},hello", 1),
    ("with columns in capitals", f"{COLUMNS.upper()}\n{WHOLE}", 1),
    ("with empty lines", f"{COLUMNS}\n\n{WHOLE}\n,,,,,,,\n  \n", 1),
    ("with no line", COLUMNS, 0),
    ("with quoted cells", f"{COLUMNS}\n" + ",".join(f'"{cell}"' for cell in WHOLE.split(",")), 1),
]


@pytest.mark.parametrize(("content", "events"), [row[1:] for row in SHAPES], ids=[row[0] for row in SHAPES])
def test_a_file_may_be_written_in_many_ways(content: bytes | str, events: int) -> None:
    """What spreadsheets and programs make of the same rows."""
    found = events_of("day.CSV", content.encode() if isinstance(content, str) else content, "north")

    told = [json.loads(line) for line in found]
    assert [one["data"] for one in told] == [json.loads(_made("acknowledged"))["data"]] * events


def _made(word: str, *, name: str = "day.csv", row: str = WHOLE) -> bytes:
    (line,) = events_of(name, f"{COLUMNS}\n{row.replace('acknowledged', word)}".encode(), "north")
    return line


BAD_ROWS = [
    b"gone,e-1,a-1,p-1,r-1,2026-11-20T12:00:00Z,,",
    b",e-1,a-1,p-1,r-1,2026-11-20T12:00:00Z,,",
    b"acknowledged,e-1,a-1",
    b"acknowledged,e-1,a-1,p-1,r-1,2026-11-20T12:00:00Z,,,,",
    b'acknowledged,e-1,a-1,p-1,r-1,2026-11-20T12:00:00Z,"never closed,',
    b'acknowledged,e-1,"a"-1,p-1,r-1,2026-11-20T12:00:00Z,,',
    b"rejected,e-1,a-1,p-1,r-1,2026-11-20T12:00:00Z,\xed\xe5 \xed\xe0\xf8,",
    b"acknowledged,\xff,a-1,p-1,r-1,2026-11-20T12:00:00Z,,",
]


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_row_that_cannot_be_read_stays_as_it_is(row: bytes) -> None:
    """Byte for byte, to be quarantined; the rows before and behind it are none the worse."""
    content = b"\n".join([COLUMNS.encode(), WHOLE.encode(), row, WHOLE.encode()])

    before, bad, behind = events_of("day.csv", content, "north")

    assert bad == row
    assert isinstance(_decoded(bad), Rejected)
    assert [json.loads(one)["type"] for one in (before, behind)] == ["agency.recall.acknowledged.v1"] * 2


@pytest.mark.parametrize(
    "row", ["acknowledged,,,p-1,r-1,now,,", "acknowledged,a b,a-1,p-1,r-1,,,", "contact,,a-1,,,,,"]
)
def test_a_row_that_lacks_something_is_quarantined(row: str) -> None:
    """It is an event, and no valid one."""
    assert isinstance(_decoded(_made("acknowledged", row=row)), Rejected)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"placement;recall\np-1;r-1\n", b"type,type\naccepted,\n"]
)
def test_a_file_without_its_columns_is_one_bad_line(content: bytes) -> None:
    """Nobody can say what its cells mean."""
    assert events_of("day.csv", content, "north") == (content,)


def test_an_id_is_made_of_file_line_and_words() -> None:
    """The same file read again names the same events; another file of that name names others."""
    once, again = _made("acknowledged"), _made("acknowledged")
    elsewhere, changed = _made("acknowledged", name="other.csv"), _made("acknowledged", row=f"{WHOLE[:-1]}late,")

    ids = [json.loads(line)["id"] for line in (once, again, elsewhere, changed)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert ids[0].startswith("day.csv:2:")


@pytest.mark.parametrize("name", ["день 1.csv", "a" * 250 + ".csv", "\udcff.csv", "a:b,c.csv"])
def test_any_name_of_a_file_makes_an_id(name: str) -> None:
    """Printable, and of 128 characters at most."""
    assert not isinstance(_decoded(_made("acknowledged", name=name)), Rejected)


def test_lines_of_events_are_taken_as_they_are() -> None:
    """Without empty ones; what they are is the decoder's to say."""
    content = b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"b": "\xe2\x80\xa8"}\n{bad\n'

    assert events_of("day.ndjson", content, "north") == (b'{"a": 1}', b'{"b": "\xe2\x80\xa8"}', b"{bad")


@pytest.mark.parametrize("name", ["day.ndjson", "day.csv"])
def test_a_file_of_too_many_lines_is_one_bad_line(name: str) -> None:
    """Above what an event may have, so that it is quarantined whatever it says."""
    head_line = b"" if name.endswith("ndjson") else COLUMNS.encode() + b"\n"
    row = b"acknowledged,,a-1,p-1,r-1,,,\n"

    most, (more,) = (events_of(name, head_line + row * lines, "north") for lines in (LINES_MAX, LINES_MAX + 1))

    assert (len(most), len(more)) == (LINES_MAX, BAD_MAX_BYTES)
    assert BAD_MAX_BYTES > EVENT_MAX_BYTES


def test_a_reader_of_csv_gets_back_what_was_said() -> None:
    """Ids that begin like a formula, too."""
    message = _message("t", {**RECALL, "debt_id": "=d,1", "placement_id": '-"p"'})

    (row,) = csv.DictReader([(head(FileFormat.CSV) + line_of(message, FileFormat.CSV)).decode()][0].splitlines())

    assert (row["debt_id"], row["placement_id"], row["message_id"]) == ("=d,1", '-"p"', "m-1")


@pytest.mark.parametrize("name", ["day.ndjson", "day.csv"])
def test_a_line_that_is_too_long_is_cut(name: str) -> None:
    """It is bad whatever follows, and what is quarantined has a limit; the others stay whole."""
    head_line = b"" if name.endswith("ndjson") else COLUMNS.encode() + b"\n"

    lines = events_of(name, head_line + b"x" * (BAD_MAX_BYTES + 9) + b"\nno event\n", "north")

    assert [len(line) for line in lines] == [BAD_MAX_BYTES, len(b"no event")]
