"""Signing in through the creditor's own provider (OpenID Connect): where people are sent, and who has come back.

Built by `consumers.compose` where a provider is set, and called in threads: by the console, and by `doctor`. Every
call has a deadline and a size limit. What comes back is believed only as a token that the provider's key signed,
for us, for this one attempt, and not long ago; it opens no session and knows no scope of ours.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry
from pydantic import BaseModel, SecretStr, ValidationError
from requests.adapters import HTTPAdapter

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")
"""With the provider's own key; never one that we both know, and never none."""

DISCOVERY_PATH = "/.well-known/openid-configuration"

RETURN_PATH = "/console/oidc/return"
"""Where people come back to, below the console's address; it is registered at the provider."""

KEPT_SECONDS = 3_600.0
"""How long the provider's document and keys are taken as known; a key that is not there is looked up at once."""

WAIT_SECONDS = 3.0
"""For a connection, and for each piece of an answer."""

CALL_MAX_SECONDS = 5.0
"""For a whole answer: under the limit of an answer of ours, so that the page can still say what happened."""

ANSWER_MAX_BYTES = 262_144
"""Documents and keys have a few thousand; a token with a large company's groups may have fifty thousand."""

LEEWAY_SECONDS = 60
"""Between our clock and the provider's."""

SUBJECT_MAX_CHARACTERS = 255
"""As OpenID Connect has it."""

NAME_MAX_CHARACTERS = 200
VALUES_MAX = 1_000
"""Groups of one person: more is a mistake of the provider's."""

ERRORS = frozenset(
    {
        "access_denied", "account_selection_required", "consent_required", "interaction_required", "invalid_client",
        "invalid_grant", "invalid_request", "invalid_request_object", "invalid_request_uri", "invalid_scope",
        "login_required", "registration_not_supported", "request_not_supported", "request_uri_not_supported",
        "server_error", "temporarily_unavailable", "unauthorized_client", "unsupported_grant_type",
        "unsupported_response_type",
    }
)  # fmt: skip
"""What a provider may say went wrong (RFC 6749, 4.1.2.1 and 5.2; OpenID Connect Core, 3.1.2.6)."""

Claims = Mapping[str, Any]  # `Any`: what a provider says is as varied as providers.
T = TypeVar("T")


class ProviderUnavailableError(Exception):
    """The provider does not answer as it should: try again later, or sign in by key. The message has no secret."""


class ProviderRefusedError(Exception):
    """What came back is no proof of who it is: nobody is signed in. The message is for the log."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who we are at the provider, and which claim says what a person may do."""

    issuer: str
    client_id: str
    client_secret: SecretStr
    claim: str
    returns_to: str


@dataclass(frozen=True, slots=True)
class Person:
    """Who has come back: by an id that stays, by a name for people, and with the values of the claim."""

    subject: str
    name: str
    values: frozenset[str]


class Document(BaseModel):
    """What a provider says of itself, as far as we need it (OpenID Connect Discovery 1.0)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    id_token_signing_alg_values_supported: tuple[str, ...] = ("RS256",)
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    scopes_supported: tuple[str, ...] = ("openid", "profile", "email")
    authorization_response_iss_parameter_supported: bool = False


class Provider:
    """One for all the sign-ins of a process."""

    def __init__(
        self, client: Client, *, clock: Callable[[], float] = time.time, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` is the time of day, by which tokens expire; `ticks` only measures."""
        self._client = client
        self._clock = clock
        self._document = Kept(self._read_document, ticks)
        self._keys = Kept(self._read_keys, ticks)

    def address(self, *, state: str, nonce: str, verifier: str) -> str:
        """Where somebody is sent to sign in. Raises ProviderUnavailableError."""
        document = self._document.get()
        with self._session(document) as session:
            url, _ = session.create_authorization_url(
                document.authorization_endpoint, state=state, nonce=nonce, code_verifier=verifier
            )
        return str(url)

    def person(self, *, code: str, nonce: str, verifier: str, said_issuer: str = "") -> Person:
        """Who has come back with this code. Raises ProviderUnavailableError or ProviderRefusedError."""
        document = self._document.get()
        if said_issuer != document.issuer and (
            said_issuer or document.authorization_response_iss_parameter_supported
        ):
            raise ProviderRefusedError("another provider sent this answer")
        return _person(self._claims(document, self._exchanged(document, code, verifier), nonce), self._client.claim)

    def _exchanged(self, document: Document, code: str, verifier: str) -> Claims:
        """The tokens for a code. The code and the verifier are good once."""
        with self._session(document) as session:
            try:
                token: Claims = session.fetch_token(
                    document.token_endpoint, grant_type="authorization_code", code=code, code_verifier=verifier,
                    redirect_uri=self._client.returns_to,
                )  # fmt: skip
            except OAuthError as why:
                raise ProviderRefusedError(f"the provider takes no such code: {error_of(why.error)}") from why
            except (requests.RequestException, ValueError, RecursionError) as why:
                raise ProviderUnavailableError(f"no token from the provider: {type(why).__name__}") from why
        return token

    def _claims(self, document: Document, token: Claims, nonce: str) -> Claims:
        """What a token says, once it is held to be the provider's, for us, and of this attempt."""
        written = token.get("id_token")
        if not isinstance(written, str) or written.count(".") != 2:
            raise ProviderRefusedError("there is no signed token in the answer")
        registry = JWSRegistry(algorithms=list(_algorithms(document)), strict_check_header=False)
        try:
            try:
                read = jwt.decode(written, self._keys.get(), registry=registry)
            except (InvalidKeyIdError, BadSignatureError):  # The keys may have been changed since.
                read = jwt.decode(written, self._keys.get(again=True), registry=registry)
            claims = CodeIDToken(
                read.claims,
                read.header,
                {
                    "iss": {"essential": True, "value": document.issuer},
                    "aud": {"essential": True, "value": self._client.client_id},
                },
                {"nonce": nonce, "client_id": self._client.client_id, "access_token": token.get("access_token")},
            )
            claims.validate(now=int(self._clock()), leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError, KeyError) as why:
            raise ProviderRefusedError(f"the token is not right: {_wrong_with(why)}") from why
        return dict(claims)

    def _read_document(self) -> Document:
        address = self._client.issuer.rstrip("/") + DISCOVERY_PATH
        return self._judged(address, _fetched(address))

    def _judged(self, address: str, told: object) -> Document:
        try:
            document = Document.model_validate(told)
        except ValidationError as why:
            wrong = ", ".join(".".join(map(str, one["loc"])) for one in why.errors(include_input=False))
            raise ProviderUnavailableError(f"{address} is not right: {wrong}") from why
        if document.issuer != self._client.issuer:
            raise ProviderUnavailableError(f"{address} is of the issuer {document.issuer[:200]!r}, not of ours")
        places = (document.authorization_endpoint, document.token_endpoint, document.jwks_uri)
        if self._client.issuer.startswith("https:") and not all(one.startswith("https:") for one in places):
            raise ProviderUnavailableError(f"{address} names an address without TLS")
        if not _algorithms(document):
            raise ProviderUnavailableError(f"{address} names no algorithm that we take: {', '.join(ALGORITHMS)}")
        return document

    def _read_keys(self) -> KeySet:
        address = self._document.get().jwks_uri
        try:
            return KeySet.import_key_set(_fetched(address))
        except (JoseError, ValueError, TypeError, KeyError) as why:
            raise ProviderUnavailableError(f"{address} holds no keys that can be read") from why

    def _session(self, document: Document) -> OAuth2Session:
        secret, offered = (
            self._client.client_secret.get_secret_value(),
            document.token_endpoint_auth_methods_supported,
        )
        basic = "client_secret_basic" in offered or "client_secret_post" not in offered
        session = OAuth2Session(
            client_id=self._client.client_id,
            client_secret=secret or None,
            token_endpoint_auth_method=("client_secret_basic" if basic else "client_secret_post")
            if secret
            else "none",
            scope=" ".join(_scopes(document, self._client.claim)),
            redirect_uri=self._client.returns_to,
            code_challenge_method="S256",
        )
        _bind(session)
        return session


def error_of(said: object) -> str:
    """The error that a provider names, or that it is none: whoever writes an address may write anything there."""
    return said if isinstance(said, str) and said in ERRORS else "an error that is none of the protocol's"


class Kept(Generic[T]):
    """Something of the provider's that is read once, and again when it is old; by one thread at a time."""

    def __init__(self, read: Callable[[], T], ticks: Callable[[], float]) -> None:
        self._read = read
        self._ticks = ticks
        self._lock = threading.Lock()
        self._value: T | None = None
        self._read_at = 0.0

    def get(self, *, again: bool = False) -> T:
        """What was read; read once more where it is old, or where it is wanted `again`."""
        with self._lock:
            if self._value is None or again or self._ticks() - self._read_at > KEPT_SECONDS:
                self._value = self._read()
                self._read_at = self._ticks()
            return self._value


class Bounded(HTTPAdapter):
    """Takes an answer only up to a size and to a time; one that trickles would be waited for without end."""

    # `Any`: as the library has it, which calls this by names.
    def send(self, *arguments: Any, **more: Any) -> requests.Response:
        """As the library calls it. Raises RequestException."""
        until = time.monotonic() + CALL_MAX_SECONDS
        response = super().send(*arguments, **{**more, "stream": True, "timeout": WAIT_SECONDS})
        body = bytearray()
        for piece in response.iter_content(chunk_size=16_384):
            body += piece
            if len(body) > ANSWER_MAX_BYTES or time.monotonic() > until:
                response.close()
                raise requests.exceptions.ContentDecodingError("the answer is too long, or took too long")
        response.close()
        return _whole(response, bytes(body))


def _whole(response: requests.Response, body: bytes) -> requests.Response:
    """The same answer, with its body at hand."""
    whole = requests.Response()
    whole.status_code, whole.headers, whole.url = response.status_code, response.headers, response.url
    whole.request, whole.reason, whole.encoding = response.request, response.reason, response.encoding
    whole.raw = io.BytesIO(body)
    return whole


def _bind(session: requests.Session) -> None:
    session.max_redirects = 0  # What we ask for is where the document says.
    for scheme in ("https://", "http://"):
        session.mount(scheme, Bounded())


def _fetched(address: str) -> Any:  # `Any`: as JSON is.
    """What stands at an address, as JSON. Raises ProviderUnavailableError."""
    with requests.Session() as session:
        _bind(session)
        try:
            answer = session.get(address, headers={"Accept": "application/json"})
            answer.raise_for_status()
            return answer.json()
        except (requests.RequestException, ValueError, RecursionError) as why:
            raise ProviderUnavailableError(f"{address} can't be read: {_words(why)}") from why


def _wrong_with(why: Exception) -> str:
    """Which claim, or what kind of error; never what stands in the token."""
    claim = getattr(why, "claim", None)
    kind = getattr(why, "error", "") or type(why).__name__
    return f"{kind}: {claim}" if claim else str(kind)


def _words(why: Exception) -> str:
    answer = getattr(why, "response", None)
    return f"HTTP {answer.status_code}" if answer is not None else type(why).__name__


def _algorithms(document: Document) -> tuple[str, ...]:
    return tuple(one for one in document.id_token_signing_alg_values_supported if one in ALGORITHMS)


def _scopes(document: Document, claim: str) -> list[str]:
    """What is asked for: who it is, and the claim where it is a scope of the provider's too, as `groups` may be."""
    wanted = ("profile", "email", claim)
    return ["openid", *(one for one in wanted if one in document.scopes_supported and one != "openid")]


def _person(claims: Claims, claim: str) -> Person:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_MAX_CHARACTERS or not subject.isprintable():
        raise ProviderRefusedError("the subject is no id")
    names = (claims.get(one) for one in ("preferred_username", "email", "name"))
    name = next((one for one in names if isinstance(one, str) and one and one.isprintable()), subject)
    return Person(subject, name[:NAME_MAX_CHARACTERS], _values(claims, claim))


def _values(claims: Claims, claim: str) -> frozenset[str]:
    """The values of a claim, a text or a list; `realm_access.roles` is also what is inside of another."""
    found: object = claims.get(claim)
    if found is None:
        found = claims
        for part in claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    values = found if isinstance(found, list) else [found]
    return frozenset(one for one in values[:VALUES_MAX] if isinstance(one, str))
