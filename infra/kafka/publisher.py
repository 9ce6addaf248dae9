"""Records out: sent with every replica's acknowledgement, and reported one by one.

Called by `dispatch`, the demo and the tests. A record that is reported as sent is in the broker's log on at
least `min.insync.replicas` replicas; any other may be there too, so it is sent again under the same id.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from infra.kafka.connection import Connection
from infra.kafka.errors import as_unavailable

DELIVERY_TIMEOUT_MS = 10_000
"""After this a record is given back; below the lease on it (15 s)."""


class Publishable(Protocol):
    """A record to send."""

    @property
    def topic(self) -> str: ...
    @property
    def key(self) -> bytes: ...
    @property
    def value(self) -> bytes: ...
    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]: ...


class Publisher:
    """An idempotent producer."""

    def __init__(self, connection: Connection, *, client_id: str) -> None:
        options = {**connection.options(client_id), "request_timeout_ms": DELIVERY_TIMEOUT_MS // 2}
        with as_unavailable():
            self._producer = KafkaProducer(
                **options,
                acks="all",
                enable_idempotence=True,
                delivery_timeout_ms=DELIVERY_TIMEOUT_MS,
                max_block_ms=DELIVERY_TIMEOUT_MS // 2,
                linger_ms=0,
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )

    def publish(self, records: Sequence[Publishable]) -> list[bool]:
        """Send these in their order; says of each whether it was acknowledged."""
        away: set[str] = set()
        waiting = [self._send(record, away) for record in records]
        with contextlib.suppress(KafkaTimeoutError):  # What is not out by then is reported as not sent.
            self._producer.flush(timeout=DELIVERY_TIMEOUT_MS / 1000)
        return [future is not None and future.is_done and future.succeeded() for future in waiting]

    def close(self) -> None:
        """Let go of the connections."""
        self._producer.close(timeout=5)

    def _send(self, record: Publishable, away: set[str]) -> Any:  # `Any`: the library has no types.
        """Hand one record over; a topic that nothing is known of is waited for once in a batch, not by each."""
        if record.topic in away:
            return None
        try:
            return self._producer.send(
                record.topic, key=record.key or None, value=record.value, headers=list(record.headers)
            )
        except KafkaTimeoutError:
            away.add(record.topic)
            return None
        except KafkaError:
            return None  # Reported as not sent, like one that the broker refused.
