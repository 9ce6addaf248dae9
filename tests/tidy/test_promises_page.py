"""The page on the promises names tests that exist, and some for each promise."""

from __future__ import annotations

import ast
import re

import pytest

from tests.tidy import pages

PAGE = pages.page("docs/promises.md")
NAMED = re.findall(r"`(tests/[\w/]+\.py)((?:::\w+)*)`", PAGE)
PROMISES = re.findall(r"^## (S\d .*)$", PAGE, re.MULTILINE)


def _has(module: str, path: list[str]) -> bool:
    body: list[ast.stmt] = pages.tree(module).body
    for name in path:
        found = next(
            (one for one in body if isinstance(one, ast.ClassDef | ast.FunctionDef) and one.name == name), None
        )
        if found is None:
            return False
        body = found.body
    return True


@pytest.mark.parametrize(("module", "path"), NAMED, ids=lambda part: part)
def test_a_named_test_exists(module: str, path: str) -> None:
    """Each test that the page names is there, in its class and file."""
    assert (pages.ROOT / module).is_file()
    assert _has(module, path.split("::")[1:])


def test_there_are_eight_promises() -> None:
    """S1 to S8 stand in the page, in their order."""
    assert [f"S{number}" for number in range(1, 9)] == [promise[:2] for promise in PROMISES]


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_is_shown_and_bounded(promise: str) -> None:
    """Each promise says which tests show it, and what it does not promise."""
    text = pages.section(PAGE, promise)

    assert "**Promise.**" in text
    assert "**Not promised.**" in text
    assert "`tests/" in text
