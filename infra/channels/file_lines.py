"""What stands in the files: messages as lines for an agency, and an agency's lines as events. Pure.

Called by `file_drop`. A line of an agency that can't be read stays as it is: it is quarantined like any other bad
event, with its bytes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from domain.agency import FileFormat
from domain.delivery import Message

COLUMNS = (
    "type",
    "message_id",
    "placement_id",
    "debt_id",
    "account_id",
    "agency_id",
    "reason",
    "outstanding",
    "currency",
    "at",
    "acknowledge_by",
)
"""Of a CSV file for an agency."""

ANSWER_COLUMNS = ("type", "id", "account_id", "placement_id", "recall_id", "at", "reason", "channel")
"""Of a CSV file by an agency, in any order; of these the first must be there."""

ANSWER_TYPES = {
    # The word of the file, the type of the event, and what the event calls its instant.
    "accepted": ("agency.placement.accepted.v1", "accepted_at"),
    "acknowledged": ("agency.recall.acknowledged.v1", "acknowledged_at"),
    "rejected": ("agency.recall.rejected.v1", "rejected_at"),
    "contact": ("agency.contact.made.v1", "contacted_at"),
}

BAD_MAX_BYTES = 262_145
"""Of what can't be read as a whole this much is given as one line: a byte more than an event may have."""

LINES_MAX = 20_000
"""Of one file; one that has more is not read, and its beginning is quarantined."""

_BOM = b"\xef\xbb\xbf"
"""What some programs put before the first line of UTF-8."""

_FREE_TEXT = {"reason"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ID = re.compile(r"[!-~]{1,128}")
_DATA = ("account_id", "placement_id", "recall_id", "reason", "channel")


def head(file_format: FileFormat) -> bytes:
    """What stands before the first line."""
    return _row(COLUMNS) if file_format is FileFormat.CSV else b""


def line_of(message: Message, file_format: FileFormat) -> bytes:
    """A message as one line. Raises ValueError for one that is no CloudEvent."""
    if file_format is FileFormat.NDJSON:
        return message.value.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
    event = json.loads(message.value)
    data = event.get("data") if isinstance(event, dict) else None
    if not isinstance(data, dict):
        raise ValueError("the message is no CloudEvent")  # noqa: TRY004  Of what was read, not of our own types.
    at = data.get("requested_at") or data.get("as_of") or data.get("at")
    told = {**data, "type": event.get("type"), "message_id": message.message_id, "at": at}
    return _row([_cell(name, told.get(name)) for name in COLUMNS])


def _cell(name: str, value: object) -> str:
    """One cell. In free text a spreadsheet must find no formula; ids stay as they are, since they come back."""
    text = "" if value is None else str(value)
    return f"'{text}" if name in _FREE_TEXT and text.startswith(_FORMULA) else text


def _row(cells: Sequence[str]) -> bytes:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow(cells)
    return written.getvalue().encode()


def events_of(name: str, content: bytes, agency_id: str) -> tuple[bytes, ...]:
    """An agency's file as events, by the end of its name; as one bad line where there are too many."""
    text = content.removeprefix(_BOM)
    if name.lower().endswith(".ndjson"):
        lines = tuple(line[:BAD_MAX_BYTES] for line in text.splitlines() if line.strip())
    else:
        lines = tuple(_of_csv(name, text, agency_id))
    return lines if len(lines) <= LINES_MAX else (content[:BAD_MAX_BYTES],)


def _of_csv(name: str, content: bytes, agency_id: str) -> Iterator[bytes]:
    """The rows of a CSV file, a line each: so one that is broken spoils no other.

    Bytes that are no UTF-8 are kept, so that a bad row is quarantined as it came.
    """
    text = content.decode("utf-8", "surrogateescape")
    numbered = enumerate(io.StringIO(text, newline=""), start=1)
    first = next(numbered, (1, ""))[1]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    columns = [cell.strip().lower() for cell in _cells(first, delimiter)]
    if ANSWER_COLUMNS[0] not in columns or len(set(columns)) < len(columns):
        yield content[:BAD_MAX_BYTES]
        return
    # The name as a part of an id: printable, whatever it has.
    stem = quote(_bytes(name))
    for number, line in numbered:
        cells, raw = _cells(line, delimiter), line.rstrip("\r\n")
        if raw.strip(f" \t{delimiter}"):
            yield _event(columns, cells, raw, agency_id, f"{stem}:{number}") or _bytes(raw)[:BAD_MAX_BYTES]


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of one line; none where it is no row."""
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def _event(columns: Sequence[str], cells: Sequence[str], raw: str, agency_id: str, place: str) -> bytes | None:
    """A row as a CloudEvent; None for one that has other cells than the file has columns, or no words of ours."""
    if len(cells) != len(columns):
        return None
    row = {column: cell.strip() for column, cell in zip(columns, cells, strict=True) if cell.strip()}
    kind = ANSWER_TYPES.get(row.get("type", "").lower())
    if kind is None or any("\udc80" <= letter <= "\udcff" for cell in row.values() for letter in cell):
        return None
    type_, instant = kind
    event = {
        "specversion": "1.0",
        "id": row.get("id") or _id(place, raw),
        "source": f"file:{agency_id}",
        "type": type_,
        "time": row.get("at", ""),
        "subject": row.get("account_id", ""),
        "data": {**_data(row), instant: row.get("at", "")},
    }
    return json.dumps(event, separators=(",", ":")).encode()


def _data(row: Mapping[str, str]) -> dict[str, str]:
    return {name: row[name] for name in _DATA if name in row}


def _id(place: str, raw: str) -> str:
    """Of the file's name, the line, and what it says: so a name that is used again names no other event."""
    said = hashlib.sha256(_bytes(raw)).hexdigest()
    named = f"{place}:{said[:16]}"
    return named if _ID.fullmatch(named) else hashlib.sha256(named.encode()).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
