"""Every dependency has its reason in the page, and is pinned with hashes in the lock files."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.tidy import pages

PAGE = pages.page("docs/dependencies.md")
PROJECT = tomllib.loads(pages.page("pyproject.toml"))["project"]
LOCKS = ["deploy/requirements.lock", "deploy/requirements-dev.lock"]


def _names(requirements: list[str]) -> list[str]:
    found = (re.match(r"[\w-]+(\[\w+\])?", one) for one in requirements)
    return [one[0] for one in found if one is not None]


@pytest.mark.parametrize(
    ("heading", "requirements"),
    [
        ("Of the product", PROJECT["dependencies"]),
        ("Of the extra `embedded`", PROJECT["optional-dependencies"]["embedded"]),
        ("Of the extra `tracing`", PROJECT["optional-dependencies"]["tracing"]),
        ("Of the extra `dev`", PROJECT["optional-dependencies"]["dev"][1:]),
    ],
    ids=["product", "embedded", "tracing", "dev"],
)
def test_every_dependency_has_its_reason(heading: str, requirements: list[str]) -> None:
    """The page and pyproject.toml name the same packages in the same order; each row says why, and what else."""
    told = pages.rows(PAGE, heading)

    assert _names(requirements) == [row[0] for row in told]
    assert [row[0] for row in told if len(row) != 4 or not all(row)] == []


def test_the_development_extra_takes_the_others_in() -> None:
    """The one requirement of `dev` that has no row is our own extra."""
    assert PROJECT["optional-dependencies"]["dev"][0] == "handoff-guard[embedded,tracing]"


def test_the_page_tells_the_locked_versions() -> None:
    """Each version in the page is the one of the lock file."""
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", pages.page("deploy/requirements-dev.lock"), re.MULTILINE))
    told = re.findall(r"^\| `([\w-]+)` \| (\S+) \|", PAGE, re.MULTILINE)

    assert {name: locked[name] for name, _ in told} == dict(told)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_no_address(lock: str) -> None:
    """A lock file pins each package with hashes, and says nowhere from which host it came."""
    pins = re.split(r"\n(?=\S)", pages.page(lock).strip())

    assert [pin.splitlines()[0] for pin in pins if not re.match(r"[\w.-]+==\S+", pin)] == []
    assert [pin.splitlines()[0] for pin in pins if "--hash=sha256:" not in pin] == []
    assert re.findall(r"\S*://\S*|--(?:extra-)?index-url\S*|--find-links\S*| @ \S*", pages.page(lock)) == []
