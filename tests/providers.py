"""A provider (OpenID Connect) that can be made to lie: for tests of what is believed, and what is not.

Used where the guard must refuse what an honest provider never sends. It speaks HTTP as any other, and asks nobody
for a password: a code is good for whatever claims the test says.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID = "console"
KEY_BITS = 2_048

Json = dict[str, Any]  # `Any`: documents and claims are as varied as providers.


class Provider:
    """One, with its key; `document` and `token` may be changed to anything."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.key = key("k-1")
        self.published = [self.key]
        self.document: Json = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/keys",
        }
        self.token: Callable[[], object] = dict
        self.asked: list[str] = []
        self.forms: list[Mapping[str, list[str]]] = []

    def answer(self, path: str) -> object:
        """What stands at a path."""
        self.asked.append(path)
        match path:
            case "/.well-known/openid-configuration":
                return self.document
            case "/keys":
                return {"keys": [one.as_dict(private=False) for one in self.published]}
            case "/token":
                return self.token()
            case _:
                return {}

    def signed(self, claims: Json, *, by: RSAKey | None = None, algorithm: str = "RS256") -> str:
        """An ID token."""
        signer = by or self.key
        return jwt.encode({"alg": algorithm, "kid": signer.kid}, claims, signer)

    def claims(self, now: float, **changed: object) -> Json:
        """Those of a person who has just signed in; what is None is left out."""
        usual = {
            "iss": self.issuer,
            "sub": "u-1",
            "aud": CLIENT_ID,
            "iat": int(now),
            "exp": int(now) + 300,
            "nonce": "nonce-1",
            "groups": ["support"],
        }
        return {name: value for name, value in {**usual, **changed}.items() if value is not None}


def key(name: str) -> RSAKey:
    """A new key."""
    return RSAKey.generate_key(KEY_BITS, {"kid": name})


@contextmanager
def providing() -> Iterator[Provider]:
    """A provider that answers on this machine."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._tell(self.path)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            provider.forms.append(parse_qs(self.rfile.read(length).decode()))
            self._tell(self.path)

        def _tell(self, path: str) -> None:
            told = provider.answer(path)
            status, value = told if isinstance(told, tuple) else (200, told)
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 # The library's name.
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        provider = Provider(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
