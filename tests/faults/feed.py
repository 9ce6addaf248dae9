"""What producers send while things break: a seeded, shuffled feed, and the thread that sends it.

Used by the fault tests. The feed has one referral and one placement for an account and payments that settle
it, or nearly, or come back; some events twice, some ids used again for something else, some bytes that are no
event. `tests.checker` knows what must come of it.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kafka import KafkaProducer

from tests.checker import TOLERANCE_MINOR, TOPIC_OF

CHUNK_ACCOUNTS = 40
"""So many accounts' events are shuffled among each other."""

DELIVERY_TIMEOUT_MS = 120_000
"""Far above every outage of the tests: what is sent is acknowledged, or the test is at fault."""

WAIT_SECONDS = 180

Json = dict[str, Any]  # `Any`: JSON, as it stands in a record.


@dataclass(frozen=True, slots=True)
class Sent:
    """One record to send."""

    topic: str
    key: bytes
    value: bytes


class Feed:
    """Records without end, from a seed; `prefix` keeps its accounts apart from those of other feeds."""

    def __init__(self, seed: int, *, prefix: str, today: datetime) -> None:
        self._random = random.Random(seed)
        self._prefix = prefix
        self._placed_at = today - timedelta(days=10)
        self._number = 0

    def records(self) -> Iterator[Sent]:
        """Each chunk of accounts shuffled, and the next after it."""
        while True:
            chunk = [record for _ in range(CHUNK_ACCOUNTS) for record in self._account()]
            self._random.shuffle(chunk)
            yield from chunk

    def _account(self) -> Iterator[Sent]:
        self._number += 1
        account = f"{self._prefix}-{self._number}"
        amount = self._random.randint(10_000, 1_000_000)
        for event in (*self._debt(account, amount), *self._money(account, amount), *self._talk(account)):
            record = _record(account, event)
            yield record
            if self._happens(10):
                yield record
            if self._happens(1):
                yield _record(account, {**event, "time": self._at(hours=99)})
            if self._happens(1):
                yield Sent(record.topic, record.key, record.value[:-1])

    def _debt(self, account: str, amount: int) -> Iterator[Json]:
        stated = {"debt_id": f"d-{account}", "amount": amount, "currency": "RUB"}
        terms = {"referral_id": f"r-{account}", "as_of": self._at(hours=-24), "due_on": "2020-01-31"}
        yield self._event("collections.debt.referred.v1", account, "referred", **stated, **terms)
        placed = {"placement_id": f"l-{account}", "agency_id": "agency-1", "placed_at": self._at(hours=0)}
        yield self._event("collections.placement.opened.v1", account, "placed", **stated, **placed)

    def _money(self, account: str, amount: int) -> Iterator[Json]:
        """One to three payments that settle the debt, or leave more than the tolerance, or come back."""
        short = self._random.choice((0, TOLERANCE_MINOR, TOLERANCE_MINOR + 1, amount // 2))
        parts = self._random.randint(1, 3)
        for part in range(parts):
            share = (amount - short) // parts + ((amount - short) % parts if part == 0 else 0)
            payment = f"p-{account}-{part}"
            paid = {"payment_id": payment, "amount": share, "currency": "RUB", "paid_at": self._at(hours=24 + part)}
            yield self._event("billing.payment.settled.v1", account, f"paid-{part}", **paid)
            if self._happens(10):
                back = {"payment_id": payment, "returned_at": self._at(hours=48)}
                yield self._event("billing.payment.returned.v1", account, f"returned-{part}", **back)

    def _talk(self, account: str) -> Iterator[Json]:
        """What recalls nothing."""
        if self._happens(30):
            told = {
                "notice_id": "n-1",
                "kind": "debt_reminder",
                "channel": "sms",
                "delivered_at": self._at(hours=1),
            }
            yield self._event("customer.notice.delivered.v1", account, "told", **told)
        if self._happens(20):
            disputed = {"dispute_id": "q-1", "opened_at": self._at(hours=2), "debt_id": f"d-{account}"}
            yield self._event("customer.dispute.opened.v1", account, "disputed", **disputed)
        if self._happens(20):
            called = {"placement_id": f"l-{account}", "contacted_at": self._at(hours=3), "channel": "sms"}
            yield self._event("agency.contact.made.v1", account, "called", **called)

    def _event(self, event_type: str, account: str, name: str, **data: object) -> Json:
        return {
            "specversion": "1.0",
            "id": f"{name}-{account}",
            "source": "feed",
            "type": event_type,
            "time": self._at(hours=0),
            "subject": account,
            "data": {"account_id": account, **data},
        }

    def _at(self, *, hours: int) -> str:
        return (self._placed_at + timedelta(hours=hours)).isoformat()

    def _happens(self, percent: int) -> bool:
        return self._random.randrange(100) < percent


def _record(account: str, event: Json) -> Sent:
    return Sent(TOPIC_OF[event["type"]], account.encode(), json.dumps(event).encode())


class Feeder:
    """Sends a feed at a steady rate, with every replica's acknowledgement, until it is stopped."""

    def __init__(self, bootstrap_servers: str, feed: Feed, *, per_second: int) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._feed = feed
        self._per_second = per_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._sent = threading.Condition()
        self._count = 0
        self._trouble: BaseException | None = None

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._trouble is not None:
            raise AssertionError("the feed was not acknowledged") from self._trouble

    def wait_for(self, records: int) -> None:
        """Go on when so many more records are sent."""
        with self._sent:
            until = self._count + records
            if not self._sent.wait_for(lambda: self._count >= until or self._trouble, WAIT_SECONDS):
                raise AssertionError(f"the feed sent {self._count} records and not {until}")

    def _run(self) -> None:
        try:
            self._send()
        except Exception as why:  # noqa: BLE001 # Told to whoever ends the feed.
            self._trouble = why
            with self._sent:
                self._sent.notify_all()

    def _send(self) -> None:
        producer = KafkaProducer(
            bootstrap_servers=self._bootstrap_servers.split(","),
            acks="all",
            enable_idempotence=True,
            delivery_timeout_ms=DELIVERY_TIMEOUT_MS,
            request_timeout_ms=5_000,
            max_block_ms=DELIVERY_TIMEOUT_MS,
            linger_ms=5,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        with closing(producer):
            began = time.monotonic()
            waiting = []
            for record in self._feed.records():
                if self._stop.wait(max(0.0, began + self._count / self._per_second - time.monotonic())):
                    break
                waiting.append(producer.send(record.topic, key=record.key, value=record.value))
                with self._sent:
                    self._count += 1
                    self._sent.notify_all()
            for future in waiting:
                future.get(timeout=DELIVERY_TIMEOUT_MS / 1000)
