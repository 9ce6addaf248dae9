"""The page on the settings has every setting and every key of the policy, with their defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from pydantic import BaseModel, SecretStr

from infra import policy_file
from infra.settings import NOT_SETTINGS, PREFIX, Settings
from tests.tidy import pages

PAGE = pages.page("docs/settings.md")
TABLES = ("Of every role", "Of `up`", "Of `ingest`", "Of `api`", "Of `dispatch`", "Of `sweep` and `db upgrade`")


def _in_words(value: object) -> str:
    """A default as the page writes it."""
    match value:
        case None:
            return "none"
        case SecretStr():
            return _in_words(value.get_secret_value())
        case "":
            return "empty"
        case frozenset():
            return ", ".join(sorted(value))
        case tuple():
            return ", ".join(value)
        case Decimal():
            return f"{value:f}"
        case _:
            return str(value)


def _keys(section: type[BaseModel], above: str = "") -> Iterator[tuple[str, str]]:
    for name, field in section.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from _keys(type(field.default), f"{above}{name}.")
        else:
            yield f"{above}{name}", _in_words(field.default)


def test_every_setting_stands_with_its_default() -> None:
    """The tables of the settings and the model have the same names and defaults."""
    expected = {
        f"{PREFIX}{name.upper()}": _in_words(field.default) for name, field in Settings.model_fields.items()
    }
    told = [row for table in TABLES for row in pages.rows(PAGE, table)]

    assert expected == {row[0]: row[2] for row in told}
    assert len(expected) == len(told)


def test_every_setting_says_what_it_does() -> None:
    """No setting stands without words, neither in the page nor in the model."""
    assert [row[0] for table in TABLES for row in pages.rows(PAGE, table) if len(row) != 5 or not row[4]] == []
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_number_has_its_unit_at_the_end_of_its_name_or_in_the_page() -> None:
    """A setting of a length of time says its unit in both."""
    of_time = {"SECONDS": "s", "DAYS": "days", "EVENTS": "events", "RECORDS": "records", "PERCENT": "%"}
    expected = [
        (row[0], of_time[last])
        for table in TABLES
        for row in pages.rows(PAGE, table)
        if (last := row[0].rpartition("_")[2]) in of_time
    ]

    assert expected == [
        (row[0], row[3]) for table in TABLES for row in pages.rows(PAGE, table) if row[0] in dict(expected)
    ]


def test_what_is_read_elsewhere_stands_too() -> None:
    """Names under our prefix that are no settings: those that the product reads, and those of the tests."""
    of_tests = {
        name for module in pages.modules("tests") for name in re.findall(r"GUARD_TEST_[A-Z_]+", pages.page(module))
    }

    assert NOT_SETTINGS | of_tests == set(pages.names(PAGE, "Read elsewhere"))


def test_every_key_of_the_policy_stands_with_its_default() -> None:
    """The table of the policy and the file's model have the same keys and defaults, in one order."""
    assert list(_keys(policy_file._File)) == [(row[0], row[1]) for row in pages.rows(PAGE, "The policy file")]
