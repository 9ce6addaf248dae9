"""Looks at everything that the guard needs, and says of each what is right or wrong and which command mends it.

Called by the command `doctor`, when something does not work or before anything runs; so whatever is away or
broken is a finding, and the other checks go on. Reads only, but for `create_topics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import SecretStr

from consumers import checks
from consumers.checks import Backlog, Finding, State
from domain.streams import Seen, judge
from infra.agencies_file import read_agencies
from infra.kafka.cluster import Cluster, TopicFacts
from infra.kafka.source import Place
from infra.policy_file import read_policy
from infra.postgres import schema
from infra.postgres.database import Database
from infra.postgres.deliveries import Deliveries
from infra.postgres.inspection import inspect
from infra.postgres.outbox import Outbox
from infra.postgres.quarantine import Quarantine
from infra.postgres.streams import Registered, Streams
from infra.settings import PREFIX, Settings
from infra.wire.kinds import INBOUND_TOPICS, OUTBOUND_TOPICS

REPLICAS = 3
"""Of a topic that we make, where there are so many brokers: one may fail, and one may be in repair."""

TOPIC_PARTITIONS = 6
"""Of a topic that we make, where nobody says otherwise: so many ingest workers can share it, and it stays so."""

NEEDS_SERVER = ("database role", "durability", "connections", "database clock", "schema")
NEEDS_SCHEMA = ("quarantine", "outbox", "agencies", "streams")
NEEDS_BROKER = ("topics", "broker clock")
"""The checks that are left out where what they look at is away."""

T = TypeVar("T")


class Doctor:
    """One examination; the parts are built when they are looked at, so that one that can't be is a finding."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Callable[[], Database],
        cluster: Callable[[], Cluster],
        unread_since: Callable[[Mapping[Place, int]], Mapping[Place, datetime]],
        ask_provider: Callable[[], str],
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._database = database
        self._cluster = cluster
        self._unread_since = unread_since
        self._ask_provider = ask_provider
        self._now = now
        self._facts: Mapping[str, TopicFacts] = {}

    def examine(self) -> list[Finding]:
        """Every finding, in the order in which things depend on each other."""
        found = [self._settings_in_force(), self._policy(), self._agencies_file(), *self._provider()]
        server = list(self._server())
        broker = list(self._broker())
        found += [*server, *broker]
        if not any(one.name == "schema" and one.state is State.OK for one in server):
            return found + [checks.away(name, "there is no database with our schema") for name in NEEDS_SCHEMA]
        found.append(self._look("quarantine", lambda: checks.quarantine(Quarantine(self._database()).count())))
        found.append(self._look("outbox", lambda: checks.outbox(Outbox(self._database()).pending(), self._now())))
        found.append(
            self._look("agencies", lambda: checks.agencies(Deliveries(self._database()).standing(), self._now()))
        )
        broker_is_there = not any(one.name == "brokers" and one.state is State.FAIL for one in broker)
        return found + self._streams(broker_is_there=broker_is_there)

    def create_topics(self, partitions: int) -> Finding:
        """Make every topic that is missing, with as many copies as there are brokers for."""
        made, trouble = self._attempt("new topics", lambda: self._create_topics(partitions), BROKER_REMEDY)
        if made is None:
            return trouble
        return Finding("new topics", State.OK, f"made {', '.join(made)}" if made else "none was missing")

    def settings_in_words(self) -> dict[str, str]:
        """Every setting in force by its name, with its secrets masked."""
        return {
            f"{PREFIX}{name.upper()}": masked(name, getattr(self._settings, name)) for name in Settings.model_fields
        }

    def _create_topics(self, partitions: int) -> list[str]:
        cluster = self._cluster()
        replicas = min(REPLICAS, cluster.brokers())
        copies = {"min.insync.replicas": str(min(2, replicas))}
        read = {**copies, "message.timestamp.type": "LogAppendTime"}
        made = cluster.create(dict.fromkeys(INBOUND_TOPICS, partitions), replication_factor=replicas, settings=read)
        written = dict.fromkeys(OUTBOUND_TOPICS, partitions)
        return made + cluster.create(written, replication_factor=replicas, settings=copies)

    def _settings_in_force(self) -> Finding:
        values = self.settings_in_words()
        chosen = sorted(f"{PREFIX}{name.upper()}" for name in self._settings.model_fields_set)
        words = "; ".join(f"{name}={values[name]}" for name in chosen)
        return Finding("settings", State.OK, words or "all at their defaults")

    def _policy(self) -> Finding:
        file = self._settings.policy_file

        def look() -> Finding:
            policy = read_policy(file)
            where = f"of {file}, sha256 {policy.sha256[:12]}" if file else "the defaults"
            return Finding("policy", State.OK, f"version {policy.version}, {where}")

        return self._look("policy", look, "mend the file, or unset GUARD_POLICY_FILE")

    def _agencies_file(self) -> Finding:
        file = self._settings.agencies_file

        def look() -> Finding:
            agencies = read_agencies(file)
            words = f"{len(agencies)} in {file}" if file else "no file: all are reached by Kafka"
            return Finding("agencies file", State.OK, words)

        return self._look("agencies file", look, "mend the file, or unset GUARD_AGENCIES_FILE")

    def _provider(self) -> Iterator[Finding]:
        """Where people sign in by one. It is away without harm to anything else, so this is never wrong."""
        if not (issuer := self._settings.console_oidc_issuer):
            return
        address, trouble = self._attempt(
            "sign-in", self._ask_provider, "see to the provider; keys open the console"
        )
        if address is None:
            yield replace(trouble, state=State.WARN)
        else:
            yield Finding("sign-in", State.OK, f"{issuer} answers, and sends people to {address.partition('?')[0]}")

    def _server(self) -> Iterator[Finding]:
        facts, trouble = self._attempt("database", lambda: inspect(self._database(), self._now), DATABASE_REMEDY)
        if facts is None:
            yield trouble
            yield from (checks.away(name, "the database is away") for name in NEEDS_SERVER)
            return
        yield checks.server(facts)
        yield checks.may_write(facts)
        yield checks.durable(facts)
        yield checks.room(facts)
        yield checks.database_clock(facts.clock_ahead)
        yield self._look(
            "schema", lambda: checks.schema(found=schema.current(self._database()), needed=schema.needed())
        )

    def _broker(self) -> Iterator[Finding]:
        def look() -> Finding:
            return checks.brokers(self._cluster().brokers(), self._cluster().cluster_id())

        found = self._look("brokers", look, BROKER_REMEDY)
        yield found
        if found.state is State.FAIL:
            yield from (checks.away(name, "the broker is away") for name in NEEDS_BROKER)
            return
        yield from self._topics()
        yield self._look(
            "broker clock", lambda: checks.broker_clock(self._cluster().newest(INBOUND_TOPICS), self._now())
        )

    def _topics(self) -> Iterator[Finding]:
        facts, trouble = self._attempt("topics", lambda: self._cluster().facts(INBOUND_TOPICS + OUTBOUND_TOPICS))
        if facts is None:
            yield trouble
            return
        self._facts = facts
        for name in INBOUND_TOPICS + OUTBOUND_TOPICS:
            yield checks.topic(name, facts.get(name), inbound=name in INBOUND_TOPICS)

    def _streams(self, *, broker_is_there: bool) -> list[Finding]:
        registered, trouble = self._attempt("streams", lambda: Streams(self._database()).registered())
        if registered is None:
            return [trouble]
        if not broker_is_there:
            found = [checks.stream(name, registered.get(name), None) for name in INBOUND_TOPICS]
            return [*found, checks.away("lag", "the broker is away")]
        seen, trouble = self._attempt("streams", lambda: self._cluster().look(INBOUND_TOPICS))
        cluster_id, no_id = self._attempt("streams", lambda: self._cluster().cluster_id())
        if seen is None or cluster_id is None:
            return [trouble if seen is None else no_id]
        stops = {
            name: judge(one.kept, cluster_id, seen.get(name)) if one.stopped is None else None
            for name, one in registered.items()
        }
        found = [checks.stream(name, registered.get(name), stops.get(name)) for name in INBOUND_TOPICS]
        read = {name: one for name, one in registered.items() if one.stopped is None and stops[name] is None}
        return found + self._lags(read, seen)

    def _lags(self, read: Mapping[str, Registered], seen: Mapping[str, Seen | None]) -> list[Finding]:
        behind = dict(_behind(read, seen))
        wanted = {place: read[place[0]].kept.positions[place[1]] for place in behind}
        since, trouble = self._attempt("lag", lambda: self._unread_since(wanted))
        if since is None:
            return [trouble]
        found: list[Finding] = []
        for name in sorted(read):
            oldest = min((at for place, at in since.items() if place[0] == name), default=None)
            backlog = Backlog(sum(count for place, count in behind.items() if place[0] == name), oldest)
            facts = self._facts.get(name)
            kept_ms = facts.retention_ms if facts is not None else -1
            retention = timedelta(milliseconds=kept_ms) if kept_ms >= 0 else None
            found.append(checks.reading(name, backlog, retention=retention, now=self._now()))
        return found

    def _look(self, name: str, look: Callable[[], Finding], remedy: str = "") -> Finding:
        found, trouble = self._attempt(name, look, remedy)
        return trouble if found is None else found

    def _attempt(self, name: str, look: Callable[[], T], remedy: str = "") -> tuple[T | None, Finding]:
        """What a look gives; where it fails, a finding that says so."""
        try:
            return look(), Finding(name, State.OK, "")
        except Exception as why:  # noqa: BLE001 # Whatever is broken is what we are here to tell.
            lines = str(why).strip().splitlines() or [type(why).__name__]
            return None, Finding(name, State.FAIL, self._without_secrets(lines[0]), remedy)

    def _without_secrets(self, text: str) -> str:
        for name in Settings.model_fields:
            value = getattr(self._settings, name)
            if isinstance(value, SecretStr):
                for secret in _secrets(value.get_secret_value()):
                    text = text.replace(secret, MASK)
        return text


DATABASE_REMEDY = "start the server, or set GUARD_DATABASE_URL=postgresql://user:password@host:5432/database"
BROKER_REMEDY = "start the broker, or set GUARD_KAFKA_BOOTSTRAP_SERVERS=host:9092"
MASK = "***"


def masked(name: str, value: object) -> str:
    """A setting as it may be shown."""
    if not isinstance(value, SecretStr):
        return "" if value is None else str(value)
    if name != "database_url":
        return MASK if value.get_secret_value() else ""
    parts = _address(value.get_secret_value())
    if parts is None:
        return MASK
    user = f"{parts.username}:{MASK}@" if parts.password else f"{parts.username}@" if parts.username else ""
    where = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{user}{where}{parts.path}" if parts.scheme and where else MASK


def _secrets(value: str) -> list[str]:
    """What of a secret setting may not be shown, the longest first."""
    address = _address(value)
    password = address.password if address is not None and address.password else ""
    return [secret for secret in (value, password, unquote(password)) if secret]


def _address(value: str) -> SplitResult | None:
    try:
        return urlsplit(value)
    except ValueError:  # What is no address has no parts that could be shown.
        return None


def _behind(read: Mapping[str, Registered], seen: Mapping[str, Seen | None]) -> Iterator[tuple[Place, int]]:
    """How many records each partition is behind, where it is."""
    for name, one in read.items():
        topic = seen.get(name)
        for partition, position in one.kept.positions.items():
            if topic is not None and topic.ends[partition] > position:
                yield (name, partition), topic.ends[partition] - position


def in_words(findings: Sequence[Finding]) -> Iterator[str]:
    """The findings for people: a line each, and under it what mends it."""
    width = max(len(one.name) for one in findings)
    for one in findings:
        yield f"{one.state:<5} {one.name:<{width}}  {one.words}"
        for line in one.remedy.splitlines():
            yield f"{'':<5} {'':<{width}}  -> {line}"
    counts = {state: sum(one.state is state for one in findings) for state in State}
    yield f"{counts[State.OK]} right, {counts[State.WARN]} to think about, {counts[State.FAIL]} wrong"
