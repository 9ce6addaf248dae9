"""The way in by https: each call is verified, handed to the desk, and answered.

Composed by `consumers.agency.simulator`. What is refused is refused for good reason (401, 422) or as if busy (503);
a message that was taken is in the journal before it is answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from consumers.agency.behaviour import Fault
from consumers.agency.desk import Desk
from consumers.agency.mail import MailError, read_event
from infra.channels.signatures import ID, SignatureError, verify
from infra.http.threaded import Answer, Request
from infra.wire.decode import InvalidError, parse
from infra.wire.outgoing import RECALL_PAYLOADS

RETRY_AFTER_SECONDS = 1
"""What a refused caller is asked to wait."""

SMALL_BYTES = 8 * 1024
VERBOSE_BYTES = 2**20
"""Of the faults of these names."""

_ENVELOPE = {"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "traceparent", "data"}


class WebhookIn:
    """Answers calls, from the threads of the server."""

    def __init__(
        self,
        desk: Desk,
        secrets: Sequence[bytes],
        faults: frozenset[Fault],
        *,
        slow_seconds: float,
        now: Callable[[], datetime],
        stop: threading.Event,
    ) -> None:
        self._desk = desk
        self._secrets = secrets[:1] if Fault.ONE_SECRET in faults else secrets
        self._faults = faults
        self._slow_seconds = slow_seconds
        self._now = now
        self._stop = stop
        self._alone = threading.Lock()

    def answer(self, request: Request) -> Answer:
        """What a call is answered."""
        if Fault.REDIRECTS in self._faults:
            return Answer(307, headers={"location": request.path})
        if Fault.BREAKS in self._faults:
            return Answer(500)
        if Fault.ONE_AT_A_TIME not in self._faults:
            return self._answer(request)
        if not self._alone.acquire(blocking=False):
            return Answer(500)
        try:
            self._stop.wait(0.1)  # Long enough for another call to come in between.
            return self._answer(request)
        finally:
            self._alone.release()

    def _answer(self, request: Request) -> Answer:
        why = self._unbelievable(request)
        if why is not None:
            self._desk.note_refused(f"refused: {why}")
            return Answer(401)
        if Fault.SMALL in self._faults and len(request.body) > SMALL_BYTES:
            return Answer(413)
        try:
            letter = read_event(request.body)
        except MailError as mistake:
            self._desk.note_refused(f"refused: {mistake}", message_id=request.headers.get(ID, ""))
            return Answer(422)
        broken = self._broken(request.body, letter.type)
        if broken is not None:
            return broken
        reaction = self._desk.take(letter)
        if self._slow_seconds:
            self._stop.wait(self._slow_seconds)
        if reaction.did == "refused: not ours":
            return Answer(422)
        if not reaction.taken:
            return Answer(503, headers={"retry-after": str(RETRY_AFTER_SECONDS)})
        return Answer(200, b"x" * VERBOSE_BYTES if Fault.VERBOSE in self._faults else b"")

    def _unbelievable(self, request: Request) -> str | None:
        """Why the guard can't have sent this now; None where it has."""
        if Fault.CARELESS in self._faults:
            return None
        now = self._now()
        if Fault.UNDATED in self._faults:
            stated = request.headers.get("webhook-timestamp", "")
            now = datetime.fromtimestamp(int(stated), now.tzinfo) if stated.isdecimal() else now
        try:
            verify(self._secrets, request.headers, request.body, now=now)
        except SignatureError as why:
            return f"signature {why.reason}"
        return None

    def _broken(self, body: bytes, kind: str) -> Answer | None:
        """What one with these faults answers; None for one without."""
        if Fault.BREAKS_ON_UNKNOWN in self._faults and kind not in RECALL_PAYLOADS:
            return Answer(500)
        if Fault.STRICT in self._faults and not _all_known(body, kind):
            return Answer(422)
        return None


def _all_known(body: bytes, kind: str) -> bool:
    """Whether a message has the fields of the contract and no other."""
    try:
        event = parse(body)
    except InvalidError:
        return False
    model = RECALL_PAYLOADS.get(kind)
    if not isinstance(event, dict) or model is None:
        return True
    return event.keys() <= _ENVELOPE and event["data"].keys() <= model.model_fields.keys()
