"""How every client of this package connects: addresses, security, and the time-outs that the defaults lack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.errors import KafkaError

REQUEST_TIMEOUT_MS = 10_000
"""A broker that does not answer for so long is away. The library's own is 30 s, in which people are called."""

METADATA_MAX_AGE_MS = 3_000
"""How long a client believes what it was told of the brokers and of who leads; the library's own is 5 minutes.
Nothing else shows a leader that was dethroned and does not know it, for it answers as ever, or one that came back
after it had been forgotten; until then nothing is read from the right one, and every question is held."""


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
            "metadata_max_age_ms": METADATA_MAX_AGE_MS,
            "security_protocol": self.security_protocol,
        }
        if self.ca_file:
            options["ssl_cafile"] = self.ca_file
        if self.sasl_mechanism:
            options["sasl_mechanism"] = self.sasl_mechanism
            options["sasl_plain_username"] = self.sasl_username
            options["sasl_plain_password"] = self.sasl_password
        return options

    def reader(self, client_id: str, **more: int) -> KafkaConsumer:
        """A consumer of no group, which reads what is assigned to it and commits nothing. Raises KafkaError."""
        return KafkaConsumer(
            **self.options(client_id),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            metrics_enabled=False,
            **more,
        )

    def admin(self, client_id: str, **time_outs: int) -> KafkaAdminClient:
        """An admin client that is connected. Raises KafkaError, and then nothing of it is left.

        In kafka-python 3.0.12 one that can't connect leaves a thread and sockets, and its `close` does nothing: a
        process that tries again and again would run out of them.
        """
        client = KafkaAdminClient.__new__(KafkaAdminClient)
        try:
            client.__init__(**{**self.options(client_id), **time_outs})
        except KafkaError:
            client._closed = False  # noqa: SLF001 # It is set at the end of what has just failed.
            client.close()
            raise
        return client
