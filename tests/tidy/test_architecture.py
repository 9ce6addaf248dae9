"""The page on the architecture is true: its tree, its layers, its seven steps, and the tables of account facts."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from itertools import takewhile

import pytest

from domain.streams import StopReason
from tests.tidy import pages

PAGE = pages.page("docs/architecture.md")


def _drawn() -> set[str]:
    """The paths in the drawn tree; a folder ends in a slash."""
    found: set[str] = set()
    above: list[str] = []
    block = pages.section(PAGE, "The tree").split("```")[1]
    for line in block.splitlines()[1:]:
        depth = len(list(takewhile(str.isspace, line))) // 4
        name = line.split()[0]
        above = [*above[:depth], name]
        found.add("".join(above))
    return found


def _there() -> set[str]:
    """The paths that there are: top-level folders, and what is below those of the product."""
    found = {f"{folder}/" for folder in pages.top_folders()}
    for folder in pages.PRODUCT:
        for file in pages.files(folder):
            parts = file.split("/")
            found.update(f"{'/'.join(parts[:depth])}/" for depth in range(1, len(parts)))
            if parts[-1] != "__init__.py":
                found.add(file)
    return found


def test_the_tree_drawn_is_the_tree() -> None:
    """Each folder and module of the product is drawn, and each one drawn is there."""
    assert sorted(_drawn()) == sorted(_there())


def test_each_line_of_the_tree_has_its_phrase() -> None:
    """Whoever looks for a thing finds it by a phrase; migrations are named by their files."""
    block = pages.section(PAGE, "The tree").split("```")[1]
    bare = [line.strip() for line in block.splitlines()[1:] if len(line.split()) == 1]

    assert all(re.fullmatch(r"\d{4}_\w+\.py", name) for name in bare), bare


def test_the_contracts_are_those_that_are_checked() -> None:
    """The table of the layers names each contract of import-linter, in its order."""
    checked = tomllib.loads(pages.page("pyproject.toml"))["tool"]["importlinter"]["contracts"]

    assert [contract["name"] for contract in checked] == pages.names(PAGE, "The layers")


STEPS = ("The way of one settled payment", "A question")


@pytest.mark.parametrize("row", [row for way in STEPS for row in pages.rows(PAGE, way)], ids=lambda row: row[3])
def test_each_step_is_where_the_page_says(row: list[str]) -> None:
    """The file of a step holds the function of that name."""
    _, _, file, function = row
    found: object = import_module(file.removesuffix(".py").replace("/", "."))

    for name in function.split("."):
        found = getattr(found, name)

    assert callable(found)


def test_there_are_seven_steps() -> None:
    """An eighth step belongs to one of the seven."""
    for way in STEPS:
        assert [str(number) for number in range(1, 8)] == pages.names(PAGE, way)


def test_every_reason_to_stop_is_in_the_page() -> None:
    """The table of stop reasons is the code's, in its order."""
    assert [reason.value for reason in StopReason] == pages.names(PAGE, "What stops a stream")


def test_account_facts_are_kept_by_account() -> None:
    """A table with accounts has the account first in its key, and is among those that the page names."""
    migrations = "\n".join(pages.page(file) for file in pages.modules("infra/postgres/migrations/versions"))
    tables = re.findall(r"CREATE TABLE (\w+) \((.*?)\n\)", migrations, re.DOTALL)
    of_accounts = {name for name, columns in tables if re.search(r"^\s+account_id\s", columns, re.MULTILINE)}
    by_account = {
        name
        for name, columns in tables
        if re.search(r"PRIMARY KEY \(account_id|account_id text +PRIMARY KEY", columns)
    }
    named = re.search(r"every table of account facts\s\((.*?)\)", pages.section(PAGE, "How it scales"), re.DOTALL)

    assert of_accounts == by_account
    assert named is not None
    assert of_accounts == set(re.findall(r"`(\w+)`", named[1]))
