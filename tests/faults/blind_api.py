"""The API with a read barrier that waits for nothing, as a process of its own.

Started by the race test, to show that the race is one: against this API it is lost. Nothing in the product can
switch the barrier off, so this builds the product's parts with another one.
"""

from __future__ import annotations

import threading
from contextlib import closing

from consumers.api.app import build
from consumers.barrier import Barrier
from consumers.compose import House
from domain.policy import Policy
from infra import logs
from infra.http.server import Address, listen, serve
from infra.settings import read_settings


class OpenBarrier(Barrier):
    """Lets every question pass at once."""

    def __init__(self) -> None:
        """It looks at nothing, so it needs nothing."""

    def cross(self) -> None:
        """Wait for nothing."""


class BlindHouse(House):
    """The parts of `api`, but for the barrier."""

    def barrier(self, policy: Policy) -> Barrier:
        """One that is open."""
        return OpenBarrier()


def main() -> None:
    """Serve until the process is ended."""
    settings = read_settings()
    address = Address(settings.api_host, settings.api_port)
    with closing(listen(address)) as listening:
        house = BlindHouse(settings, logs.configure(role="api", level=settings.log_level), role="api")
        serve(build(house.api()), address, listening, threading.Event())


if __name__ == "__main__":
    main()
