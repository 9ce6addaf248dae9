"""The repository as the tidy tests read it: the pages with their tables, the modules with their syntax trees.

Used by every test of this folder. Looks at files only: it starts nothing and imports nothing of the product.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

PRODUCT = ("consumers", "domain", "infra")
CODE = (*PRODUCT, "tests", "bench")

_MADE = re.compile(r"^\.|^__pycache__$|\.egg-info$|^build$|^dist$")
"""What tools leave behind; `.gitignore` names the same."""


def page(name: str) -> str:
    """A page's text."""
    return (ROOT / name).read_text()


def pages() -> list[str]:
    """The names of all pages that people read."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    return sorted(str(one.relative_to(ROOT)) for one in found)


def section(text: str, heading: str) -> str:
    """What stands under a heading, down to the next one. Raises ValueError where there is none."""
    found = re.search(rf"^#+ {re.escape(heading)}$\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"no heading {heading!r}")
    return found[1]


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head; names stand without their backticks."""
    lines = [line for line in section(text, heading).splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def names(text: str, heading: str) -> list[str]:
    """The first cells of the table under a heading."""
    return [row[0] for row in rows(text, heading)]


def modules(*folders: str) -> list[str]:
    """The modules below these folders, as paths from the root."""
    found = (file for folder in folders for file in _files(ROOT / folder) if file.suffix == ".py")
    return sorted(str(file.relative_to(ROOT)) for file in found)


@cache
def tree(module: str) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse((ROOT / module).read_text())


def lines(module: str) -> list[str]:
    """A module's lines."""
    return (ROOT / module).read_text().splitlines()


def functions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a module."""
    yield from (one for one in ast.walk(tree(module)) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))


def top_folders() -> set[str]:
    """The folders of the root, without what tools leave behind."""
    return {one.name for one in ROOT.iterdir() if one.is_dir() and not _MADE.search(one.name)}


def files(folder: str) -> list[str]:
    """All files below a folder, as paths from the root."""
    return sorted(str(file.relative_to(ROOT)) for file in _files(ROOT / folder))


def _files(folder: Path) -> Iterator[Path]:
    for one in folder.iterdir():
        if _MADE.search(one.name):
            continue
        if one.is_dir():
            yield from _files(one)
        else:
            yield one
