"""`agency-check`: whether an agency's end behaves, by its entry in the file of agencies; a line a check.

Run before an agency goes live, and by whoever builds its end. Sends test messages only: ids begin with `check-`.
"""

from __future__ import annotations

import argparse
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from urllib.parse import quote

from consumers.agency.check_file import FileCheck
from consumers.agency.check_kafka import KafkaCheck
from consumers.agency.check_webhook import REACHABLE, WebhookCheck
from consumers.agency.trial import (
    Finding,
    Heard,
    State,
    Trial,
    answers_to,
    judge_answers,
    judged,
    read,
    skipped,
)
from consumers.compose import House
from consumers.parts import utc_now
from consumers.terminal import EXIT_USAGE, EXIT_WRONG, answer, complain
from domain.agency import Agency, ChannelKind, FileDrop, agency_of
from domain.delivery import Message
from infra import logs
from infra.channels.folder import Folder, LocalFolder
from infra.channels.signatures import SignatureError, verify
from infra.http.threaded import Answer, Request, Server
from infra.settings import Settings, SettingsError
from infra.wire.decode import Rejected
from infra.wire.kinds import AGENCIES

MARK_BYTES = 6
"""Enough that two runs never share a mark."""

SETTLE_SECONDS = 1.0
"""After the answer, for what contradicts it."""

LOOK_SECONDS = 0.05
HEARD_MAX = 10_000
"""Call-backs of one run; more are refused."""

CHECKS_OF_ANSWERS = "answers"


def check_agency(arguments: argparse.Namespace, settings: Settings, stop: threading.Event) -> int:
    """Check, print a line a check, and say by the status whether all is well."""
    log = logs.configure(role="agency-check", level=settings.log_level)
    with ExitStack() as stack:
        house = stack.enter_context(closing(House(settings, log, role="agency-check")))
        if settings.agencies_file is not None and arguments.agency not in house.agencies().now():
            complain(f"{arguments.agency} is not in the file of agencies: add [agency.{arguments.agency}] to it")
            return EXIT_USAGE
        findings = list(_findings(arguments, house, stack, stop))
    data = {"agency_id": arguments.agency, "findings": [asdict(one) for one in findings]}
    answer(data, _in_words(findings), as_json=arguments.json)
    return EXIT_WRONG if any(one.state is State.FAIL for one in findings) else 0


def _findings(
    arguments: argparse.Namespace, house: House, stack: ExitStack, stop: threading.Event
) -> Iterator[Finding]:
    agencies = house.agencies().now()
    agency = agency_of(agencies, arguments.agency)
    ways = ", then ".join(agency.channels)
    entry = (
        f"reached by {ways}" if agency.agency_id in agencies else "not in the file of agencies: reached by Kafka"
    )
    yield judged("entry", "", entry, "")
    trial = Trial(secrets.token_hex(MARK_BYTES), agency.agency_id)
    for kind in agency.channels:
        recall = trial.recall(f"recall-{kind}", utc_now())
        match kind:
            case ChannelKind.WEBHOOK if agency.webhook is not None:
                heard = _listen(arguments, agency, stack) if arguments.listen else None
                found = list(WebhookCheck(trial, agency.webhook, utc_now).findings(recall))
                yield from found
                if any(one.name == REACHABLE and one.state is State.FAIL for one in found):
                    yield skipped(CHECKS_OF_ANSWERS, "not reachable")
                else:
                    yield from _call_backs(arguments, agency, trial, recall.message_id, heard, stop)
            case ChannelKind.FILE if agency.file is not None:
                yield from _file(agency, agency.file, trial, recall, arguments.wait)
            case _:
                yield from _kafka(arguments, agency, trial, recall, house, stack)


def _in_words(findings: Sequence[Finding]) -> Iterator[str]:
    """A line a check, and under it what mends it."""
    width = max(len(one.name) for one in findings)
    for one in findings:
        yield f"{one.state:<7} {one.name:<{width}}  {one.words}"
        if one.remedy and one.state is not State.OK:
            yield f"{'':<7} {'':<{width}}  -> {one.remedy}"
    counts = {state: sum(one.state is state for one in findings) for state in State}
    yield ", ".join(f"{count} {state}" for state, count in counts.items())


class _Guard:
    """The guard's side of call-backs: takes what is signed and well formed, as the API would."""

    def __init__(self, agency: Agency) -> None:
        self._path = f"/v1/agencies/{quote(agency.agency_id, safe='')}/events"
        self._secrets = [secret.value for secret in agency.callback_secrets]
        self.heard: list[Heard] = []

    def answer(self, request: Request) -> Answer:
        """What a call-back is answered."""
        if request.path != self._path:
            return Answer(404)
        if len(self.heard) >= HEARD_MAX:
            return Answer(429)
        now = utc_now()
        try:
            verify(self._secrets, request.headers, request.body, now=now)
        except SignatureError as why:
            self.heard.append(Heard(request.body, unbelievable=why.reason))
            return Answer(401)
        heard = Heard(request.body)
        self.heard.append(heard)
        return Answer(422 if isinstance(read(heard, now), Rejected) else 202)


def _listen(arguments: argparse.Namespace, agency: Agency, stack: ExitStack) -> list[Heard]:
    """Take call-backs from now on; what comes is added to the list."""
    if bool(arguments.tls_cert) != bool(arguments.tls_key):
        raise SettingsError("give both --tls-cert and --tls-key, or neither")
    host, port = arguments.listen
    certificate = (arguments.tls_cert, arguments.tls_key) if arguments.tls_cert else None
    guard = _Guard(agency)
    try:
        server = Server(host, port, guard.answer, certificate=certificate)
    except OSError as why:
        raise SettingsError(f"can't listen on {host} port {port}: {why.strerror or why}") from why
    server.start()
    stack.callback(server.stop)
    return guard.heard


def _call_backs(
    arguments: argparse.Namespace,
    agency: Agency,
    trial: Trial,
    recall_id: str,
    heard: list[Heard] | None,
    stop: threading.Event,
) -> Iterator[Finding]:
    if heard is None:
        yield skipped(CHECKS_OF_ANSWERS, "not listened for", "--listen HOST:PORT, and let it call back there")
        return
    if not agency.callback_secrets:
        yield skipped(CHECKS_OF_ANSWERS, "it may make no call-backs", "agree on callback_secrets in its entry")
        return
    deadline = time.monotonic() + arguments.wait
    while not answers_to(recall_id, list(heard), utc_now()) and time.monotonic() < deadline:
        if stop.wait(LOOK_SECONDS):
            break
    stop.wait(SETTLE_SECONDS)
    yield from judge_answers(
        trial, recall_id, list(heard), agency.sources, utc_now(), waited_seconds=arguments.wait
    )


def _file(agency: Agency, drop: FileDrop, trial: Trial, recall: Message, wait_seconds: float) -> Iterator[Finding]:
    folder: Folder = LocalFolder(drop.folder)
    if drop.sftp is not None:
        # Half a second, which only those pay who have an agency with such a server.
        from infra.channels.sftp import SftpFolder  # noqa: PLC0415 # As above.

        folder = SftpFolder(drop.sftp, drop.folder)
    with closing(folder):
        yield from FileCheck(trial, agency, folder, drop.format, utc_now).findings(recall, wait_seconds)


def _kafka(
    arguments: argparse.Namespace, agency: Agency, trial: Trial, recall: Message, house: House, stack: ExitStack
) -> Iterator[Finding]:
    if not arguments.yes_publish:
        yield skipped("published", "every reader of guard.recalls would see it", "--yes-publish")
        return
    publisher = stack.enter_context(closing(house.publisher()))
    listener = stack.enter_context(closing(house.listener(AGENCIES)))
    yield from KafkaCheck(trial, agency, publisher, listener, utc_now).findings(recall, arguments.wait)
