"""Real servers without Docker: what the embedded PostgreSQL and the embedded Kafka share.

Called by `infra.embedded.postgres` and `infra.embedded.kafka`; those are called by `demo`, `up` and the
tests. Never used by a production process, and never imports anything of ours. The wheels behind it are the
extra `embedded`, so they are imported when a server starts and not before.

A server here is a child process in a process group of its own: Ctrl-C in the terminal reaches us and not it,
so we stop the servers in order. Beside each runs a watch, a shell that waits at a pipe of ours: when we are
gone, however we went, the pipe closes and the watch ends the server. PR_SET_PDEATHSIG would need no shell,
but it fires when the *thread* that started the child ends (servers are started in parallel, from threads) and
exists on Linux only. A process that was forked from us without exec holds the pipe too, and must go before
the watch acts.
"""

import contextlib
import importlib
import os
import pwd
import secrets
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

LOOPBACK = "127.0.0.1"

# Below the range from which Linux takes ports for outgoing connections (32768 and up): a client that retries
# a server that is down could otherwise be given the server's own port, connect to itself, and keep the server
# out.
PORTS = range(20_000, 32_000)

KILL_DEADLINE_SECONDS = 10  # Only a process that hangs in the kernel outlives it.

LOG_TAIL_LINES = 40  # A stack trace of Java, with the message that is above it.

HOW_TO_INSTALL = "the embedded servers need  pip install 'handoff-guard[embedded]'"


class PartsError(Exception):
    """An embedded server can't be had; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a server sits: the address it listens on, and the command that leads there (`ip netns exec NAME`)."""

    host: str = LOOPBACK
    prefix: tuple[str, ...] = ()


def wheel(name: str) -> ModuleType:
    """Import a module of the extra `embedded`."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        raise PartsError(f"{name} is not installed: {HOW_TO_INSTALL}") from missing


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on now."""
    ports: set[int] = set()
    for _ in range(100 * count):
        port = PORTS[secrets.randbelow(len(PORTS))]
        if port_is_free(port):
            ports.add(port)
        if len(ports) == count:
            return sorted(ports)
    raise PartsError(f"no {count} free ports from {PORTS.start} to {PORTS.stop}: stop what listens there")


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port."""
    with socket.socket() as probe:
        # As the servers do: connections that linger after a restart do not count as a listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def require_free_port(port: int, folder: Path) -> None:
    """Refuse to start where another process already listens: its answers would be taken for our server's."""
    if not port_is_free(port):
        raise PartsError(f"port {port}, kept for {folder}, is taken: stop what listens on it, or delete the folder")


def log_tail(log_file: Path) -> str:
    """The end of a server's log, for an error message."""
    lines = log_file.read_text(errors="replace").splitlines() if log_file.exists() else []
    return "\n".join([f"the end of {log_file}:", *lines[-LOG_TAIL_LINES:]])


def as_user(user: str | None) -> dict[str, Any]:
    """What subprocess needs to run a command as this user, without our groups; nothing for ourselves."""
    if user is None:
        return {}
    account = pwd.getpwnam(user)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


class Child:
    """One process of ours, and the watch that ends it when we are gone."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        if_orphaned: str,
        folder: Path | None = None,
        log_file: Path | None = None,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ):
        """Start `command`; `if_orphaned` is shell, run with its process id as `$1`.

        What is not given is as it is with us: folder, environment, user, and where its output goes.
        """
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(log_file.open("ab")) if log_file else None
            self._server = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                **as_user(user),
            )
        self.pid = self._server.pid
        self._watch = subprocess.Popen(
            ["/bin/sh", "-c", f"read -r _; {if_orphaned}", "watch", str(self.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

    def is_running(self) -> bool:
        """Whether the process is there; a frozen one is."""
        return self._server.poll() is None

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the process and what it started in its group; nothing where it has ended."""
        # A process id can't have passed to another process before poll() has seen the end of ours.
        if self.is_running():
            os.killpg(self.pid, number)

    @property
    def exit_status(self) -> int | None:
        """How it ended, negative for a signal; None while it is there."""
        return self._server.poll()

    def wait(self, *, deadline_seconds: float) -> bool:
        """Wait for the end of the process and call off the watch; False where it is still there."""
        try:
            self._server.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            return False
        self._watch.kill()
        self._watch.communicate()
        return True

    def kill(self) -> None:
        """End the process at once, and call off the watch."""
        self.signal_group(signal.SIGKILL)
        self.wait(deadline_seconds=KILL_DEADLINE_SECONDS)
