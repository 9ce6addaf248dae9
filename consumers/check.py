"""`check` and `confirm`: asks on the command line whether a debt may be placed, and registers its placement.

Called by `consumers.desk`. Exit status 0 where it may, or is confirmed; 1 where it may not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from consumers.clear import Asked, Clear, Confirmed, Confirming, Refused, Void
from consumers.compose import House
from consumers.terminal import EXIT_USAGE, EXIT_WRONG, answer, complain, who
from domain.clearance import Decision
from domain.words import amount_in_words
from infra.postgres.clearances import Given
from infra.wire.clearances import encode_confirmation, encode_reasons
from infra.wire.questions import Question, in_words


def ask(arguments: argparse.Namespace, house: House) -> int:
    """Ask for one debt, or for each line of a file."""
    if arguments.batch is not None:
        from consumers.check_file import ask_file  # noqa: PLC0415 # Only here are a bar and the API's words needed.

        return ask_file(arguments, house, _clear(house))
    if arguments.agency is None:
        complain("name ACCOUNT, DEBT and AGENCY, or --batch FILE")
        return EXIT_USAGE
    referral = _referral(arguments.referral) if arguments.referral else None
    try:
        question = Question(
            account_id=arguments.account, debt_id=arguments.debt, agency_id=arguments.agency, referral=referral
        )
    except ValidationError as why:
        complain(in_words(why))
        return EXIT_USAGE
    given = _clear(house).ask(Asked(question.about, who(), question.referral))
    if isinstance(given, Refused):
        complain(given.detail)
        return EXIT_USAGE
    answer(given.answer, _in_words(given), as_json=arguments.json)
    return 0 if given.decision == Decision.CLEAR else EXIT_WRONG


def confirm(arguments: argparse.Namespace, house: House) -> int:
    """Register a placement under a clearance."""
    result = _clear(house).confirm(Confirming(arguments.clearance, arguments.placement))
    match result:
        case None:
            complain(f"{arguments.clearance} is no clearance")
            return EXIT_WRONG
        case Void():
            answer(_void_as_json(arguments, result), _void_in_words(result), as_json=arguments.json)
            return EXIT_WRONG
        case Confirmed():
            words = f"confirmed: placement {result.placement_id} of debt {result.given.debt_id}"
            confirmed = encode_confirmation(result.given.answer, result.placement_id, result.placed_at)
            answer(confirmed, [words], as_json=arguments.json)
            return 0


def _clear(house: House) -> Clear:
    policy = house.policy()
    return house.clear(policy, house.barrier(policy))


def _referral(file: Path) -> dict[str, object]:
    """The statement of the debt in a file; its fields are judged as those of an event are."""
    stated = json.loads(file.read_text())
    return stated if isinstance(stated, dict) else {}


def _in_words(given: Given) -> Iterator[str]:
    yield f"{given.decision}: debt {given.debt_id} of account {given.account_id}"
    if given.decision == Decision.CLEAR:
        owed = amount_in_words(given.outstanding, given.currency)
        yield f"  {owed} may be placed with {given.agency_id} until {given.expires_at.isoformat()}"
        yield f"  -> handoff-guard confirm {given.clearance_id} PLACEMENT"
    reasons = given.answer["reasons"]
    for reason in reasons if isinstance(reasons, list) else []:
        evidence = f" ({'; '.join(reason['evidence'])})" if reason["evidence"] else ""
        yield f"  {reason['code']}: {reason['message']}{evidence}"


def _void_in_words(void: Void) -> Iterator[str]:
    yield f"void: {void.detail}"
    for reason in void.reasons:
        evidence = f" ({'; '.join(reason.evidence)})" if reason.evidence else ""
        yield f"  {reason.code}: {reason.message}{evidence}"


def _void_as_json(arguments: argparse.Namespace, void: Void) -> dict[str, object]:
    return {
        "clearance_id": arguments.clearance,
        "placement_id": arguments.placement,
        "confirmed": False,
        "detail": void.detail,
        "reasons": encode_reasons(void.reasons),
    }
