"""The file in which an agency says what it holds, to rows: CSV or NDJSON, gzipped or not, a line at a time.

Called by `reconcile`. Decides what a line says, and never what that means. A row that can't be read is a row too,
with the problem in it; a file that can't be read is an error. Nothing of a file is kept beyond the block in hand,
and no text of it is put into a problem: it may be a customer's.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from operator import itemgetter
from typing import BinaryIO, Protocol

import orjson

from domain.agency import FileFormat, Holdings
from domain.holdings import AMOUNT_MAX_MINOR, minor_units
from domain.words import DIGITS_USUALLY, OTHER_DIGITS, digits_of

BLOCK_BYTES = 1 << 20
"""Read at once: enough that a call costs nothing, and little beside the interpreter."""

LINE_MAX_BYTES = 64 * 1024
"""Of one line, and of one record of CSV with line breaks in it; an agency's row has some hundred."""

CELL_MAX_CHARACTERS = 4_096
"""Of a cell in a row that is read quickly; a longer one takes the other way."""

ID_MAX_CHARACTERS = 128

_GZIP_MAGIC = b"\x1f\x8b"
_BOM = "\ufeff"
_AMOUNT_MAX_DIGITS = len(str(AMOUNT_MAX_MINOR))

Row = tuple[int, str, int | str, str, str, str, str]
"""A line's number, placement, outstanding in minor units ('' where it is not known), currency, account, debt, and
what is wrong with it ('' for nothing). No text has a control character."""


class HoldingsFileError(Exception):
    """The file is at fault as a whole; the message names the line or the column, and what to do."""


class _Unreadable(Enum):
    """Why a line is no text."""

    TOO_LONG = f"longer than {LINE_MAX_BYTES} bytes"
    ENCODING = "not in the encoding that the agency's entry says"
    UNCLOSED = "a quotation mark is not closed"
    QUOTES = "quotation marks do not stand around a whole field"


_Line = str | _Unreadable


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class HashedFile:
    """A file that is hashed as it is read, and tells how much was."""

    def __init__(self, file: BinaryIO, progress: Callable[[int], object] = lambda _bytes: None) -> None:
        """`progress` is told of the bytes of each read."""
        self._file = file
        self._progress = progress
        self._sha256 = hashlib.sha256()
        self._ahead = b""

    def read(self, size: int = BLOCK_BYTES, /) -> bytes:
        """The next bytes; none at the end."""
        block, self._ahead = self._ahead or self._file.read(size), b""
        self._sha256.update(block)
        self._progress(len(block))
        return block

    def is_gzipped(self) -> bool:
        """Whether it begins as a gzipped file does; asked before anything is read."""
        self._ahead = self._file.read(len(_GZIP_MAGIC))
        return self._ahead == _GZIP_MAGIC

    def sha256(self) -> str:
        """The hash of the file; what nobody read of it is read for that."""
        while self.read():
            pass
        return self._sha256.hexdigest()


def read_rows(file: HashedFile, holdings: Holdings) -> Iterator[list[Row]]:
    """The rows of a file that say anything, in their order, some thousands at a time. Raises HoldingsFileError."""
    # All that it needs of a file is `read`, whatever its type says.
    source: _Readable = gzip.GzipFile(fileobj=file, mode="rb") if file.is_gzipped() else file  # type: ignore[call-overload]
    lines = _Lines(source, "utf-8" if holdings.encoding == "utf-8-sig" else holdings.encoding)
    read = _csv_rows if holdings.format is FileFormat.CSV else _ndjson_rows
    try:
        yield from read(lines, holdings)
    except (EOFError, zlib.error, gzip.BadGzipFile) as why:
        raise HoldingsFileError(f"the file is gzipped, and broken behind line {lines.number}: {why}") from why


class _Lines:
    """The lines of a file; whoever takes them counts them in `number`."""

    def __init__(self, source: _Readable, encoding: str) -> None:
        self._source = source
        self._encoding = encoding
        self._begun = False
        self.number = 0

    def blocks(self) -> Iterator[str | list[_Line]]:
        """The lines, some thousands at a time: as one text where all of them are text."""
        rest, skipping = b"", False
        while block := self._source.read(BLOCK_BYTES):
            if skipping:  # To the end of a line that is too long.
                _, newline, block = block.partition(b"\n")  # What is left of it is the block.
                skipping = not newline
            whole, newline, last = block.rpartition(b"\n")
            if newline:
                yield self._texts(rest + whole)
                rest = b""
            rest += last
            if len(rest) > LINE_MAX_BYTES:
                yield [_Unreadable.TOO_LONG]
                rest, skipping = b"", True
        if rest:
            yield self._texts(rest)

    def _texts(self, block: bytes) -> str | list[_Line]:
        try:
            text = block.decode(self._encoding)
        except UnicodeDecodeError:
            self._begun = True
            return [self._line(line) for line in block.split(b"\n")]
        if not self._begun:
            self._begun = True
            text = text.removeprefix(_BOM)
        return text

    def _line(self, line: bytes) -> _Line:
        try:
            return line.decode(self._encoding)
        except UnicodeDecodeError:
            return _Unreadable.ENCODING


def _lines_of(block: str | list[_Line]) -> list[_Line]:
    """A block's lines, one by one, those that are too long being none."""
    lines = block.split("\n") if isinstance(block, str) else block
    return [
        _Unreadable.TOO_LONG if isinstance(line, str) and len(line) > LINE_MAX_BYTES else line for line in lines
    ]


def _csv_rows(lines: _Lines, holdings: Holdings) -> Iterator[list[Row]]:
    records = _Records(lines, holdings.delimiter)
    blocks = lines.blocks()
    table: _Table | None = None
    for block in blocks:
        if table is not None and isinstance(block, str) and not records.unclosed:
            rows = table.plain_rows(block, lines.number + 1)
            if rows is not None:
                lines.number += len(rows)
                yield rows
                continue
        found = records.of(block)
        if table is None:
            header = next((one for one in found if not _is_blank(one[1])), None)
            table = _Table(holdings, *header) if header else None
        if table is not None:
            yield table.rows(found)
    if table is None:
        raise HoldingsFileError("the file is empty: it needs a header at least")
    yield table.rows(records.rest())


class _Table:
    """A CSV file's columns, and its records as rows."""

    def __init__(self, holdings: Holdings, number: int, cells: list[str] | _Unreadable) -> None:
        """The header's record. Raises HoldingsFileError where a column that is mapped is not in it."""
        if isinstance(cells, _Unreadable):
            raise HoldingsFileError(f"line {number}, the header, can't be read: {cells.value}")
        names = [cell.strip() for cell in cells]
        self._width = len(names)
        self._judge = _Judge(holdings)
        places = [_place(holdings, key, names, number) for key in _KEYS]
        self._cells_of = itemgetter(*(self._width if place is None else place for place in places))
        self._plain = re.compile(_plain_line(holdings, places, self._width), re.MULTILINE)
        # Columns are found from left to right, and told in our order; for one that is not there stands ''.
        there = sorted(place for place in places if place is not None)
        self._in_order = itemgetter(*(len(there) if place is None else there.index(place) for place in places))
        self._in_minor_units = holdings.in_minor_units
        self._currency = "" if holdings.currency else holdings.default_currency

    def plain_rows(self, block: str, number: int) -> list[Row] | None:
        """The rows of a block from this line on, where each is plain: nothing quoted, padded, or wrong.

        It says the same as `rows`, in a third of the time.
        """
        found = self._plain.findall(block)
        if len(found) != block.count("\n") + 1:
            return None
        default = self._currency
        if self._in_minor_units:
            return [
                (line, placement, amount, currency or default, account, debt, "")
                for line, (placement, amount, currency, account, debt) in enumerate(
                    map(self._in_order, found), number
                )
            ]
        return [
            (line, placement, amount.replace(".", "").replace(",", ""), currency or default, account, debt, "")
            for line, (placement, amount, currency, account, debt) in enumerate(map(self._in_order, found), number)
        ]

    def rows(self, records: Iterable[_Record]) -> list[Row]:
        """The rows of those records that say anything."""
        return [row for one in records if (row := self._row(*one)) is not None]

    def _row(self, number: int, cells: list[str] | _Unreadable) -> Row | None:
        if isinstance(cells, _Unreadable):
            return _unread(number, cells.value)
        if not any(map(str.strip, cells)):
            return None
        if len(cells) != self._width:
            return _unread(number, f"it has {len(cells)} columns, the header {self._width}")
        return self._judge.row(number, *self._cells_of([*cells, ""]))


def _place(holdings: Holdings, key: str, names: list[str], number: int) -> int | None:
    """Where a column is; None where none is mapped."""
    name = getattr(holdings, key)
    if name and names.count(name) != 1:
        found = "more than one column" if name in names else "no column"
        raise HoldingsFileError(
            f"line {number}, the header, has {found} {name!r}, which holdings.{key} names; by the delimiter "
            f"{holdings.delimiter!r} it has {len(names)} columns"
        )
    return names.index(name) if name else None


_KEYS = ("placement_id", "outstanding", "currency", "account_id", "debt_id")
"""The columns that may be mapped, in the order in which they are judged."""


def _plain_line(holdings: Holdings, places: list[int | None], width: int) -> str:
    """The pattern of a line that says the same however it is read: what is mapped is a group."""
    delimiter = re.escape(holdings.delimiter)
    ids = "[" + "".join(
        re.escape(chr(one)) for one in range(0x21, 0x7F) if chr(one) not in f'"\\{holdings.delimiter}'
    )
    amount = f"[0-9]{{1,{_AMOUNT_MAX_DIGITS - 1}}}"
    if not holdings.in_minor_units:
        amount = f"[0-9]{{1,{_AMOUNT_MAX_DIGITS - 1 - DIGITS_USUALLY}}}[.,][0-9]{{{DIGITS_USUALLY}}}"
    groups = {
        "placement_id": f"({ids}]{{1,{ID_MAX_CHARACTERS}}}+)",
        "outstanding": f"({amount})",
        "currency": f"((?!{'|'.join(OTHER_DIGITS)})[A-Z]{{3}})",
        "account_id": f"({ids}]{{0,{ID_MAX_CHARACTERS}}}+)",
        "debt_id": f"({ids}]{{0,{ID_MAX_CHARACTERS}}}+)",
    }
    other = f'[^"\\n\\r{delimiter}]{{0,{CELL_MAX_CHARACTERS}}}+'
    columns = [other] * width
    for key, place in zip(_KEYS, places, strict=True):
        if place is not None:
            columns[place] = groups[key]
    return f"^{delimiter.join(columns)}()\\r?$"


_Record = tuple[int, list[str] | _Unreadable]
"""Its first line, and its cells or why it has none."""


def _is_blank(cells: list[str] | _Unreadable) -> bool:
    return not isinstance(cells, _Unreadable) and not any(map(str.strip, cells))


class _Records:
    """The records of a CSV file, of which one may have several lines.

    One whose quotation marks never match is given up, and each of its lines stands for itself.
    """

    def __init__(self, lines: _Lines, delimiter: str) -> None:
        self._lines = lines
        self._delimiter = delimiter
        self.unclosed: list[str] = []

    def of(self, block: str | list[_Line]) -> Iterator[_Record]:
        """The records that end in this block."""
        for line in _lines_of(block):
            self._lines.number += 1
            if isinstance(line, _Unreadable):
                yield from self.rest(behind=self._lines.number)
                yield self._lines.number, line
            elif not self.unclosed and '"' not in line:
                yield self._lines.number, line.rstrip("\r").split(self._delimiter)
            else:
                yield from self._quoted(line)

    def rest(self, *, behind: int | None = None) -> Iterator[_Record]:
        """The lines of a record that was never closed, each for itself; `behind` is the line after them."""
        first = (behind or self._lines.number + 1) - len(self.unclosed)
        for number, line in enumerate(self.unclosed, first):
            yield number, _Unreadable.UNCLOSED if line.count('"') % 2 else self._parsed(line)
        self.unclosed = []

    def _quoted(self, line: str) -> Iterator[_Record]:
        self.unclosed.append(line)
        if sum(one.count('"') for one in self.unclosed) % 2 == 0:
            text, lines = "\n".join(self.unclosed), len(self.unclosed)
            self.unclosed = []
            yield self._lines.number - lines + 1, self._parsed(text)
        elif sum(map(len, self.unclosed)) > LINE_MAX_BYTES:
            yield from self.rest()

    def _parsed(self, text: str) -> list[str] | _Unreadable:
        try:
            lines = text.rstrip("\r").split("\n")
            return next(csv.reader([f"{line}\n" for line in lines], delimiter=self._delimiter, strict=True))
        except (csv.Error, StopIteration):
            return _Unreadable.QUOTES


def _ndjson_rows(lines: _Lines, holdings: Holdings) -> Iterator[list[Row]]:
    judge = _Judge(holdings)
    names = [getattr(holdings, key) for key in _KEYS]
    for block in lines.blocks():
        first = lines.number + 1
        found = _lines_of(block)
        lines.number += len(found)
        yield [
            _ndjson_row(number, line, names, judge)
            for number, line in enumerate(found, first)
            if isinstance(line, _Unreadable) or (line and not line.isspace())
        ]


def _ndjson_row(number: int, line: _Line, names: Iterable[str], judge: _Judge) -> Row:
    if isinstance(line, _Unreadable):
        return _unread(number, line.value)
    try:
        read = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _unread(number, "it is not JSON")
    if not isinstance(read, dict):
        return _unread(number, "it is not a JSON object")
    return judge.row(number, *(_cell(read.get(name)) if name else "" for name in names))


def _cell(value: object) -> str:
    """A member as a cell of text; what is neither text nor a number is as if it were not there."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


class _Judge:
    """What the cells of a row say."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._has_amounts = bool(holdings.outstanding)
        self._in_minor_units = holdings.in_minor_units
        self._default_currency = holdings.default_currency
        self._has_ids = bool(holdings.account_id or holdings.debt_id)
        self._currencies: dict[str, int] = {"": digits_of("")}

    def row(self, number: int, placement_id: str, outstanding: str, currency: str, account: str, debt: str) -> Row:
        """The row of these cells. An amount or an account that can't be read leaves the rest as it is."""
        placement_id = placement_id.strip()
        if not _is_id(placement_id):
            found = "is not 1 to 128 printable characters" if placement_id else "is empty"
            return _unread(number, f"the column {self._holdings.placement_id!r} {found}")
        problem, amount = "", ""
        currency = currency.strip() or self._default_currency
        digits = self._currencies.get(currency)
        if digits is None:
            digits, problem = self._new_currency(currency)
            currency = "" if problem else currency
        if self._has_amounts and not problem:
            read = self._amount(outstanding.strip(), digits)
            if read is None:
                problem = f"the column {self._holdings.outstanding!r} is not an amount{self._expected(digits)}"
            else:
                amount = str(read)
        if self._has_ids:
            account, debt = account.strip(), debt.strip()
            if (account and not _is_id(account)) or (debt and not _is_id(debt)):
                account = debt = ""
                problem = problem or "the account or the debt is not 1 to 128 printable characters"
        return (number, placement_id, amount, currency, account, debt, problem)

    def _amount(self, text: str, digits: int) -> int | None:
        if self._in_minor_units:
            right = text.isdecimal() and text.isascii() and len(text) <= _AMOUNT_MAX_DIGITS
            return int(text) if right and int(text) <= AMOUNT_MAX_MINOR else None
        return minor_units(text, digits=digits)

    def _expected(self, digits: int) -> str:
        if self._in_minor_units:
            return " in minor units, like 123450; amounts with a point need holdings.in_minor_units = false"
        return f" with at most {digits} digits behind the point, like 1234.50"

    def _new_currency(self, currency: str) -> tuple[int, str]:
        if len(currency) == len("RUB") and currency.isascii() and currency.isalpha() and currency.isupper():
            self._currencies[currency] = digits_of(currency)
            return self._currencies[currency], ""
        return 0, f"the column {self._holdings.currency!r} is not a currency of ISO 4217, like RUB"


def _is_id(text: str) -> bool:
    return 0 < len(text) <= ID_MAX_CHARACTERS and text.isprintable() and " " not in text


def _unread(number: int, problem: str) -> Row:
    return (number, "", "", "", "", "", problem)
