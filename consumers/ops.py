"""The port of a role for those who run it: `/metrics`, `/livez` and `/readyz`, each with words where something is
wrong.

Started by `consumers.main` on GUARD_METRICS_PORT, before anything else, so that a role that waits for its database
is seen to wait. Answers from threads of its own, and so also while the role's loop hangs; it tells nothing of a
customer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from consumers.pulse import Beat, Pulse
from infra.http.threaded import Answer, Request, Server
from infra.metrics import Metrics

HOST = "0.0.0.0"  # noqa: S104 # Probes and Prometheus ask from other machines.

LOOK_SECONDS = 5.0
"""Between looks at the servers that a role needs."""

STALE_SECONDS = 30.0
"""A look that has not ended by then has no answer: above the time-outs of the clients."""

Ask = Callable[[], str | None]
"""Why a server can't be used now; None where it can."""


class Servers:
    """The servers that a role needs, looked at from a thread of its own: a probe never waits for one of them."""

    def __init__(self, asks: Mapping[str, Ask], *, clock: Callable[[], float] = time.monotonic) -> None:
        """`asks` by the name of the server."""
        self._asks = asks
        self._looked = Beat("the look at the servers", "looks", STALE_SECONDS, clock)
        self._why: dict[str, str | None] | None = None

    def start(self) -> None:
        """Look at once, and then at intervals."""
        threading.Thread(target=self._run, name="servers", daemon=True).start()

    def look(self) -> None:
        """Ask each of them now."""
        self._why = {name: ask() for name, ask in self._asks.items()}
        self._looked()

    def away(self) -> list[str]:
        """Which can't be used, in words; nothing where all can."""
        if self._why is None:
            return ["the servers have not been asked yet"]
        if self._looked.age_seconds > STALE_SECONDS:
            return [f"the servers have not answered for {self._looked.age_seconds:.0f} s"]
        return [f"{name}: {why}" for name, why in self._why.items() if why is not None]

    def _run(self) -> None:
        while True:
            self.look()
            threading.Event().wait(LOOK_SECONDS)


class Ops:
    """What is answered on the port."""

    def __init__(self, metrics: Metrics, pulse: Pulse, servers: Servers) -> None:
        self._metrics = metrics
        self._pulse = pulse
        self._servers = servers

    def answer(self, request: Request) -> Answer:
        """One call."""
        match request.path.partition("?")[0]:
            case "/metrics":
                return Answer(200, exposition(self._metrics, self._pulse), {"content-type": CONTENT_TYPE_LATEST})
            case "/livez":
                return _said(self._pulse.stuck())
            case "/readyz":
                return _said([*self._unbegun(), *self._pulse.stuck(), *self._servers.away()])
            case _:
                return Answer(404, b"there is /metrics, /livez and /readyz\n", _TEXT)

    def _unbegun(self) -> list[str]:
        return [] if self._pulse.has_begun else ["starting: it waits for the servers that it needs"]


def exposition(metrics: Metrics, pulse: Pulse) -> bytes:
    """The metrics as they are scraped, with the age of each heartbeat as it is now."""
    for kind, seconds in pulse.ages().items():
        metrics.heartbeat_age.labels(kind).set(seconds)
    registry: CollectorRegistry = metrics.registry
    return generate_latest(registry)


def serve(port: int, ops: Ops) -> Server:
    """Answer on this port from now on. Raises OSError."""
    server = Server(HOST, port, ops.answer, gets=True)
    server.start()
    return server


_TEXT = {"content-type": "text/plain; charset=utf-8"}


def _said(wrong: list[str]) -> Answer:
    if not wrong:
        return Answer(200, b"ok\n", _TEXT)
    return Answer(503, "".join(f"{one}\n" for one in wrong).encode(), _TEXT)
