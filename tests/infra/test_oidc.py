"""What is believed of a provider, and what is not: every token that is not surely for us, now, is refused."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import pytest
from pydantic import SecretStr

from infra.oidc import (
    ANSWER_MAX_BYTES,
    KEPT_SECONDS,
    LEEWAY_SECONDS,
    Client,
    Person,
    Provider,
    ProviderRefusedError,
    ProviderUnavailableError,
    error_of,
)
from tests import providers
from tests.providers import CLIENT_ID, key, providing

NOW = 1_800_000_000.0

ANNA = Person("u-1", "u-1", frozenset({"support"}))


@dataclass
class Ticks:
    """A clock that stands until it is set."""

    now: float = field(default_factory=time.monotonic)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def away() -> Iterator[providers.Provider]:
    """A provider that says what it is told to."""
    with providing() as one:
        yield one


def client(away: providers.Provider, *, claim: str = "groups", secret: str = "") -> Client:
    """Us at this provider."""
    return Client(away.issuer, CLIENT_ID, SecretStr(secret), claim, "http://127.0.0.1/console/oidc/return")


def person(away: providers.Provider, token: object = None, *, claim: str = "groups", secret: str = "") -> Person:
    """Who comes back with a token; with a right one where none is given."""
    right = away.signed(away.claims(NOW))
    away.token = lambda: token if isinstance(token, dict) else {"id_token": token or right, "token_type": "Bearer"}
    provider = Provider(client(away, claim=claim, secret=secret), clock=lambda: NOW)
    return provider.person(code="c-1", nonce="nonce-1", verifier="v-1")


def test_a_right_token_is_believed(away: providers.Provider) -> None:
    """And the code went with its verifier."""
    assert person(away) == ANNA
    assert away.forms == [
        {
            "grant_type": ["authorization_code"],
            "code": ["c-1"],
            "code_verifier": ["v-1"],
            "redirect_uri": ["http://127.0.0.1/console/oidc/return"],
            "client_id": [CLIENT_ID],
        }
    ]


def _changed(token: str) -> str:
    head, body, signature = token.split(".")
    return ".".join((head, body, ("A" if signature[0] != "A" else "B") + signature[1:]))


def _unsigned(away: providers.Provider) -> str:
    return f"{_written({'alg': 'none', 'kid': 'k-1'}, away)}."


def _signed_with_public_key(away: providers.Provider) -> str:
    signed = _written({"alg": "HS256", "kid": "k-1"}, away)
    public = away.key.as_bytes(encoding="PEM", private=False)
    return f"{signed}.{_text(hmac.digest(public, signed.encode(), 'sha256'))}"


def _written(head: dict[str, str], away: providers.Provider) -> str:
    """What is signed of a token; the library writes no such ones."""
    return ".".join(_text(json.dumps(part).encode()) for part in (head, away.claims(NOW)))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


WRONG: dict[str, Callable[[providers.Provider], object]] = {
    "of another attempt": lambda away: away.signed(away.claims(NOW, nonce="nonce-2")),
    "of no attempt": lambda away: away.signed(away.claims(NOW, nonce=None)),
    "for another": lambda away: away.signed(away.claims(NOW, aud="another")),
    "for nobody": lambda away: away.signed(away.claims(NOW, aud=None)),
    "for us and another, without a party": lambda away: away.signed(away.claims(NOW, aud=[CLIENT_ID, "b"])),
    "asked for by another": lambda away: away.signed(away.claims(NOW, azp="another")),
    "of another issuer": lambda away: away.signed(away.claims(NOW, iss="https://elsewhere.example")),
    "of no issuer": lambda away: away.signed(away.claims(NOW, iss=None)),
    "of nobody": lambda away: away.signed(away.claims(NOW, sub=None)),
    "of somebody without an id": lambda away: away.signed(away.claims(NOW, sub=["u-1"])),
    "of somebody with line breaks": lambda away: away.signed(away.claims(NOW, sub="u\n1")),
    "over": lambda away: away.signed(away.claims(NOW, exp=int(NOW) - LEEWAY_SECONDS - 1)),
    "without an end": lambda away: away.signed(away.claims(NOW, exp=None)),
    "with an end in words": lambda away: away.signed(away.claims(NOW, exp="tomorrow")),
    "not yet begun": lambda away: away.signed(away.claims(NOW, nbf=int(NOW) + LEEWAY_SECONDS + 1)),
    "of a later day": lambda away: away.signed(away.claims(NOW, iat=int(NOW) + LEEWAY_SECONDS + 1)),
    "signed by another": lambda away: away.signed(away.claims(NOW), by=key("k-1")),
    "signed by an unknown key": lambda away: away.signed(away.claims(NOW), by=key("k-9")),
    "changed": lambda away: _changed(away.signed(away.claims(NOW))),
    "not signed": _unsigned,
    "signed with what everybody knows": _signed_with_public_key,
    "with another access token": lambda away: {
        "id_token": away.signed(away.claims(NOW, at_hash="bm90IHRoaXM")),
        "access_token": "a-1",
    },
    "no token": lambda _away: "token",
    "no text": lambda _away: {"id_token": 7},
    "nothing": lambda _away: {"access_token": "a-1"},
    "an error": lambda _away: {"error": "invalid_grant", "error_description": "no such code"},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_token_that_is_not_right_is_refused(
    away: providers.Provider, wrong: Callable[[providers.Provider], object]
) -> None:
    """Whatever about it is wrong."""
    with pytest.raises(ProviderRefusedError):
        person(away, wrong(away))


def test_a_provider_can_not_have_us_take_weak_signatures(away: providers.Provider) -> None:
    """What it says that it may sign with is taken only as far as we would take it."""
    away.document["id_token_signing_alg_values_supported"] = ["none", "HS256", "RS256"]

    assert person(away) == ANNA
    with pytest.raises(ProviderRefusedError):
        person(away, _unsigned(away))
    with pytest.raises(ProviderRefusedError):
        person(away, _signed_with_public_key(away))


def test_the_provider_may_change_its_keys(away: providers.Provider) -> None:
    """A key that is not known is looked for once; a token by a key that has gone is refused."""
    provider = Provider(client(away), clock=lambda: NOW, ticks=Ticks())
    first = away.signed(away.claims(NOW))
    away.token = lambda: {"id_token": first}
    provider.person(code="c", nonce="nonce-1", verifier="v")

    away.key = key("k-2")
    away.published = [away.key]
    second = away.signed(away.claims(NOW))
    away.token = lambda: {"id_token": second}
    by_new_key = provider.person(code="c", nonce="nonce-1", verifier="v")
    asked = away.asked.count("/keys")
    away.token = lambda: {"id_token": first}

    assert [by_new_key, asked] == [ANNA, 2]
    with pytest.raises(ProviderRefusedError):
        provider.person(code="c", nonce="nonce-1", verifier="v")


def test_what_a_provider_says_of_itself_is_read_once_an_hour(away: providers.Provider) -> None:
    """And not for each who signs in."""
    ticks = Ticks()
    provider = Provider(client(away), ticks=ticks)

    for _ in range(3):
        provider.address(state="s", nonce="n", verifier="v")
    ticks.now += KEPT_SECONDS + 1
    provider.address(state="s", nonce="n", verifier="v")

    assert away.asked == ["/.well-known/openid-configuration"] * 2


def test_people_are_sent_with_all_that_ties_the_answer_to_them(away: providers.Provider) -> None:
    """The verifier itself does not travel; the claim is asked for where the provider has it as a scope."""
    away.document["scopes_supported"] = ["openid", "groups", "email"]
    address = Provider(client(away)).address(state="s-1", nonce="n-1", verifier="v" * 43)

    path, _, query = address.partition("?")
    asked = parse_qs(query)
    challenge = asked.pop("code_challenge")

    assert path == f"{away.issuer}/authorize"
    assert asked == {
        "response_type": ["code"],
        "client_id": [CLIENT_ID],
        "redirect_uri": ["http://127.0.0.1/console/oidc/return"],
        "scope": ["openid email groups"],
        "state": ["s-1"],
        "nonce": ["n-1"],
        "code_challenge_method": ["S256"],
    }
    assert "v" * 43 not in address
    assert len(challenge[0]) == 43


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"issuer": "https://elsewhere.example"}, "not of ours"),
        ({"jwks_uri": None}, "jwks_uri"),
        ({"id_token_signing_alg_values_supported": ["HS256", "none"]}, "no algorithm"),
    ],
    ids=["another issuer", "no keys", "weak"],
)
def test_a_document_that_is_not_right_names_what_is_wrong(
    away: providers.Provider, change: dict[str, object], words: str
) -> None:
    """For whoever set the provider up."""
    away.document.update(change)

    with pytest.raises(ProviderUnavailableError, match=words):
        Provider(client(away)).address(state="s", nonce="n", verifier="v")


def test_a_provider_by_tls_may_not_lead_out_of_it() -> None:
    """Each address that it names is held to that, before it is called."""
    with providing() as away:
        secured = Client("https://127.0.0.1:1", CLIENT_ID, SecretStr(""), "groups", "https://g/console/oidc/return")
        provider = Provider(secured)
        document = {**away.document, "issuer": "https://127.0.0.1:1"}
        with pytest.raises(ProviderUnavailableError, match="without TLS"):
            provider._judged("here", document)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("invalid_grant", "invalid_grant"),
        ("Anna Petrova", "an error that is none of the protocol's"),
        ({"error": "Anna"}, "an error that is none of the protocol's"),
        (None, "an error that is none of the protocol's"),
    ],
    ids=["known", "words", "object", "nothing"],
)
def test_an_error_is_told_by_its_name_alone(said: object, error: str) -> None:
    """It stands in the log, and whoever writes an address may write anything there."""
    assert error_of(said) == error


@pytest.mark.parametrize(
    "answer",
    [b"no json", b" " * (ANSWER_MAX_BYTES + 1), b"[" * 100_000, (500, {}), (302, b""), []],
    ids=["no json", "too long", "too deep", "fault", "elsewhere", "list"],
)
def test_a_provider_that_answers_anything_else_is_away(away: providers.Provider, answer: object) -> None:
    """Whichever call it is that is answered so, nobody is signed in and nothing fails but this."""
    for part in ("document", "keys", "token"):
        wanted = {"document": "/.well-known/openid-configuration", "keys": "/keys", "token": "/token"}[part]
        right = away.answer

        def told(path: str, wanted: str = wanted, right: Callable[[str], object] = right) -> object:
            return answer if path == wanted else right(path)

        away.answer = told  # type: ignore[method-assign] # This is the provider that lies.
        with pytest.raises(ProviderUnavailableError):
            person(away)
        away.answer = right  # type: ignore[method-assign] # As above.


def test_a_provider_that_is_gone_is_away() -> None:
    """At once."""
    with providing() as away:
        provider = Provider(client(away))

    with pytest.raises(ProviderUnavailableError):
        provider.address(state="s", nonce="n", verifier="v")


@pytest.mark.parametrize(
    ("claims", "claim", "expected"),
    [
        ({"groups": "oncall"}, "groups", {"oncall"}),
        ({"groups": ["a", 7, None, "b"]}, "groups", {"a", "b"}),
        ({"groups": {"a": 1}}, "groups", set()),
        ({"groups": None}, "groups", set()),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", {"a"}),
        ({"https://c.example/roles": ["a"]}, "https://c.example/roles", {"a"}),
    ],
    ids=["text", "list", "object", "none", "inside", "an address"],
)
def test_the_claim_is_read_as_providers_write_it(
    away: providers.Provider, claims: dict[str, object], claim: str, expected: set[str]
) -> None:
    """What is no text counts for nothing."""
    found = person(away, away.signed(away.claims(NOW, **claims)), claim=claim)

    assert found.values == expected


def test_people_are_named_as_they_know_themselves(away: providers.Provider) -> None:
    """By their account, else their address, else their name, else their id."""
    named = {"preferred_username": "anna", "email": "anna@c.example", "name": "Anna"}
    names = []
    for gone in ("", "preferred_username", "email", "name"):
        named.pop(gone, None)
        names.append(person(away, away.signed(away.claims(NOW, **named))).name)

    assert names == ["anna", "anna@c.example", "Anna", "u-1"]


@pytest.mark.parametrize(
    ("said", "is_told", "is_right"),
    [("", False, True), ("", True, False), ("https://elsewhere.example", False, False)],
    ids=["silent", "should have said", "another"],
)
def test_an_answer_of_another_provider_is_refused(
    away: providers.Provider, said: str, is_told: bool, is_right: bool
) -> None:
    """As RFC 9207 has it: before the code is given to anybody."""
    away.document["authorization_response_iss_parameter_supported"] = is_told
    provider = Provider(client(away), clock=lambda: NOW)
    away.token = lambda: {"id_token": away.signed(away.claims(NOW))}

    if is_right:
        assert provider.person(code="c", nonce="nonce-1", verifier="v", said_issuer=said) == ANNA
    else:
        with pytest.raises(ProviderRefusedError):
            provider.person(code="c", nonce="nonce-1", verifier="v", said_issuer=said)
        assert away.forms == []


def test_a_secret_goes_in_the_way_that_the_provider_takes(away: providers.Provider) -> None:
    """In the header, or where it takes only that, in the form."""
    person(away, secret="s-1")  # noqa: S106 # It is nobody's.
    away.document["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    person(away, secret="s-1")  # noqa: S106 # As above.

    assert ["client_secret" in form for form in away.forms] == [False, True]
