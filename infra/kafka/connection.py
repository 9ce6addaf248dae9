"""How every client of this package connects: addresses, security, and the time-outs that the defaults lack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

REQUEST_TIMEOUT_MS = 10_000
"""A broker that does not answer for so long is away. The library's own is 30 s, in which people are called."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the brokers are, and how to prove who we are. Empty strings mean: not used."""

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = ""
    sasl_username: str = ""
    sasl_password: str = ""
    ca_file: str = ""

    def options(self, client_id: str) -> dict[str, Any]:  # `Any`: the library has no types.
        """The arguments that every client of the library takes."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers.split(","),
            "client_id": client_id,
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "bootstrap_timeout_ms": REQUEST_TIMEOUT_MS,
            "reconnect_backoff_max_ms": 1_000,
            "security_protocol": self.security_protocol,
        }
        if self.ca_file:
            options["ssl_cafile"] = self.ca_file
        if self.sasl_mechanism:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password
        return options
