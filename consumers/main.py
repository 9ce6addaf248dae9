"""The command line: `handoff-guard COMMAND`. Reads arguments and settings, and runs one process.

Exit status: 0 done, 1 done and something is wrong (`doctor`, `demo`) or not as asked, 2 wrong arguments or
settings, 3 the database or broker is away, 70 a worker stalled and wants to be started again.
"""

from __future__ import annotations

import argparse
import gc
import json
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

from consumers import desk, ops
from consumers.agency import arguments as agency
from consumers.compose import House
from consumers.roles import RoleRefusedError
from consumers.streams import NotAcceptedError
from consumers.terminal import EXIT_UNAVAILABLE, EXIT_USAGE, EXIT_WRONG, complain, say
from consumers.watchdog import EXIT_STALLED, StalledError
from infra import logs
from infra.agencies_file import AgenciesError
from infra.embedded import PartsError
from infra.kafka.errors import BrokerUnavailableError
from infra.policy_file import PolicyError
from infra.postgres.database import DatabaseUnavailableError
from infra.postgres.schema import SchemaError
from infra.settings import Settings, SettingsError, read_settings

GC_THRESHOLD_OBJECTS = 200_000
"""New objects before the collector looks: some batches' worth. The default of 700 cost a tenth of the time."""

Command = Callable[[argparse.Namespace, Settings], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parsed = _parser().parse_args(arguments)
    command: Command = parsed.command
    try:
        return command(parsed, read_settings())
    except (SettingsError, PolicyError, AgenciesError, SchemaError) as why:
        complain(str(why))
        return EXIT_USAGE
    except OSError as why:
        complain(_of_the_system(why))
        return EXIT_USAGE
    except NotAcceptedError as why:
        complain(str(why))
        return EXIT_WRONG
    except RoleRefusedError as why:
        complain(str(why))
        return EXIT_USAGE
    except PartsError as why:
        complain(str(why))
        return EXIT_UNAVAILABLE
    except (DatabaseUnavailableError, BrokerUnavailableError) as why:
        complain(f"{why}; `handoff-guard doctor` says more")
        return EXIT_UNAVAILABLE
    except StalledError as why:
        complain(str(why))
        return EXIT_STALLED


def _of_the_system(why: OSError) -> str:
    """What the operating system refuses: of which file, and what to do where that is known."""
    if why.filename is None or why.strerror is None:
        return why.strerror or str(why)
    name = why.filename.decode(errors="replace") if isinstance(why.filename, bytes) else why.filename
    said = "is there already; name a new one" if isinstance(why, FileExistsError) else why.strerror
    return f"{name}: {said}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="handoff-guard",
        description="Joins payments and debt placements, so that nobody who has paid stays with a collector.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Command, help_text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=help_text, description=help_text)
        one.set_defaults(command=run)
        return one

    demo = add("demo", _demo, "see it work: a small telecom, live, on an embedded Kafka and PostgreSQL")
    demo.add_argument("--stay", action="store_true", help="go on until Ctrl-C")
    add("up", _up, "run every role, on embedded servers where none are configured")
    add("ingest", _ingest, "read the inbound streams into the account state")
    add("dispatch", _dispatch, "publish what the outbox holds")
    sweep = add("sweep", _sweep, "re-derive what ought to exist, at intervals")
    sweep.add_argument("--once", action="store_true", help="sweep once and end")
    add("api", _api, "answer questions over HTTP")
    replay = add("replay", _replay, "run a file of events through the rules, and say what would have happened")
    replay.add_argument("file", type=Path, metavar="FILE", help="NDJSON of CloudEvents, may be gzipped")
    replay.add_argument("--policy", type=Path, help="the policy to use instead of the one in force")
    replay.add_argument("--placements", type=Path, metavar="OUT", help="write the placements it opened, as events")
    replay.add_argument("--json", action="store_true", help="print one JSON object")
    database = add("db", _db, "the database's schema")
    database.add_argument("action", choices=["upgrade"], help="upgrade: bring it up to date")
    simulator = add("agency-simulator", _agency_simulator, "be an agency, for tests and to build against")
    agency.add_simulator(simulator)
    check = add("agency-check", _agency_check, "say whether an agency's end behaves, a line a check")
    check.add_argument("--json", action="store_true", help="print one JSON value")
    agency.add_check(check)
    desk.add_commands(commands)
    return parser


def _until_told_to_stop() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    return stop


def _role(name: str, settings: Settings) -> House:
    house = House(settings, logs.configure(role=name, level=settings.log_level), role=name)
    logs.tell_what_nobody_catches(house.log)
    if settings.database_url is not None:  # Without one the role will say so itself.
        house.show_readings()
        if settings.metrics_port:
            _serve_ops(house, settings.metrics_port)
    return house


def _serve_ops(house: House, port: int) -> None:
    servers = ops.Servers(house.needed_servers())
    servers.start()
    try:
        ops.serve(port, ops.Ops(house.metrics, house.pulse, servers))
    except OSError as why:
        raise SettingsError(f"can't listen on port {port} ({why.strerror}): set GUARD_METRICS_PORT") from why


def _demo(arguments: argparse.Namespace, _settings: Settings) -> int:
    from consumers.demo import demo  # noqa: PLC0415 # Only here is the extra `embedded` needed.

    return demo(_until_told_to_stop(), stay=arguments.stay)


def _up(_arguments: argparse.Namespace, settings: Settings) -> int:
    from consumers.up import up  # noqa: PLC0415 # As above.

    return up(settings, _until_told_to_stop())


def _ingest(_arguments: argparse.Namespace, settings: Settings) -> int:
    stop = _until_told_to_stop()
    house = _role("ingest", settings)
    worker = house.ingest()
    _tune_interpreter()
    worker.run(stop)
    return 0


def _tune_interpreter() -> None:
    """Fit the interpreter to batches: a batch's objects are many, hold no cycles, and go when it is done."""
    gc.collect()
    gc.freeze()  # What is there by now stays.
    gc.set_threshold(GC_THRESHOLD_OBJECTS, 20, 100)


def _dispatch(_arguments: argparse.Namespace, settings: Settings) -> int:
    stop = _until_told_to_stop()
    house = _role("dispatch", settings)
    house.dispatch().run(stop)
    return 0


def _sweep(arguments: argparse.Namespace, settings: Settings) -> int:
    stop = _until_told_to_stop()
    house = _role("sweep", settings)
    if arguments.once:
        found = house.sweep().step(stop)
        say(json.dumps(asdict(found)))
        return EXIT_WRONG if found.repaired else 0
    house.sweep().run(stop)
    return 0


def _api(_arguments: argparse.Namespace, settings: Settings) -> int:
    # The only role that needs a web server; the others start sooner without.
    from consumers.api.app import build  # noqa: PLC0415 # As above.
    from infra.http.server import Address, listen, serve  # noqa: PLC0415 # As above.

    stop = _until_told_to_stop()
    address = Address(settings.api_host, settings.api_port, settings.api_tls_cert_file, settings.api_tls_key_file)
    with closing(listen(address)) as listening:
        house = _role("api", settings)
        api, console = house.api(), house.console()
        _tune_interpreter()
        serve(
            build(api, console, exposition=partial(ops.exposition, house.metrics, house.pulse)),
            address,
            listening,
            stop,
            started=lambda: house.log.info("api.listening", port=address.port),
            beat=house.pulse.loop("api"),
            stopping=console.live.watch.close,
        )
        api.close()
    return 0


def _agency_simulator(arguments: argparse.Namespace, settings: Settings) -> int:
    from consumers.agency.simulator import simulate  # noqa: PLC0415 # Only this command needs cryptography.

    return simulate(arguments, settings, _until_told_to_stop())


def _agency_check(arguments: argparse.Namespace, settings: Settings) -> int:
    from consumers.agency.check import check_agency  # noqa: PLC0415 # Only this command calls an agency from here.

    return check_agency(arguments, settings, _until_told_to_stop())


def _replay(arguments: argparse.Namespace, settings: Settings) -> int:
    from consumers.replay_file import replay_file  # noqa: PLC0415 # Only this command needs a progress bar.

    policy = arguments.policy or settings.policy_file
    report = replay_file(arguments.file, policy, placements=arguments.placements)
    if arguments.json:
        say(json.dumps(report.as_json()))
    else:
        for line in report.in_words():
            say(line)
    return 0


def _db(_arguments: argparse.Namespace, settings: Settings) -> int:
    from infra.postgres import schema  # noqa: PLC0415 # Alembic is slow to import, and only used here.

    house = House(settings, logs.configure(role="db", level=settings.log_level), role="db")
    say(f"the database is at schema {schema.upgrade(house.database(), ledger_parts=settings.ledger_parts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
