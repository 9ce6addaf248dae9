"""Signs what we send to agencies, and verifies what they send to us: Standard Webhooks, version 1.

Called by the channel `webhook`, and by the route of call-backs. Signed is `id.timestamp.body`, with HMAC-SHA256.
Keeps nothing: the same signed message verifies again, and who must not apply it twice looks at its id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"

TOLERANCE = timedelta(minutes=5)
"""Between the instant that was signed and our clock, before and after; the value that the standard suggests."""

ID_MAX_CHARACTERS = 128
"""As every id of the contract."""

SIGNATURE_MAX_CHARACTERS = 1_024
"""Room for some 20 signatures of 47 characters; whoever changes a secret sends two."""

_PREFIX = b"whsec_"
_VERSION = "v1"
_ID = re.compile(rf"[!-\-/-~]{{1,{ID_MAX_CHARACTERS}}}")
"""Printable, and without a full stop: that one parts what is signed, which must have one reading only."""
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
"""Seconds since 1970; twelve digits last until the year 33658."""


class SignatureReason(StrEnum):
    """Why a signature does not hold."""

    MISSING = "MISSING"
    """A header is not there."""
    MALFORMED = "MALFORMED"
    """A header is there twice, is too long, or is not what it should be."""
    TOO_OLD = "TOO_OLD"
    TOO_NEW = "TOO_NEW"
    NO_MATCH = "NO_MATCH"
    """None of the signatures is of this content by one of the active secrets."""


class SignatureError(Exception):
    """The message is not to be believed. Nothing of the message or of a secret is in it."""

    def __init__(self, reason: SignatureReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def sign(secrets: Sequence[bytes], *, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers, with one signature for each active secret, in their order.

    Raises ValueError for an id that can't be signed, for no secret, and for a secret that is none.
    """
    if not _ID.fullmatch(message_id):
        raise ValueError(f"a message id must match {_ID.pattern}")
    if not secrets:
        raise ValueError("there is no secret to sign with")
    timestamp = str(int(at.timestamp()))
    signatures = (_signature(secret, message_id, timestamp, body) for secret in secrets)
    return {
        ID: message_id,
        TIMESTAMP: timestamp,
        SIGNATURE: " ".join(f"{_VERSION},{base64.b64encode(one).decode()}" for one in signatures),
    }


def verify(secrets: Sequence[bytes], headers: Mapping[str, str], body: bytes, *, now: datetime) -> str:
    """The id of a message that one of the active secrets signed. Raises SignatureError.

    A header that came twice must still be there twice in `headers.items()`, as with Starlette's.
    """
    message_id, timestamp, signatures = _three(headers.items())
    _judge_time(int(timestamp), now)
    expected = [_signature(secret, message_id, timestamp, body) for secret in secrets]
    given = _given(signatures)
    # Each is compared with each: how long it takes tells nothing of which one was nearly right.
    matches = [hmac.compare_digest(one, other) for one in expected for other in given]
    if not any(matches):
        raise SignatureError(SignatureReason.NO_MATCH)
    return message_id


def key_of(secret: bytes) -> bytes:
    """The key that a secret stands for: what `whsec_` has in base64, or else its own bytes. Raises ValueError."""
    key = secret
    if secret.startswith(_PREFIX):
        text = secret.removeprefix(_PREFIX)
        try:
            key = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except binascii.Error as why:
            raise ValueError("what follows whsec_ in a secret must be base64") from why
    if not key:
        raise ValueError("a secret must not be empty")
    return key


def _signature(secret: bytes, message_id: str, timestamp: str, body: bytes) -> bytes:
    signed = f"{message_id}.{timestamp}.".encode() + body
    return hmac.digest(key_of(secret), signed, hashlib.sha256)


def _three(headers: Iterable[tuple[str, str]]) -> tuple[str, str, str]:
    """The values of the three headers, each as it must be, and each there once."""
    found: dict[str, list[str]] = {ID: [], TIMESTAMP: [], SIGNATURE: []}
    for name, value in headers:
        if (known := name.lower()) in found:
            found[known].append(value)
    if not all(found.values()):
        raise SignatureError(SignatureReason.MISSING)
    if any(len(values) > 1 for values in found.values()):
        raise SignatureError(SignatureReason.MALFORMED)
    message_id, timestamp, signatures = (values[0] for values in found.values())
    if not _ID.fullmatch(message_id) or not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureError(SignatureReason.MALFORMED)
    if len(signatures) > SIGNATURE_MAX_CHARACTERS:
        raise SignatureError(SignatureReason.MALFORMED)
    return message_id, timestamp, signatures


def _judge_time(seconds: int, now: datetime) -> None:
    age_seconds = now.timestamp() - seconds
    if age_seconds > TOLERANCE.total_seconds():
        raise SignatureError(SignatureReason.TOO_OLD)
    if age_seconds < -TOLERANCE.total_seconds():
        raise SignatureError(SignatureReason.TOO_NEW)


def _given(signatures: str) -> list[bytes]:
    """The signatures of our version; those of others are passed over, and one that is garbled refuses all."""
    given = []
    for one in signatures.split(" "):
        version, comma, text = one.partition(",")
        if not version or not comma or not text:
            raise SignatureError(SignatureReason.MALFORMED)
        if version != _VERSION:
            continue
        try:
            given.append(base64.b64decode(text, validate=True))
        except ValueError as why:
            raise SignatureError(SignatureReason.MALFORMED) from why
    return given
