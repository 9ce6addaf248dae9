"""The commands of a person at a desk: look at everything, tell an account's story, free what is stopped or held.

Added to the command line by `consumers.main`. Each reads arguments, asks one part, and writes its answer.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from consumers import check, doctor, quarantine_report, story_report, streams
from consumers.barrier import BehindError
from consumers.checks import State
from consumers.compose import House, utc_now
from consumers.console import EXIT_WRONG, answer, complain, who
from consumers.story import tell_story
from domain.policy import Policy
from infra import logs
from infra.postgres.quarantine import Held
from infra.settings import Settings, SettingsError

Command = Callable[[argparse.Namespace, Settings], int]
Commands = Any  # `argparse` does not name the type of its sub-commands.

PAGE_EVENTS = 100
PAGE_EVENTS_MAX = 1_000
WORDS_MAX_CHARACTERS = 500
"""Limits on what a person asks for and writes down."""


def add_commands(commands: Commands) -> None:
    """Add these commands to the others."""
    look = _add(commands, "doctor", _doctor, "check everything the guard needs, and say what mends it")
    look.add_argument("--create-topics", action="store_true", help="make the topics that are missing first")
    look.add_argument(
        "--partitions", type=_number(1, 1_000), default=doctor.TOPIC_PARTITIONS, help="of those topics"
    )
    why = _add(commands, "why", _why, "the story of an account, and who acts next")
    why.add_argument("account", metavar="ACCOUNT")
    ask = _add(commands, "check", _check, "ask whether a debt may be placed now")
    ask.add_argument("account", metavar="ACCOUNT")
    ask.add_argument("debt", metavar="DEBT")
    ask.add_argument("agency", metavar="AGENCY")
    ask.add_argument("--referral", type=Path, metavar="FILE", help="state the debt: data of debt.referred, as JSON")
    confirm = _add(commands, "confirm", _confirm, "register a placement under a clearance, where that still holds")
    confirm.add_argument("clearance", metavar="CLEARANCE")
    confirm.add_argument("placement", metavar="PLACEMENT")
    _add_streams(commands.add_parser("streams", help="the inbound streams as they are read"))
    _add_quarantine(commands.add_parser("quarantine", help="the events that could not be applied"))


def _add_streams(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add(actions, "list", _streams_list, "each stream with its positions, and why it is stopped")
    accept = _add(actions, "accept", _streams_accept, "read a stopped stream on as it is now")
    accept.add_argument("topic", metavar="TOPIC")


def _add_quarantine(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    page = _add(actions, "list", _quarantine_list, "what waits, oldest first")
    page.add_argument("--account", metavar="A", help="only what holds this account")
    page.add_argument("--after", type=_number(0, 2**63 - 1), default=0, metavar="ID", help="from behind this event")
    page.add_argument("--limit", type=_number(1, PAGE_EVENTS_MAX), default=PAGE_EVENTS, help="events on a page")
    show = _add(actions, "show", _quarantine_show, "one event in full, with its bytes")
    show.add_argument("id", type=_number(1, 2**63 - 1), metavar="ID")
    requeue = _add(actions, "requeue", _quarantine_requeue, "try events again, oldest first")
    which = requeue.add_mutually_exclusive_group(required=True)
    which.add_argument("ids", type=_number(1, 2**63 - 1), nargs="*", default=[], metavar="ID")
    which.add_argument("--account", metavar="A", help="all that hold this account")
    which.add_argument("--all", action="store_true", help="all that wait")
    drop = _add(actions, "drop", _quarantine_drop, "give an event up for good, such as a conflict; its bytes stay")
    drop.add_argument("id", type=_number(1, 2**63 - 1), metavar="ID")
    drop.add_argument(
        "--reason", type=_words, required=True, help="why, for whoever asks later; no customer's data"
    )
    drop.add_argument("--by", type=_words, default=who(), help="who says so (default: %(default)s)")


def _add(commands: Commands, name: str, run: Command, help_text: str) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = commands.add_parser(name, help=help_text, description=help_text)
    one.add_argument("--json", action="store_true", help="print one JSON value")
    one.set_defaults(command=run)
    return one


def _number(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or len(text) > 19 or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a number from {least} to {most}")
        return int(text)

    return number


def _words(text: str) -> str:
    if not text.isprintable() or not text.strip() or len(text) > WORDS_MAX_CHARACTERS:
        raise argparse.ArgumentTypeError(f"must be 1 to {WORDS_MAX_CHARACTERS} printable characters")
    return text


def _doctor(arguments: argparse.Namespace, settings: Settings) -> int:
    with _house("doctor", settings) as house:
        look = house.doctor()
        findings = [look.create_topics(arguments.partitions)] if arguments.create_topics else []
        findings += look.examine()
        values = look.settings_in_words()
        data = {"findings": [asdict(one) for one in findings], "settings": values}
        answer(data, doctor.in_words(findings), as_json=arguments.json)
    return EXIT_WRONG if any(one.state is State.FAIL for one in findings) else 0


def _why(arguments: argparse.Namespace, settings: Settings) -> int:
    with _house("why", settings) as house:
        policy = house.policy()
        asked_at = utc_now()
        behind = _behind(house, policy)
        history = house.history().of(arguments.account)
    if history is None:
        unknown = {"account_id": arguments.account, "known": False, "behind": behind}
        missing = f"; what may be missing: {behind}" if behind else ""
        answer(unknown, [f"nothing is known of this account{missing}"], as_json=arguments.json)
        return EXIT_WRONG
    story = tell_story(history, policy, asked_at, behind=behind)
    words = story_report.story_in_words(story, policy.timezone)
    answer(story_report.story_as_json(story), words, as_json=arguments.json)
    return 0


def _behind(house: House, policy: Policy) -> str | None:
    """Why not all that was acknowledged before now may be in the state; None once it is."""
    try:
        house.barrier(policy).cross()
    except BehindError as why:
        return str(why)
    except SettingsError:
        return "no broker is named, so nobody could say how far the streams go"
    return None


def _check(arguments: argparse.Namespace, settings: Settings) -> int:
    with _house("check", settings) as house:
        return check.ask(arguments, house)


def _confirm(arguments: argparse.Namespace, settings: Settings) -> int:
    with _house("confirm", settings) as house:
        return check.confirm(arguments, house)


def _streams_list(arguments: argparse.Namespace, settings: Settings) -> int:
    with _house("streams", settings) as house:
        registered = house.streams().registered()
    answer(streams.as_json(registered), streams.in_words(registered), as_json=arguments.json)
    return 0


def _streams_accept(arguments: argparse.Namespace, settings: Settings) -> int:
    with _house("streams", settings) as house:
        accepted = streams.accept(house.streams(), house.cluster_now(), arguments.topic)
    answer(accepted.as_json(), accepted.in_words(), as_json=arguments.json)
    return 0


def _quarantine_list(arguments: argparse.Namespace, settings: Settings) -> int:
    with _house("quarantine", settings) as house:
        quarantine = house.quarantine()
        page = quarantine.waiting(account_id=arguments.account, after=arguments.after, limit=arguments.limit)
        waiting = quarantine.count()
    after = page[-1].quarantine_id if len(page) == arguments.limit else None
    account = f" --account {arguments.account}" if arguments.account else ""
    more = f"handoff-guard quarantine list{account} --after {after} --limit {arguments.limit}" if after else ""
    words = quarantine_report.list_in_words(page, waiting=waiting, more=more)
    answer(quarantine_report.list_as_json(page, waiting=waiting, after=after), words, as_json=arguments.json)
    return 0


def _quarantine_show(arguments: argparse.Namespace, settings: Settings) -> int:
    with _house("quarantine", settings) as house:
        held = house.quarantine().look(arguments.id)
    return _show(held, arguments, missing="is no event of the quarantine")


def _quarantine_requeue(arguments: argparse.Namespace, settings: Settings) -> int:
    with _house("quarantine", settings) as house:
        requeue = house.requeue()
        report = requeue.these(arguments.ids) if arguments.ids else requeue.all(arguments.account)
    answer(report.as_json(), report.in_words(), as_json=arguments.json)
    return 0 if report.all_through else EXIT_WRONG


def _quarantine_drop(arguments: argparse.Namespace, settings: Settings) -> int:
    with _house("quarantine", settings) as house:
        dropped = house.quarantine().drop(arguments.id, by=arguments.by, reason=arguments.reason)
        if dropped is not None:
            house.log.warning("quarantine.dropped", quarantine_id=arguments.id, reason=dropped.reason)
    return _show(dropped, arguments, missing="does not wait in quarantine")


def _show(held: Held | None, arguments: argparse.Namespace, *, missing: str) -> int:
    if held is None:
        complain(f"{arguments.id} {missing}")
        return EXIT_WRONG
    answer(quarantine_report.show_as_json(held), quarantine_report.show_in_words(held), as_json=arguments.json)
    return 0


@contextmanager
def _house(name: str, settings: Settings) -> Iterator[House]:
    """The parts of a command that ends by itself; a person waits for it, so nothing is tried twice."""
    log = logs.configure(role=name, level=settings.log_level)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # The answer says what its twenty lines would.
    with closing(House(settings, log, role=name)) as house:
        if name != "doctor":
            house.database_now()
        yield house
