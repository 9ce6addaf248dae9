"""One simulated agency as a process: composed of a way in, its desk, its journal and a way out.

Run by `handoff-guard agency-simulator`, in tests, in the demo, and by whoever builds an agency's end against the
guard. Needs no database, and the broker only where it is told or answers by Kafka.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from consumers.agency.arguments import behaviour
from consumers.agency.behaviour import Fault
from consumers.agency.by_folder import FolderIn, FolderOut
from consumers.agency.by_kafka import KafkaIn, KafkaOut, start_positions
from consumers.agency.by_webhook import WebhookIn
from consumers.agency.call_back import CallBack
from consumers.agency.certificate import self_made
from consumers.agency.desk import Desk, WayOut
from consumers.agency.journal import Journal
from consumers.compose import House
from consumers.parts import utc_now
from consumers.terminal import say
from infra import logs
from infra.channels.signatures import key_of
from infra.http.threaded import Server
from infra.settings import Settings, SettingsError
from infra.wire.kinds import RECALLS

STOP_SECONDS = 5.0
"""For threads to end what they are doing; then they end with the process."""


@dataclass(frozen=True, slots=True)
class _WayIn:
    """A way in that is ready: where it is, and what takes messages until it is told to stop."""

    where: str
    run: Callable[[threading.Event], None]


def simulate(arguments: argparse.Namespace, settings: Settings, stop: threading.Event) -> int:
    """Be this agency until told to stop."""
    log = logs.configure(role="agency-simulator", level=settings.log_level)
    folder: Path = arguments.data or Path(".agency") / quote(arguments.agency, safe="")
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(folder))
        house = stack.enter_context(closing(House(settings, log, role="agency-simulator")))
        way_out = stack.enter_context(closing(_way_out(arguments, house)))
        desk = Desk(
            arguments.agency,
            behaviour(arguments),
            journal,
            now=utc_now,
            die_after=arguments.die_after,
            die=_die,
            log=log,
        )
        way_in = _way_in(arguments, house, desk, journal, folder, stack, stop)
        _run(desk, way_in, way_out, down_seconds=arguments.down_for, agency_id=arguments.agency, stop=stop)
    return 0


def secret_of(place: str, argument: str) -> bytes:
    """The secret in a place. Raises SettingsError, which never shows it."""
    kind, _, name = place.partition(":")
    if kind not in {"env", "file"} or not name:
        raise SettingsError(f"{argument} must be env:NAME or file:PATH")
    try:
        text = os.environ.get(name, "") if kind == "env" else Path(name).read_text().strip()
        key_of(text.encode())
    except (OSError, UnicodeDecodeError) as why:
        raise SettingsError(f"{argument}: {place} can't be read") from why
    except ValueError as why:
        raise SettingsError(f"{argument}: {place}: {why}") from why
    return text.encode()


def _run(
    desk: Desk, way_in: _WayIn, way_out: WayOut, *, down_seconds: float, agency_id: str, stop: threading.Event
) -> None:
    """Take and answer until told to stop, or until one of both fails, whose error is raised."""
    failed: list[BaseException] = []

    def until_stopped(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as why:  # noqa: BLE001 # It is raised again where the process ends.
            failed.append(why)
            stop.set()

    def take() -> None:
        if not stop.wait(down_seconds):
            way_in.run(stop)

    threads = [
        threading.Thread(target=until_stopped, args=(work,), name=name, daemon=True)
        for name, work in (("in", take), ("out", lambda: desk.run(way_out, stop)))
    ]
    for thread in threads:
        thread.start()
    down = f" (takes nothing for {down_seconds:g} s)" if down_seconds else ""
    say(f"agency {agency_id}: {way_in.where}{down}")
    stop.wait()
    for thread in threads:
        thread.join(STOP_SECONDS)
    if failed:
        raise failed[0]


def _way_in(
    arguments: argparse.Namespace,
    house: House,
    desk: Desk,
    journal: Journal,
    folder: Path,
    stack: ExitStack,
    stop: threading.Event,
) -> _WayIn:
    if arguments.webhook:
        return _webhook(arguments, desk, folder, stop)
    if arguments.kafka:
        listener = stack.enter_context(closing(house.listener(RECALLS)))
        start_positions(listener, folder, journal.before)
        return _WayIn(f"reads {RECALLS}", KafkaIn(arguments.agency, desk, listener, house.log).run)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    return _WayIn(f"takes files from {arguments.folder}", FolderIn(desk, arguments.folder).run)


def _webhook(arguments: argparse.Namespace, desk: Desk, folder: Path, stop: threading.Event) -> _WayIn:
    secrets = [secret_of(place, "--secret") for place in arguments.secret]
    if not secrets and Fault.CARELESS not in arguments.fault:
        raise SettingsError("--webhook needs --secret, by which the guard signs")
    if bool(arguments.tls_cert) != bool(arguments.tls_key):
        raise SettingsError("give both --tls-cert and --tls-key, or neither")
    host, port = arguments.webhook
    given = (arguments.tls_cert, arguments.tls_key)
    missing = [name for name in given if name and not Path(name).is_file()]
    if missing:
        raise SettingsError(f"{missing[0]} is no file: name the certificate and its key, or neither")
    certificate = given if arguments.tls_cert else self_made(folder, host, now=utc_now())
    faults = frozenset(arguments.fault)
    way = WebhookIn(desk, secrets, faults, slow_seconds=arguments.slow, now=utc_now, stop=stop)
    try:
        server = Server(host, port, way.answer, certificate=certificate)
    except OSError as why:
        raise SettingsError(f"can't serve https on {host} port {port}: {why.strerror or why}") from why

    def run(stop: threading.Event) -> None:
        server.start()
        stop.wait()
        server.stop()

    return _WayIn(server.url, run)


def _way_out(arguments: argparse.Namespace, house: House) -> WayOut:
    natural = "callback" if arguments.webhook else "kafka" if arguments.kafka else "file"
    source = arguments.source or f"urn:agency:{arguments.agency}"
    faults = frozenset(arguments.fault)
    match arguments.answer or natural:
        case "callback":
            return _call_back(arguments, source, faults)
        case "kafka":
            return KafkaOut(house.publisher(), source=source)
        case _:
            folder = arguments.answer_folder or arguments.folder
            if folder is None:
                raise SettingsError("to answer by file, say where: --answer-folder PATH")
            return FolderOut(folder, arguments.answer_format, faults, source=source, now=utc_now)


def _call_back(arguments: argparse.Namespace, source: str, faults: frozenset[Fault]) -> CallBack:
    parts = urlsplit(arguments.guard_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError("to answer by call-back, say where: --guard-url https://HOST:PORT")
    if not arguments.callback_secret:
        raise SettingsError("to answer by call-back, it must sign: --callback-secret env:NAME or file:PATH")
    secret = secret_of(arguments.callback_secret, "--callback-secret")
    return CallBack(
        arguments.guard_url,
        arguments.agency,
        secret,
        faults,
        ca_file=arguments.guard_ca,
        source=source,
        now=utc_now,
    )


def _die() -> None:
    """End as a machine does that loses its power."""
    os.kill(os.getpid(), signal.SIGKILL)
