"""What an agency's engineer copies from the page on agencies is right."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

import pytest

from domain.agency import WebhookTarget
from infra.channels import file_drop, file_lines, signatures, webhook
from infra.channels.signatures import SignatureReason, verify
from tests.tidy import pages

PAGE = pages.page("docs/agencies.md")
EXAMPLE = dict(re.findall(r"^([\w-]+(?: \(\w+\))?) {2,}(.+)$", PAGE.split("```text\n")[1].split("```")[0], re.M))
HEADERS = {name: value for name, value in EXAMPLE.items() if name.startswith("webhook-")}
BODY = EXAMPLE["body"].encode()
AT = datetime.fromtimestamp(int(EXAMPLE["webhook-timestamp"]), UTC)


@pytest.mark.parametrize("which", ["secret (new)", "secret (old)"])
def test_the_worked_example_holds(which: str) -> None:
    """Each of the two secrets verifies it."""
    assert verify([EXAMPLE[which].encode()], HEADERS, BODY, now=AT) == EXAMPLE["webhook-id"]


@pytest.mark.parametrize(
    ("which", "body", "seconds_later", "expected"),
    [
        ("secret (new)", BODY, 0, True),
        ("secret (old)", BODY, 299, True),
        ("secret (old)", BODY, -299, True),
        ("secret (old)", BODY, 301, False),
        ("secret (old)", BODY + b" ", 0, False),
        ("whsec_AAAA", BODY, 0, False),
    ],
)
def test_the_code_on_the_page_does_it(which: str, body: bytes, seconds_later: int, expected: bool) -> None:
    """As it stands there, at the time of the example."""
    code = PAGE.split("```python\n")[1].split("```")[0]
    names: dict[str, object] = {}
    exec(compile(code, "docs/agencies.md", "exec"), names)  # noqa: S102  The page is ours, and this is its test.
    names["time"] = _Clock(AT.timestamp() + seconds_later)
    is_ours = cast("Callable[[str, dict[str, str], bytes], bool]", names["is_ours"])

    assert is_ours(EXAMPLE.get(which, which), HEADERS, body) == expected


class _Clock:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def time(self) -> float:
        """The time of the example."""
        return self._seconds


def test_every_refusal_is_on_the_page() -> None:
    """With what to look at."""
    told = [name for row in pages.rows(PAGE, "Sign a call-back") for name in re.findall(r"[A-Z_]{5,}", row[0])]

    assert told == list(SignatureReason)


def test_the_columns_are_on_the_page() -> None:
    """Those that are written, and those that are read."""
    written = PAGE.split("The columns are")[1].split("What a\n")[0]
    read = [name for row in pages.rows(PAGE, "Answers in files") for name in re.findall(r"\w+", row[0])]

    assert tuple(re.findall(r"`(\w+)`", written)) == file_lines.COLUMNS
    assert tuple(read) == file_lines.ANSWER_COLUMNS
    assert [word for word in file_lines.ANSWER_TYPES if f"`{word}`" not in PAGE] == []


def test_the_limits_are_on_the_page() -> None:
    """As they are in the code."""
    said = {
        "up to 64 KiB": WebhookTarget("", ()).answer_max_bytes == 65_536,
        "for 30 seconds": webhook.KEEP_SECONDS == 30,
        "five\nminutes": signatures.TOLERANCE.total_seconds() == 300,
        "at most 128 printable": signatures.ID_MAX_CHARACTERS == 128,
        "above 4 MiB": file_drop.FILE_MAX_BYTES == 4 * 2**20,
        "more than 20,000 lines": file_lines.LINES_MAX == 20_000,
    }

    assert {words for words, is_so in said.items() if not is_so or words not in PAGE} == set()
