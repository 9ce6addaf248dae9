"""The page on clearances names every reason with its decision, in order, and its examples can be read."""

from __future__ import annotations

import ast
import json
import re

from domain.clearance import Code, Decision, Reason, decision_of
from infra.wire.outgoing import Clearance
from tests.tidy import pages

PAGE = pages.page("docs/clearance.md")


def test_every_reason_is_in_the_page() -> None:
    """With what it decides, and who can end it."""
    told = pages.rows(PAGE, "The reasons")

    assert [[code.value, decision_of([Reason(code, "")])] for code in Code] == [row[:2] for row in told]
    assert [row[0] for row in told if len(row) != 4 or not all(row)] == []


def test_every_decision_says_what_to_do() -> None:
    """`clear`, `hold` and `refuse` each have a line."""
    told = [row[0] for row in pages.rows(PAGE, "What each answer means")]

    assert [decision for decision in Decision if not any(f"`{decision}" in answer for answer in told)] == []


def test_the_example_of_an_answer_is_one() -> None:
    """It has the fields of a clearance, and no other."""
    example = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])

    assert set(Clearance.model_fields) == set(example)


def test_the_example_in_python_is_python() -> None:
    """It can be pasted."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    assert ast.parse(example).body != []
