"""An agency's list to rows: what each line says, what is wrong with it, and what is wrong with a whole file."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import replace

import pytest

from domain.agency import FileFormat, Holdings
from infra import holdings_file
from infra.holdings_file import BLOCK_BYTES, LINE_MAX_BYTES, HashedFile, HoldingsFileError, Row, read_rows

PLAIN = Holdings(currency="currency")
DECIMAL = Holdings(in_minor_units=False, default_currency="RUB")
WITH_DEBT = Holdings(currency="currency", account_id="account", debt_id="debt")
NDJSON = replace(PLAIN, format=FileFormat.NDJSON)

HEADER = "placement_id,outstanding,currency"


def read(text: str | bytes, holdings: Holdings = PLAIN) -> list[Row]:
    """All the rows of a file."""
    content = text.encode() if isinstance(text, str) else text
    return [row for rows in read_rows(HashedFile(io.BytesIO(content)), holdings) for row in rows]


def problem(row: Row) -> str:
    """What is wrong with a row."""
    return row[6]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("l-1,12345,RUB", (2, "l-1", "12345", "RUB", "", "", "")),
        ("l-1,0,RUB\r", (2, "l-1", "0", "RUB", "", "", "")),
        (" l-1 , 12345 , RUB ", (2, "l-1", "12345", "RUB", "", "", "")),
        ('"l,1","12345",RUB', (2, "l,1", "12345", "RUB", "", "", "")),
        ('"l""1",12345,RUB', (2, 'l"1', "12345", "RUB", "", "", "")),
        ("l\\1,12345,RUB", (2, "l\\1", "12345", "RUB", "", "", "")),
        ("дЖЮ-7,12345,RUB", (2, "дЖЮ-7", "12345", "RUB", "", "", "")),
        ("l-1,12345,", (2, "l-1", "12345", "", "", "", "")),
    ],
)
def test_a_line_of_csv(line: str, row: Row) -> None:
    """Its mapped cells, without the white space around them, and the number of the line."""
    assert [(*one[:2], str(one[2]), *one[3:]) for one in read(f"{HEADER}\n{line}\n")] == [row]


@pytest.mark.parametrize(
    ("line", "placement_id", "wrong"),
    [
        ("l-1,-5,RUB", "l-1", "the column 'outstanding' is not an amount in minor units, like 123450"),
        ("l-1,12.50,RUB", "l-1", "amounts with a point need holdings.in_minor_units = false"),
        ("l-1,,RUB", "l-1", "the column 'outstanding' is not an amount"),
        ("l-1,9999999999999999,RUB", "l-1", "the column 'outstanding' is not an amount"),
        ("l-1,12345,rub", "l-1", "the column 'currency' is not a currency of ISO 4217, like RUB"),
        (",12345,RUB", "", "the column 'placement_id' is empty"),
        ("l 1,12345,RUB", "", "the column 'placement_id' is not 1 to 128 printable characters"),
        (f"{'l' * 129},12345,RUB", "", "the column 'placement_id' is not 1 to 128 printable characters"),
        ("l-1,12345", "", "it has 2 columns, the header 3"),
        ("l-1,12345,RUB,more", "", "it has 4 columns, the header 3"),
        ('l-1,"12345"6,RUB', "", "quotation marks do not stand around a whole field"),
        (f"l-1,12345,{'R' * LINE_MAX_BYTES}", "", f"longer than {LINE_MAX_BYTES} bytes"),
    ],
)
def test_a_bad_line_of_csv(line: str, placement_id: str, wrong: str) -> None:
    """It is a row that says what is wrong; a placement that can be read is kept. Its neighbours are as they are."""
    before, bad, behind = read(f"{HEADER}\nl-0,1,RUB\n{line}\nl-2,2,RUB\n")

    assert (before[:3], behind[:3]) == ((2, "l-0", "1"), (4, "l-2", "2"))
    assert (bad[0], bad[1], bad[2]) == (3, placement_id, "")
    assert wrong in problem(bad)


@pytest.mark.parametrize("holdings", [DECIMAL, replace(DECIMAL, delimiter=";")])
def test_amounts_with_a_point(holdings: Holdings) -> None:
    """They are told in minor units of their currency, plain lines as others."""
    lines = [holdings.delimiter.join(cells) for cells in (("l-1", "123.45"), ("l-2", " 123.4"), ("l-3", "123.456"))]
    header = holdings.delimiter.join(("placement_id", "outstanding"))

    found = read("\n".join([header, *lines]), holdings)

    assert [(row[1], str(row[2]), row[3]) for row in found] == [
        ("l-1", "12345", "RUB"),
        ("l-2", "12340", "RUB"),
        ("l-3", "", "RUB"),
    ]
    assert "at most 2 digits behind the point" in problem(found[2])


def test_a_plain_block_says_the_same_as_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block is read at once where each line is plain, and line by line where one is not; nobody sees which."""
    lines = [f"x{n},l-{n},{n}.{n % 90 + 10},{'RUB' if n < 900 else 'KWD'},a-{n},d-{n}" for n in range(1_000)]
    text = "\n".join(["note,placement_id,outstanding,currency,account,debt", *lines])
    in_units = replace(WITH_DEBT, in_minor_units=False)
    for holdings in (in_units, replace(in_units, currency=""), Holdings(outstanding="", account_id="debt")):
        monkeypatch.setattr(holdings_file, "BLOCK_BYTES", 2_000)
        quick = read(text, holdings)
        monkeypatch.setattr(holdings_file, "BLOCK_BYTES", len(text))  # The block of the header is never plain.
        assert [tuple(map(str, row)) for row in quick] == [tuple(map(str, row)) for row in read(text, holdings)]


def test_lines_that_say_nothing_are_no_rows() -> None:
    """Empty ones, blank ones, and those of delimiters alone, before the header and behind it."""
    assert [row[0] for row in read(f"\n \n{HEADER}\n\nl-1,1,RUB\n , ,\n\nl-2,2,RUB\n\n")] == [5, 8]


def test_a_record_may_have_several_lines() -> None:
    """It is told by its first; a quotation mark that is never closed takes no other line with it."""
    header = "placement_id,outstanding,note"
    good = 'l-1,1,"a note\nof two lines"'
    bad = 'l-2,2,"never closed'
    found = read(f"{header}\n{good}\nl-3,3,x\n{bad}\nl-4,4,x\nl-5,5,x", Holdings())

    assert [(row[0], row[1]) for row in found] == [(2, "l-1"), (4, "l-3"), (5, ""), (6, "l-4"), (7, "l-5")]
    assert problem(found[2]) == "a quotation mark is not closed"


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ({"placement_id": "l-1", "outstanding": 12345, "currency": "RUB"}, (1, "l-1", "12345", "RUB", "")),
        ({"placement_id": 17, "outstanding": "12345"}, (1, "17", "12345", "", "")),
        ({"outstanding": 12345}, (1, "", "", "", "the column 'placement_id' is empty")),
        ({"placement_id": ["l-1"], "outstanding": 1}, (1, "", "", "", "the column 'placement_id' is empty")),
        ([], (1, "", "", "", "it is not a JSON object")),
    ],
)
def test_a_line_of_ndjson(line: object, row: tuple[object, ...]) -> None:
    """Its members by their names."""
    (found,) = read(json.dumps(line), NDJSON)

    assert (found[0], found[1], str(found[2]), found[3], found[6]) == row


def test_bad_lines_of_ndjson() -> None:
    """What is not JSON, and what is no amount: each is a row, and no other is lost."""
    lines = ['{"placement_id":"l-1","outstanding":1}', "{", "", '{"placement_id":"l-2","outstanding":true}']
    found = read("\n".join(lines), NDJSON)

    assert [(row[0], row[1], bool(problem(row))) for row in found] == [
        (1, "l-1", False),
        (2, "", True),
        (4, "l-2", True),
    ]


def test_an_amount_with_a_point_in_json() -> None:
    """A number is taken by its shortest form, which is what was written."""
    holdings = replace(DECIMAL, format=FileFormat.NDJSON)

    assert [row[2] for row in read('{"placement_id":"l-1","outstanding":1234.1}', holdings)] == ["123410"]


@pytest.mark.parametrize(
    ("encoding", "bom"), [("utf-8", b"\xef\xbb\xbf"), ("utf-8-sig", b"\xef\xbb\xbf"), ("utf-8", b"")]
)
def test_a_mark_at_the_beginning_is_none_of_the_header(encoding: str, bom: bytes) -> None:
    """Spreadsheets write one, whatever the entry says."""
    content = bom + f"{HEADER}\nl-1,1,RUB".encode()

    assert [row[1] for row in read(content, replace(PLAIN, encoding=encoding))] == ["l-1"]


def test_another_encoding() -> None:
    """Where the entry names it the line is read; where it does not, that line alone is bad."""
    content = f"{HEADER}\nдЖЮ,1,RUB\nl-2,2,RUB\n".encode("windows-1251")

    assert [row[1] for row in read(content, replace(PLAIN, encoding="windows-1251"))] == ["дЖЮ", "l-2"]
    assert [(row[1], problem(row)) for row in read(content)] == [
        ("", "not in the encoding that the agency's entry says"),
        ("l-2", ""),
    ]


def test_lines_keep_their_numbers_over_blocks() -> None:
    """A file of several blocks, with a line between that is longer than one; gzipped, the same."""
    lines = [f"l-{number},{number},RUB" for number in range(2, 100_000)]
    lines[50_000] = "x" * (BLOCK_BYTES + BLOCK_BYTES // 2)
    content = "\n".join([HEADER, *lines]).encode()

    for found in (read(content), read(gzip.compress(content, 1))):
        assert len(found) == len(lines)
        assert [row[0] for row in found if row[6]] == [50_002]
        assert all(row[1] == f"l-{row[0]}" for row in found if not row[6])


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"placement_id;outstanding;currency\n", "no column 'placement_id', which holdings.placement_id names"),
        (b"placement_id,currency\n", "line 1, the header, has no column 'outstanding'"),
        (b"placement_id,outstanding,currency,currency\n", "has more than one column 'currency'"),
        (b"\n\xff,\n", "line 2, the header, can't be read"),
        (
            gzip.compress(HEADER.encode() + b"\nl-1,1,RUB\n" * 9)[:-12],
            "the file is gzipped, and broken behind line",
        ),
    ],
)
def test_a_file_at_fault(content: bytes, wrong: str) -> None:
    """The error names what is missing and where it is asked for."""
    with pytest.raises(HoldingsFileError, match=wrong):
        read(content)


def test_the_hash_is_of_all_the_files_bytes() -> None:
    """Also of those that nobody read, and as they are in the file; and whoever shows progress hears of each."""
    content = gzip.compress(f"{HEADER}\nl-1,1,RUB\n".encode())
    seen: list[int] = []
    file = HashedFile(io.BytesIO(content), seen.append)

    rows: Iterable[list[Row]] = read_rows(file, PLAIN)

    assert [row[1] for some in rows for row in some] == ["l-1"]
    assert file.sha256() == hashlib.sha256(content).hexdigest()
    assert sum(seen) == len(content)
