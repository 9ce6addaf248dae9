"""The page on the simulated agency is true: its flags, faults and checks are those of the code."""

from __future__ import annotations

import argparse
import re

from consumers.agency.arguments import add_check, add_simulator
from consumers.agency.behaviour import Fault
from consumers.agency.check_webhook import REMEDIES
from tests.tidy import pages

PAGE = pages.page("docs/agency-simulator.md")


def _flags(parser: argparse.ArgumentParser) -> dict[str, bool]:
    """Each flag of a command, and whether a value follows it."""
    actions = (one for one in parser._actions if one.option_strings and "--help" not in one.option_strings)
    return {one.option_strings[-1]: one.nargs != 0 for one in actions}


def _told(heading: str) -> dict[str, bool]:
    """The flags of the first table under a heading."""
    cells = [row[0] for row in pages.rows(PAGE, heading) if re.match("--[a-z]", row[0])]
    return {cell.split()[0]: " " in cell for cell in cells}


def test_every_flag_of_the_simulator_stands_in_its_order() -> None:
    """Those of the parser and those of the page are the same, with a value or without."""
    parser = argparse.ArgumentParser()
    add_simulator(parser)

    assert list(_flags(parser).items()) == list(_told("Flags").items())


def test_every_flag_of_the_check_stands_in_its_order() -> None:
    """As of the simulator; `--json` is of every command that prints."""
    parser = argparse.ArgumentParser()
    add_check(parser)

    assert [("--json", False), *_flags(parser).items()] == list(_told("Check your own end").items())


def test_every_fault_stands() -> None:
    """The faults are the code's, in its order."""
    assert [one.value for one in Fault] == pages.names(PAGE, "Faults")


def test_every_check_of_a_webhook_stands_with_what_it_asks() -> None:
    """In the order in which they are made; those of the answers follow."""
    told = [row[0] for row in pages.rows(PAGE, "Check your own end") if not row[0].startswith("--")]
    checks = [name for name in told if name not in {"check", "---"} and not re.fullmatch(r"-+", name)]

    assert checks[: len(REMEDIES) + 1] == ["reachable", *REMEDIES]
    assert [name for name in checks[len(REMEDIES) + 1 :] if not name.startswith("answers")] == []
