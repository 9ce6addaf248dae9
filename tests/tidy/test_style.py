"""The house style, as far as a test can hold it: lengths, docstrings, reasons beside exceptions, names, words."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePath

import pytest

from tests.tidy import pages

FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 470
"""Where reading in one go ends. The median function has 10 lines; think again long before."""

TEST_MODULE_LINES_MAX = 640
"""Tables of cases are looked up rather than read; the longest has a row for each rule of the contract."""

LONGER_MODULES = {
    "tests/infra/wire/test_decode.py": 920,  # A table: every type, and every way to get it wrong.
}

MAY_SLEEP = {
    "consumers/asker.py",  # An API that starts tells nobody when it is there.
    "consumers/barrier.py",  # Positions that move tell nobody; a question looks at them every 2 ms.
    "infra/kafka/horizon.py",  # Nor does a new leader.
    "consumers/watchdog.py",  # A thread that watches another one, which can't wake it.
    "infra/embedded/kafka.py",  # A server that starts tells nobody when it is there.
    "infra/embedded/postgres.py",  # As above.
    "infra/postgres/database.py",  # A thread that looks at deadlines ten times a second.
}

FOLDERS = {"bench", "consumers", "deploy", "docs", "domain", "infra", "tests"}

OUTSIDE = re.compile(r"(?<![\w.])/" + r"work/|\.\./" + r"shared|\b(?:DESIGN|CONTRACT|STYLE)" + r"\.md\b")
"""What lies outside the repository, and so means nothing to whoever has only that."""

CODE = pages.modules(*pages.CODE)
PRODUCT = pages.modules(*pages.PRODUCT)
TESTS = pages.modules("tests")


@pytest.mark.parametrize("module", CODE)
def test_a_module_opens_with_a_docstring(module: str) -> None:
    """A module that holds anything says first what it holds."""
    assert not pages.lines(module) or ast.get_docstring(pages.tree(module))


@pytest.mark.parametrize("module", CODE)
def test_a_module_can_be_read_in_one_go(module: str) -> None:
    """No module is longer than the bound; those that are allowed to be say why."""
    assert len(pages.lines(module)) <= LONGER_MODULES.get(module, _lines_max(module))


def test_the_longer_modules_are_longer() -> None:
    """An exception that is no longer needed goes."""
    assert [module for module in LONGER_MODULES if len(pages.lines(module)) <= _lines_max(module)] == []


@pytest.mark.parametrize("module", CODE)
def test_a_function_can_be_seen_at_once(module: str) -> None:
    """No function is longer than the bound."""
    lengths = {one.name: (one.end_lineno or 0) - one.lineno + 1 for one in pages.functions(module)}

    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES_MAX} == {}


@pytest.mark.parametrize("module", TESTS)
def test_a_test_says_what_it_shows(module: str) -> None:
    """Each test has a docstring of whole sentences."""
    tests = [one for one in pages.functions(module) if one.name.startswith("test_") and _is_test(module)]
    said = {one.name: ast.get_docstring(one) or "" for one in tests}

    assert [name for name, words in said.items() if not words.endswith((".", "?"))] == []


@pytest.mark.parametrize("module", TESTS)
def test_no_mocks(module: str) -> None:
    """Tests run on real parts."""
    imported = {name for one in ast.walk(pages.tree(module)) for name in _imported(one)}

    assert set() == {name for name in imported if "mock" in name.split(".")}


@pytest.mark.parametrize("module", PRODUCT)
def test_the_product_does_not_print(module: str) -> None:
    """Answers leave by the console and lines by the log."""
    assert [line for name, line in _calls(module) if name == "print"] == []


def test_who_sleeps_says_why() -> None:
    """The modules that sleep are those that are named here with a reason."""
    assert {module for module in PRODUCT if any(name == "sleep" for name, _ in _calls(module))} == MAY_SLEEP


@pytest.mark.parametrize("module", CODE)
def test_an_exception_from_a_rule_says_why(module: str) -> None:
    """Each `noqa` and `type: ignore` has its code, and its reason on the line or in the comment right above."""
    assert list(_unexplained(pages.lines(module))) == []


@pytest.mark.parametrize("module", CODE)
def test_no_module_is_named_like_a_standard_one(module: str) -> None:
    """Run as a script, a module would hide the standard one of its name."""
    name = PurePath(module)

    assert name.stem == "__init__" or name.stem not in sys.stdlib_module_names


def test_the_top_level_folders_are_those_of_the_house() -> None:
    """A top-level folder becomes an import name, so a new one is thought about; the wheel takes the product."""
    found = tomllib.loads(pages.page("pyproject.toml"))["tool"]["setuptools"]["packages"]["find"]["include"]

    assert pages.top_folders() == FOLDERS
    assert [f"{folder}*" for folder in pages.PRODUCT] == found


def test_the_project_speaks_of_itself_alone() -> None:
    """No file names a place outside the repository; pictures hold no words."""
    files = [file for folder in FOLDERS for file in pages.files(folder) if not file.endswith(".png")] + [
        *pages.pages(),
        "Makefile",
        "pyproject.toml",
    ]

    assert {file: found for file in files if (found := OUTSIDE.findall(pages.page(file)))} == {}


def _lines_max(module: str) -> int:
    return TEST_MODULE_LINES_MAX if module.startswith("tests/") else MODULE_LINES_MAX


def _is_test(module: str) -> bool:
    return PurePath(module).name.startswith("test_")


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import():
            return [one.name for one in node.names]
        case ast.ImportFrom():
            return [f"{node.module}.{one.name}" for one in node.names]
        case _:
            return []


def _calls(module: str) -> Iterator[tuple[str, int]]:
    """The last name of each call, with its line."""
    for one in ast.walk(pages.tree(module)):
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name | ast.Attribute):
            yield one.func.id if isinstance(one.func, ast.Name) else one.func.attr, one.lineno


MARK = re.compile(r"#\s*(?:no" + r"qa\b|type:\s*ig" + r"nore)(?P<rest>.*)$")
"""An exception from a rule, with what stands behind it."""

REASON = re.compile(r"(?:: [A-Z]+\d+(?:, [A-Z]+\d+)*|\[[\w-]+\])(?P<why>\s+(?:# )?\w.*\.)?")
"""The code of the rule, and a sentence."""


def _unexplained(lines: list[str]) -> Iterator[str]:
    """The lines with an exception that lacks its code, or a reason there or in the comment above a run of them."""
    said_above = False
    for line in lines:
        found = MARK.search(line)
        if found is None:
            said_above = line.lstrip().startswith("# ")
            continue
        reason = REASON.fullmatch(found["rest"])
        if reason is None or not (reason["why"] or said_above):
            yield line


def test_no_two_test_modules_have_one_name() -> None:
    """The suite has no packages, so the second of them would not be collected."""
    names = Counter(PurePath(module).name for module in pages.modules("tests"))

    assert [name for name, count in names.items() if count > 1 and name.startswith("test_")] == []
