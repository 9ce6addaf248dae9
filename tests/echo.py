"""A process that answers every request over HTTP with a fixed bit of work, and looks at nothing.

Started by `tests.beside`: what it takes is what the machine takes.
"""

from __future__ import annotations

import hashlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from infra.embedded import LOOPBACK

ROUNDS = 10_000
"""Of a key derivation: some ten milliseconds, like the work behind an answer of the API."""


class Echo(BaseHTTPRequestHandler):
    """Answers with 204."""

    def do_GET(self) -> None:
        """Work, and answer."""
        hashlib.pbkdf2_hmac("sha256", b"echo", b"echo", ROUNDS)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


if __name__ == "__main__":
    ThreadingHTTPServer((LOOPBACK, int(sys.argv[1])), Echo).serve_forever()
