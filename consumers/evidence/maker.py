"""`evidence`: one zip that shows what happened on a placement, and that anybody can check without us.

Called by `consumers.desk`. Looks the placement up (`consumers.proving`), reads back from the log what was never
kept as bytes, and packs it. Writes one file and one line of the log: to read an account's data is an act.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from consumers.compose import House
from consumers.confirmation import NO_CREDITOR, paper_of
from consumers.confirmation_page import Language
from consumers.evidence.files import CONTENT_ONLY, Concerned, Files, concerned, event_files, files_of
from consumers.evidence.pack import Packed, TooLargeError, packed, write_new
from consumers.evidence.readme import readme
from consumers.evidence.timeline import timeline_of
from consumers.proving import Looked, NotFound
from consumers.terminal import EXIT_WRONG, answer, complain
from domain.confirmation import NotYet
from domain.events import Origin, RawRecord
from domain.policy import Policy
from infra.kafka.errors import BrokerUnavailableError
from infra.wire.kinds import INBOUND_TOPICS

READ_BACK_EVENTS_MAX = 1_000
"""Of an account, from before it had a case; it has tens."""

NOT_ASKED = f"more than {READ_BACK_EVENTS_MAX} events would have had to be read back"

ReadBack = Callable[[Sequence[Origin], Mapping[str, tuple[str, str]]], dict[Origin, RawRecord | str]]
"""Reads records of the log again, or says why there is none; the streams are as they were registered."""


@dataclass(frozen=True, slots=True)
class Made:
    """A pack, and what whoever asked for it is told of it."""

    packed: Packed
    account_id: str
    events: int
    content_only: int
    confirmation: str
    behind: str | None


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks for a pack, and how the page for the customer in it is to be."""

    by: str
    creditor: str
    language: Language


def make(arguments: argparse.Namespace, house: House) -> int:
    """Make the pack of one placement."""
    proving = house.proving()
    looked = proving.look(arguments.placement, arguments.account)
    if isinstance(looked, NotFound):
        complain(looked.detail)
        return EXIT_WRONG
    request = Request(arguments.by, arguments.creditor or house.settings.creditor_name, arguments.language)
    try:
        made = pack_of(looked, proving.policy, house.settings.policy_file, house.read_back, request)
    except TooLargeError as why:
        complain(str(why))
        return EXIT_WRONG
    write_new(arguments.out, made.packed.content)
    house.log.info("evidence.made", placement_id=arguments.placement, by=request.by, sha256=made.packed.sha256)
    answer(_as_json(arguments, made), _in_words(arguments, made), as_json=arguments.json)
    return 0


def pack_of(
    looked: Looked, policy: Policy, policy_file: Path | None, read_back: ReadBack, request: Request
) -> Made:
    """The pack of a placement as it was looked up. Raises TooLargeError."""
    narrowed = concerned(looked.proof, looked.opened)
    events = event_files(narrowed, _read_back(narrowed, read_back))
    timeline = timeline_of(
        narrowed, events, policy, looked.at, agency_name=looked.agency_name, behind=looked.behind
    )
    page, confirmation = _confirmation(looked, policy, request)
    about = {
        "product": "handoff-guard",
        "version": importlib.metadata.version("handoff-guard"),
        "schema_version": looked.proof.schema_version,
        "placement_id": looked.opened.placement_id,
        "account_id": looked.opened.account_id,
        "made_at": looked.at.isoformat(),
        "made_by": request.by,
        "policy": {"version": policy.version, "sha256": policy.sha256},
        "behind": looked.behind,
        "confirmation": confirmation,
    }
    files = {
        **files_of(narrowed, events, policy),
        **timeline.files(),
        **page,
        **_policy_text(policy, policy_file),
        "verify.py": Path(__file__).with_name("verify.py").read_bytes(),
        "README.txt": readme(about).encode(),
    }
    content_only = sum(one.held == CONTENT_ONLY for one in events.values())
    return Made(
        packed(files, about), looked.opened.account_id, len(events), content_only, confirmation, looked.behind
    )


def _read_back(narrowed: Concerned, read_back: ReadBack) -> dict[Origin, RawRecord | str]:
    """The records of the events whose bytes were never kept: those from before the account had a case."""
    received = narrowed.proof.received
    wanted = [
        one.origin
        for one in narrowed.events
        if received[one.source, one.id].value is None and one.origin.topic in INBOUND_TOPICS
    ]
    if not wanted:
        return {}
    if len(wanted) > READ_BACK_EVENTS_MAX:
        return dict.fromkeys(wanted, NOT_ASKED)
    try:
        return read_back(wanted, narrowed.proof.streams)
    except BrokerUnavailableError as why:
        return dict.fromkeys(wanted, f"the broker could not be asked: {why}")


def _confirmation(looked: Looked, policy: Policy, request: Request) -> tuple[Files, str]:
    """The page for the customer, where there is one, and in words whether there is."""
    paper = paper_of(looked, policy, creditor=request.creditor, language=request.language)
    if isinstance(paper, NotYet):
        return {}, f"not yet: {paper.why}"
    if not request.creditor:
        return {}, f"left out: {NO_CREDITOR}"
    return {"confirmation.html": paper.html().encode()}, "in the pack"


def _policy_text(policy: Policy, policy_file: Path | None) -> Files:
    """The policy's text, where the file still is the one in force."""
    text = policy_file.read_bytes() if policy_file is not None else b""
    return {"policy.toml": text} if text and hashlib.sha256(text).hexdigest() == policy.sha256 else {}


def _as_json(arguments: argparse.Namespace, made: Made) -> dict[str, object]:
    return {
        "placement_id": arguments.placement,
        "account_id": made.account_id,
        "file": str(arguments.out),
        "files": made.packed.files,
        "size": len(made.packed.content),
        "sha256": made.packed.sha256,
        "events": made.events,
        "events_without_bytes": made.content_only,
        "confirmation": made.confirmation,
        "behind": made.behind,
    }


def _in_words(arguments: argparse.Namespace, made: Made) -> list[str]:
    lines = [f"written to {arguments.out}: {made.packed.files} files, {made.events} events"]
    if made.content_only:
        lines.append(f"  of {made.content_only} events the content is kept, and the bytes are no longer held")
    if made.behind:
        lines.append(f"  events may be missing: {made.behind}")
    lines.append(f"  the page for the customer: {made.confirmation}")
    lines.append("  it holds a customer's data; look at quarantine/ before you hand it on")
    lines.append("the manifest's hash, to be written down where the pack is not:")
    lines.append(made.packed.sha256)
    return lines
