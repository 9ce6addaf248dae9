"""`up`: every role in one go, on embedded servers where none are configured, until told to stop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

from consumers.roles import Roles
from consumers.servers import Servers
from consumers.terminal import say
from infra import logs
from infra.settings import Settings

WATCH_SECONDS = 0.2
"""Between looks at what runs; what has died is started again within it."""


def up(settings: Settings, stop: threading.Event) -> int:
    """Run until told to stop. Raises PartsError or RoleRefusedError where something can't run at all."""
    log = logs.configure(role="up", level=settings.log_level)
    with Servers(settings, log) as servers, closing(Roles(servers.settings, log)) as roles:
        roles.start()
        for line in _in_words(servers, roles, settings):
            say(line)
        while not stop.wait(WATCH_SECONDS):
            servers.mend()
            roles.mend()
    return 0


def _in_words(servers: Servers, roles: Roles, settings: Settings) -> Iterator[str]:
    yield from servers.in_words()
    yield f"roles       {', '.join(f'{name} (pid {pid})' for name, pid in roles.pids.items())}"
    address = f"http://{settings.api_host}:{settings.api_port}"
    yield f"API         {address}/openapi.json  (a key: handoff-guard keys create NAME --scope ask)"
    yield "For other commands, in another terminal:"
    yield from servers.exports()
    yield "Ctrl-C ends everything; what is embedded keeps its data."
