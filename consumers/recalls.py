"""`recall PLACEMENT` and `recalls list|resend|take-over`: what a person orders, and what waits for an agency.

Called by `consumers.desk`.
"""

from __future__ import annotations

import argparse

from consumers.compose import House
from consumers.orders import OrderError
from consumers.recalls_report import next_cursor, page_as_json, place_of, recall_as_json, recalls_in_words
from consumers.terminal import EXIT_WRONG, answer, complain
from domain.recall import RecallStage
from domain.words import moment_in_words
from infra.postgres.recalls import Place, Wanted
from infra.wire.cursor import CursorError

NOT_REPEATED = "what waits to be sent still goes; it is not repeated"


def order(arguments: argparse.Namespace, house: House) -> int:
    """Withdraw a placement by hand."""
    try:
        ordered = house.orders().recall(
            arguments.placement, account_id=arguments.account, reason=arguments.reason, requested_by=arguments.by
        )
    except OrderError as why:
        complain(str(why))
        return EXIT_WRONG
    recall = ordered.recall
    words = f"placement {recall.placement_id} is recalled from {recall.agency_id}, recall {recall.recall_id}"
    if not ordered.is_new:
        words = f"placement {recall.placement_id} was recalled before, recall {recall.recall_id}: {recall.state}"
    zone = house.policy().timezone
    by = f"to be acknowledged by {moment_in_words(recall.acknowledge_by, zone)} ({zone})"
    answer({**recall_as_json(recall), "is_new": ordered.is_new}, [words, by], as_json=arguments.json)
    return 0


def show(arguments: argparse.Namespace, house: House) -> int:
    """List recalls, the one requested first first."""
    wanted = Wanted(
        state=arguments.state,
        agency_id=arguments.agency,
        overdue=True if arguments.overdue else None,
        is_open=True if arguments.open else None,
    )
    page = house.orders().page(wanted, after=arguments.after, limit=arguments.limit)
    words = list(recalls_in_words(page, house.policy().timezone, house.agencies().now()))
    if cursor := next_cursor(page, arguments.limit):
        words.append(f"there may be more: add --after {cursor}")
    answer(page_as_json(page, arguments.limit), words, as_json=arguments.json)
    return 0


def resend(arguments: argparse.Namespace, house: House) -> int:
    """Send recalls again."""
    sent = house.orders().resend(arguments.recalls, by=arguments.by)
    words = [f"recalls on their way again: {sent} of {len(set(arguments.recalls))}"]
    if sent < len(set(arguments.recalls)):
        words.append("the others wait to be sent already, or are no recalls: handoff-guard recalls list")
    answer({"resent": sent}, words, as_json=arguments.json)
    return 0 if sent else EXIT_WRONG


def take_over(arguments: argparse.Namespace, house: House) -> int:
    """Let a person see to a recall."""
    try:
        recall = house.orders().take_over(arguments.recall, by=arguments.by, reason=arguments.reason)
    except OrderError as why:
        complain(str(why))
        return EXIT_WRONG
    already = "" if recall.taken_over_by == arguments.by else "already "
    words = [f"recall {recall.recall_id} is {already}{recall.taken_over_by}'s; {NOT_REPEATED}"]
    answer(recall_as_json(recall), words, as_json=arguments.json)
    return 0


def state(text: str) -> RecallStage:
    """The state of this name. Raises ArgumentTypeError."""
    try:
        return RecallStage(text)
    except ValueError as why:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(RecallStage)}") from why


def after(text: str) -> Place:
    """Where a page begins. Raises ArgumentTypeError."""
    try:
        return place_of(text)
    except CursorError as why:
        raise argparse.ArgumentTypeError(str(why)) from why
