"""`confirmation`: the paper for a customer whom a collector has stopped calling, where that is so.

Called by `consumers.desk`, and for the page in an evidence pack. Exit status 0 where it was written, 1 where
nothing can be confirmed yet.
"""

from __future__ import annotations

import argparse

from consumers.compose import House
from consumers.confirmation_page import Language, Paper
from consumers.evidence.pack import write_new
from consumers.proving import Looked, NotFound
from consumers.story import confirmed_of
from consumers.terminal import EXIT_USAGE, EXIT_WRONG, answer, complain
from domain.confirmation import NotYet
from domain.policy import Policy

NO_CREDITOR = "no creditor is named: set GUARD_CREDITOR_NAME, or give --creditor"


def paper_of(looked: Looked, policy: Policy, *, creditor: str, language: Language) -> Paper | NotYet:
    """The paper on a placement, or why there is none yet."""
    confirmed = confirmed_of(looked.proof.history, looked.opened.placement_id, policy, behind=looked.behind)
    if isinstance(confirmed, NotYet):
        return confirmed
    return Paper(confirmed, creditor, looked.agency_name, looked.at, policy.timezone, language)


def give(arguments: argparse.Namespace, house: House) -> int:
    """Write the paper on one placement."""
    creditor = arguments.creditor or house.settings.creditor_name
    if not creditor:
        complain(NO_CREDITOR)
        return EXIT_USAGE
    proving = house.proving()
    looked = proving.look(arguments.placement, arguments.account)
    if isinstance(looked, NotFound):
        complain(looked.detail)
        return EXIT_WRONG
    paper = paper_of(looked, proving.policy, creditor=creditor, language=arguments.language)
    if isinstance(paper, NotYet):
        told = {"placement_id": arguments.placement, "confirmed": False, "why": paper.why}
        answer(told, [f"nothing can be confirmed yet: {paper.why}"], as_json=arguments.json)
        return EXIT_WRONG
    write_new(arguments.out, paper.html().encode())
    house.log.info("confirmation.given", placement_id=arguments.placement, by=arguments.by)
    told = {"placement_id": arguments.placement, "confirmed": True, "file": str(arguments.out)}
    answer(told, [f"written to {arguments.out}; it prints on one page"], as_json=arguments.json)
    return 0
