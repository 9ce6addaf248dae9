"""Customers who pay their debts, and who ask at once whether the paid debt may be placed.

A process on the customers' host: `python -m tests.faults.payer ORDERS`, the orders as JSON. Each payment is sent
with `acks=all`; when it is acknowledged, and not before, its debt is asked about, and what was answered is written
down, one JSON line each. `tests.faults.till` starts it and reads the lines. Every thread pays, waits and asks by
itself, so a question that has to wait holds nobody up but its own customer.
"""

from __future__ import annotations

import http.client
import itertools
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from kafka import KafkaProducer

from tests.faults.till import Orders, account_of, debt_of
from tests.records import payment

ACKNOWLEDGED_SECONDS = 60
"""Far above any outage of the tests."""

ANSWER_SECONDS = 30
"""A question that hangs longer is told as one that was never answered."""

UNPAID_EVERY = 10
"""Beside every tenth payment a debt is asked about that nobody pays: a guard that always holds back shows."""


@dataclass
class Customers:
    """All of them: they share a producer, the numbers of their accounts, and the file of answers."""

    orders: Orders
    producer: KafkaProducer
    answers: IO[str]

    def __post_init__(self) -> None:
        self._numbers = itertools.count(self.orders.first)
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.stop = threading.Event()

    def serve(self) -> None:
        """One thread's work, until the end."""
        with closing(_connection(self.orders)) as api:
            for number in self._next():
                acked_at = None if number % UNPAID_EVERY == 0 else self._pay(number)
                asked_at = time.time()
                decision, reasons = _ask(api, self.orders, number)
                self._write(number, acked_at, asked_at, decision, reasons)

    def _next(self) -> Iterator[int]:
        """The next account each time, at the pace that was ordered."""
        while True:
            with self._lock:
                number = next(self._numbers)
                done = number - self.orders.first
            due = self._began + done / self.orders.per_second
            if number >= self.orders.end or self.stop.wait(max(0.0, due - time.monotonic())):
                return
            yield number

    def _pay(self, number: int) -> float:
        paid = payment(f"p-{number}", account_id=account_of(number), paid_at=datetime.now(UTC))
        future = self.producer.send(
            paid.origin.topic, key=paid.key, value=paid.value, partition=self.orders.partition
        )
        future.get(timeout=ACKNOWLEDGED_SECONDS)
        return time.time()

    def _write(
        self, number: int, acked_at: float | None, asked_at: float, decision: str, reasons: list[dict[str, Any]]
    ) -> None:  # `Any`: JSON, as it is.
        line = {
            "number": number,
            "acked_at": acked_at,
            "asked_at": asked_at,
            "answered_at": time.time(),
            "decision": decision,
            "codes": [one["code"] for one in reasons],
            "evidence": reasons[0]["evidence"] if reasons else [],
        }
        with self._lock:
            self.answers.write(json.dumps(line) + "\n")


def _connection(orders: Orders) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(orders.api_host, orders.api_port, timeout=ANSWER_SECONDS)


def _ask(api: http.client.HTTPConnection, orders: Orders, number: int) -> tuple[str, list[dict[str, Any]]]:
    """The decision and its reasons; where there is none, what went wrong."""
    asked = {"account_id": account_of(number), "debt_id": debt_of(number), "agency_id": "agency-1"}
    headers = {"Authorization": f"Bearer {orders.key}", "Content-Type": "application/json"}
    try:
        api.request("POST", "/v1/clearances", json.dumps(asked), headers)
        answer = api.getresponse()
        body: dict[str, Any] = json.loads(answer.read())  # `Any`: JSON, as it is.
    except (OSError, http.client.HTTPException, ValueError) as why:
        api.close()
        return f"no answer: {type(why).__name__} {why}", []
    if answer.status != http.client.CREATED:
        return f"no answer: {answer.status}", []
    return body["decision"], body["reasons"]


def main() -> None:
    """Pay until the accounts are used up, or SIGTERM."""
    orders = Orders(**json.loads(sys.argv[1]))
    producer = KafkaProducer(
        bootstrap_servers=orders.bootstrap_servers.split(","),
        acks="all",
        enable_idempotence=True,
        request_timeout_ms=1_000,
        delivery_timeout_ms=ACKNOWLEDGED_SECONDS * 1_000,
        max_block_ms=ACKNOWLEDGED_SECONDS * 1_000,
        reconnect_backoff_max_ms=200,
        metadata_max_age_ms=200,  # Sooner at the new leader than the guard: that is when it might not know.
        allow_auto_create_topics=False,
        metrics_enabled=False,
    )
    with closing(producer), Path(orders.answers).open("a", buffering=1) as answers:
        customers = Customers(orders, producer, answers)
        signal.signal(signal.SIGTERM, lambda *_: customers.stop.set())
        threads = [threading.Thread(target=customers.serve) for _ in range(orders.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
