"""The arguments of `agency-simulator` and `agency-check`, and the behaviour that they ask for.

Read by `consumers.main`, which must start fast: this imports no web server, no broker and no cryptography.
"""

from __future__ import annotations

import argparse
import math
from datetime import timedelta
from pathlib import Path

from consumers.agency.behaviour import Behaviour, Fault
from domain.agency import FileFormat

SECONDS_MAX = 86_400.0
MESSAGES_MAX = 10**9
WAIT_SECONDS = 30.0
"""For an agency's answer to the test recall."""

ANSWERS = ("callback", "kafka", "file")


def add_simulator(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `agency-simulator`."""
    parser.add_argument("agency", metavar="AGENCY", help="its id, as in the file of agencies")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--webhook", type=address, metavar="HOST:PORT", help="take messages by https; port 0: any")
    way.add_argument("--kafka", action="store_true", help="take messages from guard.recalls, from now on")
    way.add_argument("--folder", type=Path, metavar="PATH", help="take the files that are dropped into a folder")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="its journal (default: .agency/AGENCY)")
    parser.add_argument(
        "--secret", action="append", default=[], metavar="PLACE", help=PLACE_HELP.format("the guard")
    )
    parser.add_argument("--tls-cert", default="", metavar="FILE", help="its certificate; none: self-made")
    parser.add_argument("--tls-key", default="", metavar="FILE", help="the certificate's key")
    parser.add_argument("--answer", choices=ANSWERS, help="how it answers (default: the way it is told)")
    parser.add_argument("--guard-url", default="", metavar="URL", help="where the guard's API is, for call-backs")
    parser.add_argument("--guard-ca", default="", metavar="FILE", help="who vouches for that address")
    parser.add_argument("--callback-secret", default="", metavar="PLACE", help=PLACE_HELP.format("it"))
    parser.add_argument("--source", default="", help="the source of its events (default: urn:agency:AGENCY)")
    parser.add_argument(
        "--answer-format",
        type=FileFormat,
        choices=list(FileFormat),
        default=FileFormat.NDJSON,
        help="of its answer files",
    )
    parser.add_argument(
        "--answer-folder", type=Path, metavar="PATH", help="above `answers`, where it has no --folder"
    )
    _add_behaviour(parser)


PLACE_HELP = "env:NAME or file:PATH of a secret by which {} signs"


def _add_behaviour(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--seed", type=int, default=0, help="the same seed does the same to the same messages")
    add("--accept", action="store_true", help="says that it has a placement, at the first message about it")
    add("--late", type=seconds, default=0.0, metavar="SECONDS", help="answers after so long")
    add("--slow", type=seconds, default=0.0, metavar="SECONDS", help="takes so long to answer a call")
    for name, words in SHARES.items():
        add(f"--{name}", type=share, default=0.0, metavar="SHARE", help=words)
    add("--shuffle", action="store_true", help="answers out of order")
    add("--other-account", default="", metavar="ACCOUNT", help="of the placement for --wrong-agency")
    add("--other-placement", default="", metavar="PLACEMENT", help="which --wrong-agency answers for")
    add("--die-after", type=messages, default=0, metavar="N", help="kills itself in the middle of the N-th message")
    add(
        "--down-for",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="takes nothing for the first so many seconds",
    )
    add(
        "--fault",
        type=Fault,
        choices=list(Fault),
        action="append",
        default=[],
        help="a fault for agency-check to find",
    )


SHARES = {
    "refuse": "refuses this share of the deliveries, as if busy (503)",
    "reject": "rejects this share of the recalls, with a reason",
    "silent": "never answers this share of the recalls",
    "repeat": "answers this share of the recalls twice",
    "call-on": "calls the customer on after this share of the recalls, which it acknowledges",
    "wrong-agency": "also answers for a placement that is not its own, for this share of the recalls",
}


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `agency-check`."""
    parser.add_argument("agency", metavar="AGENCY", help="its id, as in the file of agencies")
    parser.add_argument("--listen", type=address, metavar="HOST:PORT", help="wait here for its call-backs")
    parser.add_argument("--tls-cert", default="", metavar="FILE", help="to listen by https")
    parser.add_argument("--tls-key", default="", metavar="FILE", help="the certificate's key")
    parser.add_argument(
        "--wait",
        type=seconds,
        default=WAIT_SECONDS,
        metavar="SECONDS",
        help="for its answer (default: %(default)g)",
    )
    parser.add_argument(
        "--yes-publish", action="store_true", help="publish a test recall to guard.recalls, which every reader sees"
    )


def behaviour(arguments: argparse.Namespace) -> Behaviour:
    """The behaviour that was asked for."""
    return Behaviour(
        seed=arguments.seed,
        accept=arguments.accept,
        late=timedelta(seconds=arguments.late),
        refuse=arguments.refuse,
        reject=arguments.reject,
        silent=arguments.silent,
        repeat=arguments.repeat,
        call_on=arguments.call_on,
        wrong_agency=arguments.wrong_agency,
        shuffle=arguments.shuffle,
        other_placement=(arguments.other_account, arguments.other_placement),
        faults=frozenset(arguments.fault),
    )


def address(text: str) -> tuple[str, int]:
    """A host and a port; an IPv6 address stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise argparse.ArgumentTypeError("must be like 127.0.0.1:8443")
    return host.removeprefix("[").removesuffix("]"), int(port)


def share(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, 1.0, "from 0 to 1")


def seconds(text: str) -> float:
    """A number of seconds."""
    return _number(text, SECONDS_MAX, f"of seconds, at most {SECONDS_MAX:.0f}")


def messages(text: str) -> int:
    """A number of messages."""
    if not text.isascii() or not text.isdecimal() or len(text) > 10 or not 1 <= int(text) <= MESSAGES_MAX:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {MESSAGES_MAX}")
    return int(text)


def _number(text: str, most: float, words: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        raise argparse.ArgumentTypeError(f"must be a number {words}")
    return number
