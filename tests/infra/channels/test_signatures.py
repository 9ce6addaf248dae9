"""Signatures by Standard Webhooks: the published example, and a table of what holds and what does not."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook

from infra.channels.signatures import SignatureError, SignatureReason, key_of, sign, verify

SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = b"whsec_" + base64.b64encode(b"another secret of ours..")
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
SECONDS = 1_614_265_330
AT = datetime.fromtimestamp(SECONDS, UTC)
BODY = b'{"test": 2432232314}'
PUBLISHED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
"""The signature that the implementations of the standard give in their tests, of what stands above."""

FORGED = "v1," + base64.b64encode(bytes(32)).decode()
OTHERS = sign([OTHER], message_id=ID, at=AT, body=BODY)["webhook-signature"]


def _headers(*, message_id: str = ID, seconds: str = str(SECONDS), signature: str = PUBLISHED) -> dict[str, str]:
    return {"webhook-id": message_id, "webhook-timestamp": seconds, "webhook-signature": signature}


def test_the_published_example_is_signed_as_published() -> None:
    """What we send is verified by any library of the standard."""
    assert sign([SECRET], message_id=ID, at=AT, body=BODY) == _headers()


def test_the_published_library_verifies_what_we_sign() -> None:
    """With two active secrets a receiver that has either of them is content; it reads the clock itself."""
    now = datetime.now(UTC)

    signed = sign([SECRET, OTHER], message_id=ID, at=now, body=BODY)

    for secret in (SECRET, OTHER):
        assert Webhook(secret.decode()).verify(BODY, signed) == {"test": 2432232314}


@dataclass(frozen=True)
class Case:
    """A message as it came, and how it is judged: None where it holds."""

    name: str
    judged: SignatureReason | None
    headers: Mapping[str, str] = field(default_factory=_headers)
    secrets: tuple[bytes, ...] = (SECRET,)
    body: bytes = BODY
    now: datetime = AT


def _later(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


GOOD = None
MISSING, MALFORMED = SignatureReason.MISSING, SignatureReason.MALFORMED
TOO_OLD, TOO_NEW, NO_MATCH = SignatureReason.TOO_OLD, SignatureReason.TOO_NEW, SignatureReason.NO_MATCH

CASES = [
    Case("as it was signed", GOOD),
    # The clock.
    Case("five minutes later", GOOD, now=_later(300)),
    Case("a moment more", TOO_OLD, now=_later(300.001)),
    Case("our clock five minutes behind", GOOD, now=_later(-300)),
    Case("a moment more behind", TOO_NEW, now=_later(-300.001)),
    # What was changed on the way.
    Case("another body", NO_MATCH, body=BODY + b" "),
    Case("an empty body", NO_MATCH, body=b""),
    Case("another id", NO_MATCH, _headers(message_id=ID + "x")),
    Case("another time", NO_MATCH, _headers(seconds=str(SECONDS + 1))),
    Case("a forged signature", NO_MATCH, _headers(signature=FORGED)),
    Case("a truncated signature", NO_MATCH, _headers(signature="v1," + PUBLISHED[3:-4])),
    Case("cut within its base64", MALFORMED, _headers(signature=PUBLISHED[:-2])),
    Case("upper case", NO_MATCH, _headers(signature="v1," + PUBLISHED[3:].swapcase())),
    # Several signatures, several secrets.
    Case("the right one last", GOOD, _headers(signature=f"{FORGED} {OTHERS} {PUBLISHED}")),
    Case("the right one first", GOOD, _headers(signature=f"{PUBLISHED} {FORGED}")),
    Case("the old secret while it is active", GOOD, secrets=(OTHER, SECRET)),
    Case("the new secret while both are", GOOD, _headers(signature=OTHERS), (OTHER, SECRET)),
    Case("the old secret after it was taken away", NO_MATCH, secrets=(OTHER,)),
    Case("no active secret", NO_MATCH, secrets=()),
    # Versions.
    Case("an unknown version beside ours", GOOD, _headers(signature=f"v1a,zzz {PUBLISHED} v2,??")),
    Case("an unknown version alone", NO_MATCH, _headers(signature="v2," + PUBLISHED[3:])),
    Case("no version", MALFORMED, _headers(signature=PUBLISHED[3:])),
    Case("an empty version", MALFORMED, _headers(signature="," + PUBLISHED[3:])),
    # Headers.
    Case("names in other case", GOOD, {name.title(): value for name, value in _headers().items()}),
    Case("others beside them", GOOD, {**_headers(), "content-type": "application/json"}),
    Case("nothing at all", MISSING, {}),
    *(
        Case(f"without {gone}", MISSING, {name: value for name, value in _headers().items() if name != gone})
        for gone in _headers()
    ),
    *(Case(f"twice {name}", MALFORMED, {**_headers(), name.upper(): value}) for name, value in _headers().items()),
    Case("an empty id", MALFORMED, _headers(message_id="")),
    Case("an id with a full stop", MALFORMED, _headers(message_id="msg.1")),
    Case("an id with a space", MALFORMED, _headers(message_id="msg 1")),
    Case("an id with a line break", MALFORMED, _headers(message_id="msg\n")),
    Case("an id of letters that are not ASCII", MALFORMED, _headers(message_id="идент")),
    Case("an id that is too long", MALFORMED, _headers(message_id="m" * 129)),
    Case("an empty time", MALFORMED, _headers(seconds="")),
    Case("a time in words", MALFORMED, _headers(seconds="now")),
    Case("a time with a fraction", MALFORMED, _headers(seconds=f"{SECONDS}.0")),
    Case("a time with a sign", MALFORMED, _headers(seconds=f"+{SECONDS}")),
    Case("a time in other digits", MALFORMED, _headers(seconds="١٦١٤٢٦٥٣٣٠")),
    Case("a time of too many digits", MALFORMED, _headers(seconds="1" * 13)),
    Case("a time of twelve digits", TOO_NEW, _headers(seconds="9" * 12)),
    Case("the beginning of time", TOO_OLD, _headers(seconds="0")),
    Case("an empty signature", MALFORMED, _headers(signature="")),
    Case("a version and nothing more", MALFORMED, _headers(signature="v1,")),
    Case("not base64", MALFORMED, _headers(signature="v1,!!!!")),
    Case("not ASCII", MALFORMED, _headers(signature="v1,подпись")),
    Case("two spaces", MALFORMED, _headers(signature=f"{PUBLISHED}  {PUBLISHED}")),
    Case("as many signatures as there is room for", GOOD, _headers(signature=" ".join([PUBLISHED] * 21))),
    Case("more than there is room for", MALFORMED, _headers(signature=" ".join([PUBLISHED] * 22))),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_message_is_believed_or_not(case: Case) -> None:
    """Each row is judged, and refused for its reason."""
    judged: SignatureReason | str
    try:
        judged = verify(case.secrets, case.headers, case.body, now=case.now)
    except SignatureError as why:
        judged = why.reason

    assert judged == (ID if case.judged is None else case.judged)


class _Doubled(dict[str, str]):
    """Headers of a server that keeps what came twice under one name, as Starlette's do."""

    def items(self) -> Iterator[tuple[str, str]]:  # type: ignore[override]  # A list of pairs is all that is asked.
        yield from super().items()
        yield from super().items()


def test_a_header_that_came_twice_under_one_name_is_seen() -> None:
    """Whichever of two values another reader would take, neither is believed."""
    with pytest.raises(SignatureError, match="MALFORMED"):
        verify([SECRET], _Doubled(_headers()), BODY, now=AT)


def test_the_same_message_verifies_again() -> None:
    """Nothing is kept here: that it is not applied twice is the ledger's, by its id."""
    assert [verify([SECRET], _headers(), BODY, now=AT) for _ in range(2)] == [ID, ID]


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (b"whsec_AAEC", b"\x00\x01\x02"),
        (b"whsec_AAE=", b"\x00\x01"),
        (b"whsec_AAE", b"\x00\x01"),  # As some print it.
        (b"as it stands", b"as it stands"),
        (b"AAEC", b"AAEC"),
    ],
)
def test_a_secret_stands_for_its_key(secret: bytes, key: bytes) -> None:
    """In base64 after `whsec_`, as it stands else."""
    assert key_of(secret) == key


@pytest.mark.parametrize("secret", [b"", b"whsec_", b"whsec_!", b"whsec_A"])
def test_what_is_no_secret_signs_nothing_and_verifies_nothing(secret: bytes) -> None:
    """An empty key would let anybody sign."""
    with pytest.raises(ValueError, match="secret"):
        sign([secret], message_id=ID, at=AT, body=BODY)
    with pytest.raises(ValueError, match="secret"):
        verify([secret], _headers(), BODY, now=AT)


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "a\r\nx: y", "ю", "m" * 129])
def test_an_id_that_is_none_is_not_signed(message_id: str) -> None:
    """It would have two readings, or break a header."""
    with pytest.raises(ValueError, match="message id"):
        sign([SECRET], message_id=message_id, at=AT, body=BODY)


def test_a_refusal_shows_nothing_of_the_message() -> None:
    """It is told to whoever called, and logged."""
    with pytest.raises(SignatureError) as refused:
        verify([SECRET], _headers(signature=FORGED), BODY, now=AT)

    assert (str(refused.value), refused.value.reason) == ("NO_MATCH", SignatureReason.NO_MATCH)
