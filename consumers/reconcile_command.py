"""The command `reconcile`: arguments, the file with its progress, the answer and its exit status.

Added to the command line by `consumers.desk`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from consumers import reconcile_report as report
from consumers.compose import House
from consumers.reconcile import Asked
from consumers.terminal import EXIT_USAGE, EXIT_WRONG, answer, complain
from domain.agency import Agency
from infra.holdings_file import HashedFile, HoldingsFileError
from infra.postgres.holdings import TooManyRowsError
from infra.wire.models import instant

STANDARD = Path("-")
"""Standard input."""

SHOWN = 10
SHOWN_MAX = 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("agency", metavar="AGENCY")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help="its list, may be gzipped; -: standard input"
    )
    what.add_argument("--list", action="store_true", help="earlier comparisons, newest first")
    parser.add_argument("--fix", action="store_true", help="recall ghosts and orphans again")
    parser.add_argument("--even-so", action="store_true", help="also where the list looks like another agency's")
    parser.add_argument("--as-of", type=_instant, metavar="INSTANT", help="when the list was made (default: now)")


def _instant(text: str) -> datetime:
    try:
        return instant(text)
    except ValueError as why:
        raise argparse.ArgumentTypeError(str(why)) from why


def reconcile(arguments: argparse.Namespace, house: House) -> int:
    """Compare a list, or show what earlier comparisons found."""
    agency = house.agencies().now().get(arguments.agency)
    if agency is None:
        complain(f"{arguments.agency} is not in the file of agencies: add [agency.{arguments.agency}] to it")
        return EXIT_USAGE
    if arguments.list:
        kept = house.reconciliations().earlier(agency.agency_id, limit=arguments.show)
        answer(report.list_as_json(kept), report.list_in_words(kept), as_json=arguments.json)
        return 0
    if arguments.even_so and not arguments.fix:
        complain("--even-so is for --fix")
        return EXIT_USAGE
    return _compare(arguments, house, agency)


def _compare(arguments: argparse.Namespace, house: House, agency: Agency) -> int:
    asked = Asked(
        agency=agency,
        file_name=arguments.file.name,
        as_of=arguments.as_of,
        by=arguments.by,
        fix=arguments.fix,
        even_so=arguments.even_so,
        show=arguments.show,
    )
    try:
        with _opened(arguments.file) as file:
            found = house.reconcile().run(asked, file)
    except (HoldingsFileError, TooManyRowsError) as why:
        complain(f"{arguments.file}: {why}")
        return EXIT_USAGE
    answer(report.as_json(found), report.in_words(found), as_json=arguments.json)
    return EXIT_WRONG if found.differs else 0


@contextmanager
def _opened(path: Path) -> Iterator[HashedFile]:
    """The file, with a bar of the bytes that were read."""
    if path == STANDARD:
        with _bar(None) as bar:
            yield HashedFile(sys.stdin.buffer, bar.update)
        return
    with path.open("rb") as file, _bar(path.stat().st_size) as bar:
        yield HashedFile(file, bar.update)


def _bar(total_bytes: int | None) -> tqdm[NoReturn]:
    return tqdm(total=total_bytes, unit="B", unit_scale=True, desc="reconcile", disable=None, leave=False)
