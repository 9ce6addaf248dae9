"""What any page says can be done: its commands are ours, its links lead somewhere."""

from __future__ import annotations

import re
import shlex

import pytest

from consumers.main import _parser
from infra.settings import NOT_SETTINGS, PREFIX, Settings
from tests.tidy import pages

PLACEHOLDERS = {"ID": "1"}
"""Words that stand for a number in a command; any other word may stand as it is."""


def _commands(text: str) -> list[str]:
    """Each `handoff-guard ..` of a page, inline or in a block, up to what a shell would do with it."""
    inline = re.findall(r"(?<!`)`(handoff-guard\s[^`]+)`(?!`)", text)
    block = re.findall(r"^\s*(?:\$ )?(?:\S*/)?(handoff-guard +\S.*)$", re.sub(r"`[^`\n]*`", "", text), re.MULTILINE)
    return [re.split(r"\s+(?:#|\||&|>|2>|->)", " ".join(one.split()))[0] for one in inline + block]


@pytest.mark.parametrize(
    ("page", "command"), [(page, command) for page in pages.pages() for command in _commands(pages.page(page))]
)
def test_a_command_is_one_of_ours(page: str, command: str) -> None:
    """Each command that a page shows is taken by the command line as it stands."""
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)[1:]]

    try:
        _parser().parse_args(words)
    except SystemExit as why:
        pytest.fail(f"{page}: {command}: status {why.code}")


@pytest.mark.parametrize("page", pages.pages())
def test_a_link_leads_somewhere(page: str) -> None:
    """Each link to a file leads to one."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", pages.page(page))
    here = (pages.ROOT / page).parent

    assert [link for link in links if not (here / link).exists()] == []


def test_every_word_of_the_glossary_stands_once() -> None:
    """A word has one meaning, and is found by its letter."""
    text = pages.page("docs/glossary.md")
    ours = pages.names(text, "Words of the code")
    all_words = pages.names(text, "Words of the contract") + ours

    assert sorted(ours) == ours
    assert sorted(set(all_words)) == sorted(all_words)


@pytest.mark.parametrize("page", [*pages.pages(), "deploy/handoff-guard@.service"])
def test_a_setting_that_is_named_is_one(page: str) -> None:
    """Each `GUARD_` name in a page is a setting, or one of the few names that are read elsewhere."""
    known = NOT_SETTINGS | {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    found = set(re.findall(r"GUARD_[A-Z_]*[A-Z]", pages.page(page)))

    assert {name for name in found - known if not name.startswith("GUARD_TEST_")} == set()


def test_the_unit_runs_every_role() -> None:
    """The unit's head names the roles, each is a command, and its instance is the command."""
    unit = pages.page("deploy/handoff-guard@.service")
    roles = re.findall(r"handoff-guard@(\w+)", unit)

    assert roles == ["ingest", "dispatch", "sweep", "api"]
    assert [_parser().parse_args([role]).command.__name__ for role in roles] == [f"_{role}" for role in roles]
    assert re.findall(r"^ExecStart=\S+/handoff-guard %i$", unit, re.MULTILINE) != []
