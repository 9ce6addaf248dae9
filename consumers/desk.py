"""The commands of a person at a desk: look at everything, tell an account's story, free what is stopped or held.

Added to the command line by `consumers.main`. Each reads arguments, asks one part, and writes its answer.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from consumers import (
    agencies,
    check,
    confirmation,
    doctor,
    keys,
    quarantine_report,
    recalls,
    reconcile_command,
    record,
    shadow,
    story_report,
    streams,
)
from consumers.checks import State
from consumers.compose import House
from consumers.confirmation_page import Language
from consumers.evidence import maker
from consumers.teller import Unknown
from consumers.terminal import EXIT_WRONG, answer, complain, who
from domain.access import Scope
from domain.recall import RecallStage
from infra import logs
from infra.postgres.quarantine import Held
from infra.settings import Settings

Command = Callable[[argparse.Namespace, Settings], int]
Commands = Any  # `argparse` does not name the type of its sub-commands.

PAGE_EVENTS = 100
PAGE_EVENTS_MAX = 1_000
REPORT_DAYS = 30
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
    why.add_argument("--at", type=_instant, metavar="INSTANT", help="what was known then, in RFC 3339")
    ask = _add(commands, "check", partial(_with_house, check.ask), "ask whether a debt may be placed now")
    for name in ("account", "debt", "agency"):
        ask.add_argument(name, nargs="?", metavar=name.upper())
    ask.add_argument("--batch", type=Path, metavar="FILE", help="a question a line (NDJSON); -: standard input")
    ask.add_argument("--out", type=Path, default=Path("-"), metavar="FILE", help="where their answers go")
    ask.add_argument("--referral", type=Path, metavar="FILE", help="state the debt: data of debt.referred, as JSON")
    confirm = _add(
        commands,
        "confirm",
        partial(_with_house, check.confirm),
        "register a placement under a clearance, where that still holds",
    )
    confirm.add_argument("clearance", metavar="CLEARANCE")
    confirm.add_argument("placement", metavar="PLACEMENT")
    _add(commands, "agencies", partial(_with_house, agencies.show), "each agency, its ways, and what waits for it")
    order = _add(commands, "recall", partial(_with_house, recalls.order), "withdraw a placement by hand")
    order.add_argument("placement", metavar="PLACEMENT")
    order.add_argument("--account", metavar="A", help="whose it is, where two accounts have one of this id")
    _add_who_and_why(order)
    _add_recalls(commands.add_parser("recalls", help="the recalls, and what waits for agencies"))
    _add_proof(commands)
    _add_reconcile(commands)
    _add_keys(commands.add_parser("keys", help="who may call the API"))
    _add_shadow(commands.add_parser("shadow", help="what the answers would have changed"))
    _add_streams(commands.add_parser("streams", help="the inbound streams as they are read"))
    _add_record(commands)
    _add_quarantine(commands.add_parser("quarantine", help="the events that could not be applied"))


def _add_recalls(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    page = _add(actions, "list", partial(_with_house, recalls.show), "recalls, the one requested first first")
    page.add_argument("--state", type=recalls.state, metavar="STATE", help=f"one of {', '.join(RecallStage)}")
    page.add_argument("--agency", metavar="AGENCY", help="only of this agency")
    page.add_argument("--overdue", action="store_true", help="only those past their deadline that nobody answered")
    page.add_argument("--open", action="store_true", help="only those neither acknowledged nor closed")
    page.add_argument("--after", type=recalls.after, metavar="CURSOR", help="from behind a page")
    page.add_argument("--limit", type=_number(1, PAGE_EVENTS_MAX), default=PAGE_EVENTS, help="recalls on a page")
    resend = _add(actions, "resend", partial(_with_house, recalls.resend), "send recalls again")
    resend.add_argument("recalls", nargs="+", metavar="RECALL")
    resend.add_argument("--by", type=_words, default=who(), help="who says so (default: %(default)s)")
    take_over = _add(
        actions, "take-over", partial(_with_house, recalls.take_over), "see to a recall yourself: its clock stops"
    )
    take_over.add_argument("recall", metavar="RECALL")
    _add_who_and_why(take_over)


def _add_who_and_why(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reason", type=_words, required=True, help="why, for whoever asks later; no customer's data"
    )
    parser.add_argument("--by", type=_words, default=who(), help="who says so (default: %(default)s)")


def _add_proof(commands: Commands) -> None:
    pack = _add(
        commands,
        "evidence",
        partial(_with_house, maker.make),
        "all that shows what happened on a placement, as a zip",
    )
    page = _add(
        commands,
        "confirmation",
        partial(_with_house, confirmation.give),
        "the page for a customer whom a collector has left in peace",
    )
    for one, out in ((pack, "FILE.zip"), (page, "FILE.html")):
        one.add_argument("placement", metavar="PLACEMENT")
        one.add_argument("--out", type=Path, required=True, metavar=out, help="a new file, for its owner alone")
        one.add_argument("--account", metavar="A", help="where several accounts have a placement of this id")
        one.add_argument("--by", type=_words, default=who(), help="who asks for it (default: %(default)s)")
        one.add_argument("--creditor", type=_words, help="instead of GUARD_CREDITOR_NAME, on the customer's page")
        one.add_argument(
            "--language", type=Language, choices=list(Language), default=Language.RU, help="of that page"
        )


def _add_reconcile(commands: Commands) -> None:
    run = partial(_with_house, reconcile_command.reconcile)
    one = _add(commands, "reconcile", run, "compare what an agency says it holds with what it ought to hold")
    reconcile_command.add_arguments(one)
    one.add_argument("--by", type=_words, default=who(), help="who asks (default: %(default)s)")
    most = _number(0, reconcile_command.SHOWN_MAX)
    one.add_argument(
        "--show", type=most, default=reconcile_command.SHOWN, metavar="N", help="findings of each kind"
    )


def _add_keys(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    create = _add(actions, "create", partial(_with_house, keys.create), "make a key; it is shown once")
    create.add_argument("name", type=_words, metavar="NAME", help="who holds it, for the record of what they ask")
    create.add_argument(
        "--scope", type=keys.scope, action="append", required=True, help=f"what it is for: {', '.join(Scope)}"
    )
    _add(actions, "list", partial(_with_house, keys.show), "every key that was ever made, and who revoked it")
    revoke = _add(actions, "revoke", partial(_with_house, keys.revoke), "end a key")
    revoke.add_argument("key_id", metavar="KEY", help="its id, the middle of the key")


def _add_record(commands: Commands) -> None:
    run = partial(_with_house, record.show)
    page = _add(commands, "record", run, "who read and did what at the console, the newest first")
    page.add_argument("--account", metavar="A", help="only what concerns this account")
    page.add_argument("--before", type=_number(1, 2**63 - 1), metavar="ID", help="from before this act")
    page.add_argument("--limit", type=_number(1, PAGE_EVENTS_MAX), default=PAGE_EVENTS, help="acts on a page")


def _add_shadow(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    report = _add(
        actions, "report", partial(_with_house, shadow.report), "what was answered, and what collections then did"
    )
    report.add_argument(
        "--days", type=_number(1, 36_500), default=REPORT_DAYS, help="how far back (default: %(default)s)"
    )


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
    drop = _add(actions, "drop", _quarantine_drop, "give events up for good, such as a conflict; their bytes stay")
    drop.add_argument("ids", type=_number(1, 2**63 - 1), nargs="+", metavar="ID")
    _add_who_and_why(drop)


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


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as why:
        raise argparse.ArgumentTypeError("must be like 2026-11-14T10:02:00+03:00") from why
    if at.tzinfo is None:
        raise argparse.ArgumentTypeError("must have an offset, such as +03:00 or Z")
    return at


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
        barrier = house.barrier(policy) if settings.kafka_bootstrap_servers else None
        story = house.teller(policy, barrier).tell(arguments.account, at=arguments.at)
    if isinstance(story, Unknown):
        unknown = {"account_id": story.account_id, "known": False, "behind": story.behind}
        missing = f"; what may be missing: {story.behind}" if story.behind else ""
        answer(unknown, [f"nothing is known of this account{missing}"], as_json=arguments.json)
        return EXIT_WRONG
    words = story_report.story_in_words(story, policy.timezone)
    answer(story_report.story_as_json(story), words, as_json=arguments.json)
    return 0


def _with_house(
    run: Callable[[argparse.Namespace, House], int], arguments: argparse.Namespace, settings: Settings
) -> int:
    with _house("desk", settings) as house:
        return run(arguments, house)


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
    return _show(held, arguments.id, "is no event of the quarantine", as_json=arguments.json)


def _quarantine_requeue(arguments: argparse.Namespace, settings: Settings) -> int:
    with _house("quarantine", settings) as house:
        requeue = house.requeue()
        report = requeue.these(arguments.ids) if arguments.ids else requeue.all(arguments.account)
    answer(report.as_json(), report.in_words(), as_json=arguments.json)
    return 0 if report.all_through else EXIT_WRONG


def _quarantine_drop(arguments: argparse.Namespace, settings: Settings) -> int:
    """Each by itself: one that does not wait keeps none of the others from being given up."""
    status = 0
    with _house("quarantine", settings) as house:
        for quarantine_id in arguments.ids:
            dropped = house.quarantine().drop(quarantine_id, by=arguments.by, reason=arguments.reason)
            if dropped is not None:
                house.log.warning("quarantine.dropped", quarantine_id=quarantine_id, reason=dropped.reason)
            shown = _show(dropped, quarantine_id, "does not wait in quarantine", as_json=arguments.json)
            status = max(status, shown)
    return status


def _show(held: Held | None, quarantine_id: int, missing: str, *, as_json: bool) -> int:
    if held is None:
        complain(f"{quarantine_id} {missing}")
        return EXIT_WRONG
    answer(quarantine_report.show_as_json(held), quarantine_report.show_in_words(held), as_json=as_json)
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
