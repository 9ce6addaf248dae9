"""What every process is made of, built from the settings when it is asked for: servers, streams, rules, stores.

The first half of the composition root; `consumers.compose` makes the processes of these parts. No other module
reads settings for them.
"""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import tenacity
from sqlalchemy.exc import ArgumentError

from consumers.barrier import Barrier
from consumers.producers import Heard
from consumers.pulse import Pulse
from consumers.readings import ReadingsCollector
from consumers.rules import Rules
from domain.events import Origin, RawRecord
from domain.policy import Policy
from domain.traces import OFF, Tracing
from infra.agencies_file import AgenciesFile
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.errors import BrokerUnavailableError
from infra.kafka.horizon import Horizon
from infra.kafka.listener import Listener
from infra.kafka.peek import unread_since
from infra.kafka.publisher import Publisher
from infra.kafka.read_back import read_back
from infra.kafka.source import Place, Source
from infra.logs import Logger
from infra.metrics import Metrics
from infra.policy_file import read_policy
from infra.postgres import schema
from infra.postgres.api_keys import ApiKeys
from infra.postgres.database import Database, DatabaseUnavailableError
from infra.postgres.history import History
from infra.postgres.ledger import Codec, Ledger
from infra.postgres.producers import Producers
from infra.postgres.quarantine import Quarantine
from infra.postgres.readings import Readings
from infra.postgres.streams import Streams
from infra.settings import Settings, SettingsError
from infra.wire.decode import decode_stored, topic_of
from infra.wire.kinds import INBOUND_TOPICS

if TYPE_CHECKING:
    from consumers.gate import Gate

START_DEADLINE_SECONDS = 60
"""How long a role waits for the database and the broker when it starts, before it gives up with their error."""

API_CONNECTIONS = 18
"""To the database: one for each thread of `api` that may want one (see `consumers.api.service`)."""

DISPATCH_CONNECTIONS = 8
"""To the database: lanes share them, each for some milliseconds at a time, so a hundred agencies need no more."""

API_CONNECT_TIMEOUT_SECONDS = 2
"""The least that the driver's library takes."""

PEEK_DEADLINE_SECONDS = 5.0
"""How long `doctor` waits for the first unread record of each partition."""

READ_BACK_DEADLINE_SECONDS = 10.0
"""How long `evidence` waits for records of the log; a person waits for it."""

WATCH_CONNECTIONS = 1
"""To the database, for probes and metrics; two more where both ask at the same time."""

WATCH_DEADLINE_SECONDS = 3.0
"""For their transactions: with the time to connect, half of what a scrape may take by default (10 s)."""

NEEDS_BROKER = frozenset({"ingest", "dispatch"})
"""Of no use without one. `api` still answers: accounts, the console, and questions with `hold`."""

CODEC = Codec(decode_stored, topic_of)

_patiently = tenacity.retry(
    retry=tenacity.retry_if_exception_type((DatabaseUnavailableError, BrokerUnavailableError)),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
    stop=tenacity.stop_after_delay(START_DEADLINE_SECONDS),
    reraise=True,
)


class Parts:
    """The parts of one process, built when they are asked for."""

    def __init__(self, settings: Settings, log: Logger, *, role: str) -> None:
        self.settings = settings
        self.log = log
        self.role = role
        self.metrics = Metrics(role)
        self.pulse = Pulse()
        self._database: Database | None = None
        self._watching: Database | None = None
        self._asking: Cluster | None = None
        self._cluster: Cluster | None = None
        self._horizon: Horizon | None = None
        self._barrier: Barrier | None = None
        self._agencies: AgenciesFile | None = None
        self._gate: Gate | None = None
        self._tracing: Tracing | None = None

    @property
    def connection(self) -> Connection:
        """How to reach the broker. Raises SettingsError where none is named."""
        if not self.settings.kafka_bootstrap_servers:
            raise SettingsError(
                "GUARD_KAFKA_BOOTSTRAP_SERVERS is not set; `handoff-guard up` starts an embedded one"
            )
        return Connection(
            bootstrap_servers=self.settings.kafka_bootstrap_servers,
            security_protocol=self.settings.kafka_security_protocol,
            sasl_mechanism=self.settings.kafka_sasl_mechanism,
            sasl_username=self.settings.kafka_sasl_username,
            sasl_password=self.settings.kafka_sasl_password.get_secret_value(),
            ca_file=self.settings.kafka_ca_file,
        )

    def database(self) -> Database:
        """The database. Raises SettingsError where none is named."""
        if self.settings.database_url is None:
            raise SettingsError("GUARD_DATABASE_URL is not set; `handoff-guard up` starts an embedded one")
        if self._database is None:
            url = self.settings.database_url.get_secret_value()
            try:
                self._database = Database(url, application=f"handoff-guard {self.role}", **self._patience())
            except (ArgumentError, ValueError) as why:
                raise SettingsError(
                    "GUARD_DATABASE_URL must be like postgresql://user:password@host:5432/database"
                ) from why
        return self._database

    def _patience(self) -> dict[str, Any]:  # `Any`: arguments of several types.
        """How long this role waits for the database, and on how many connections: a caller of `api` waits too."""
        if self.role == "dispatch":
            return {"pool_size": DISPATCH_CONNECTIONS}
        if self.role != "api":
            return {}
        return {
            "pool_size": API_CONNECTIONS,
            "deadline_seconds": self.settings.api_database_max_seconds,
            "connect_timeout_seconds": API_CONNECT_TIMEOUT_SECONDS,
        }

    @_patiently
    def ready_database(self) -> Database:
        """The database, once it answers with the schema that this code needs."""
        return self.database_now()

    def database_now(self) -> Database:
        """The database, asked once. Raises DatabaseUnavailableError or SchemaError."""
        schema.check(self.database())
        return self.database()

    @_patiently
    def cluster(self) -> Cluster:
        """The cluster, once it answers."""
        return self.cluster_now()

    def cluster_now(self) -> Cluster:
        """The cluster, asked once. Raises BrokerUnavailableError where it does not answer."""
        if self._cluster is None:
            self._cluster = Cluster(self.connection, client_id=self._client_id())
        return self._cluster

    def policy(self) -> Policy:
        """The creditor's policy."""
        return read_policy(self.settings.policy_file)

    def agencies(self) -> AgenciesFile:
        """The agencies. Raises AgenciesError where their file is wrong."""
        if self._agencies is None:
            self._agencies = AgenciesFile(
                self.settings.agencies_file,
                changed=lambda agencies: self.log.info("agencies.read", agencies=len(agencies)),
                refused=lambda why: self.log.error("agencies.refused", detail=str(why)),
            )
        return self._agencies

    def rules(self, policy: Policy | None = None) -> Callable[[], Policy]:
        """The creditor's policy, with the deadlines and hours of the agencies as their file says at each call."""
        return Rules(policy or self.policy(), self.agencies())

    def ledger(self, cluster_id: str = "") -> Ledger:
        """The account state; a cluster is named by who moves positions of its streams."""
        return Ledger(self.database(), CODEC, cluster_id)

    def history(self) -> History:
        """The accounts' histories."""
        return History(self.database(), CODEC)

    def streams(self) -> Streams:
        """The registered streams."""
        return Streams(self.database())

    def quarantine(self) -> Quarantine:
        """The events that could not be applied."""
        return Quarantine(self.database())

    @_patiently
    def publisher(self) -> Publisher:
        """A producer of records."""
        return Publisher(self.connection, client_id=self._client_id())

    @_patiently
    def listener(self, topic: str) -> Listener:
        """Who hears all that is published on a topic."""
        return Listener(self.connection, topic, client_id=self._client_id())

    def barrier(self, policy: Policy) -> Barrier:
        """What waits until all that was acknowledged is in the state: one for all that a process serves, so that
        they share its looks, and none asks by its clients at the same time. Raises SettingsError without a broker.
        """
        if self._barrier is None:
            self._horizon = Horizon(self.connection, INBOUND_TOPICS, client_id=self._client_id())
            wait_seconds = policy.wait_for_streams.total_seconds()
            self._barrier = Barrier(horizon=self._horizon, streams=self.streams(), wait_seconds=wait_seconds)
        return self._barrier

    def read_back(
        self, wanted: Sequence[Origin], streams: Mapping[str, tuple[str, str]]
    ) -> dict[Origin, RawRecord | str]:
        """Records of the log again. Raises BrokerUnavailableError, also where no broker is named."""
        if not self.settings.kafka_bootstrap_servers:
            raise BrokerUnavailableError("no broker is named")
        return read_back(
            self.connection,
            wanted,
            streams,
            client_id=self._client_id(),
            deadline_seconds=READ_BACK_DEADLINE_SECONDS,
        )

    def api_keys(self) -> ApiKeys:
        """The API keys."""
        return ApiKeys(self.database())

    def gate(self) -> Gate:
        """Who comes in by a key: one gate for all that a process serves."""
        from consumers.gate import Gate  # noqa: PLC0415 # Only `api` needs a web framework.

        if self._gate is None:
            self._gate = Gate(self.api_keys(), rate_per_second=self.settings.api_rate_per_second)
        return self._gate

    def tracing(self) -> Tracing:
        """Where the spans of this process go. Raises SettingsError where they are wanted and can't be made."""
        if self._tracing is None:
            self._tracing = self._traced() if self.settings.tracing_endpoint else OFF
        return self._tracing

    def _traced(self) -> Tracing:
        try:
            from infra.tracing import OpenTelemetry, to_collector  # noqa: PLC0415 # Of the extra `tracing`.
        except ImportError as why:
            raise SettingsError(
                "GUARD_TRACING_ENDPOINT is set, and its packages are not installed: "
                "pip install 'handoff-guard[tracing]'"
            ) from why
        made = OpenTelemetry(to_collector(self.settings.tracing_endpoint), role=self.role)
        atexit.register(made.close)
        return made

    def is_ready(self) -> str | None:
        """Why nothing could be answered now; None where it could."""
        return _why_not(self.database())

    def watching_database(self) -> Database:
        """The database on connections of their own and with little patience: for probes and metrics, which have to
        tell that it does not answer, or that all of the role's connections hang. Raises SettingsError where none
        is named.
        """
        if self._watching is None:
            self._watching = Database(
                self.database().url.render_as_string(hide_password=False),
                application=f"handoff-guard {self.role} watch",
                pool_size=WATCH_CONNECTIONS,
                deadline_seconds=WATCH_DEADLINE_SECONDS,
                connect_timeout_seconds=API_CONNECT_TIMEOUT_SECONDS,
            )
        return self._watching

    def show_readings(self) -> None:
        """Show with the metrics what the database says, asked each time that they are scraped."""
        readings = Readings(self.watching_database())
        self.metrics.registry.register(ReadingsCollector(readings, now=utc_now, log=self.log))

    def needed_servers(self) -> dict[str, Callable[[], str | None]]:
        """The servers that this role needs, each with how to ask why it can't be used now."""
        needed: dict[str, Callable[[], str | None]] = {"database": lambda: _why_not(self.watching_database())}
        if self.role in NEEDS_BROKER:
            needed["broker"] = self._why_no_broker
        return needed

    def _why_no_broker(self) -> str | None:
        """By a client of its own: those of the loops belong to their threads."""
        try:
            if self._asking is None:
                self._asking = Cluster(self.connection, client_id=f"{self._client_id()}-watch")
            self._asking.cluster_id()
        except BrokerUnavailableError as why:
            return str(why)
        return None

    def heard(self) -> Heard:
        """Who remembers when each producer was last heard."""
        return Heard(Producers(self.database()))

    def close(self) -> None:
        """Let go of every connection."""
        if self._horizon is not None:
            self._horizon.close()
        if self._cluster is not None:
            self._cluster.close()
        if self._database is not None:
            self._database.close()
        if self._watching is not None:
            self._watching.close()
        if self._asking is not None:
            self._asking.close()

    @_patiently
    def _source(self) -> Source:
        settings = self.settings
        return Source(
            self.connection,
            INBOUND_TOPICS,
            group_id=settings.kafka_group,
            client_id=self._client_id(),
            instance_id=settings.ingest_instance or None,
            max_records=settings.ingest_batch_max_events,
        )

    def _unread_since(self, positions: Mapping[Place, int]) -> dict[Place, datetime]:
        return unread_since(
            self.connection, positions, client_id=self._client_id(), deadline_seconds=PEEK_DEADLINE_SECONDS
        )

    def _client_id(self) -> str:
        return f"handoff-guard-{self.role}-{socket.gethostname()}-{os.getpid()}"


def _why_not(database: Database) -> str | None:
    """Why a database can't be used; None where it can."""
    try:
        schema.check(database)
    except (DatabaseUnavailableError, schema.SchemaError) as why:
        return str(why)
    return None


def new_id(now: datetime) -> str:
    """An id that nobody can guess and that sorts by its time (RFC 9562, version 7): indexes grow at their end."""
    milliseconds = int(now.timestamp() * 1000)
    chance = int.from_bytes(os.urandom(10))
    bits = (milliseconds << 80) | (0x7 << 76) | (chance >> 4 & ((1 << 12) - 1)) << 64
    return str(UUID(int=bits | (0b10 << 62) | (chance >> 16 & ((1 << 62) - 1))))


def utc_now() -> datetime:
    """The wall clock; the only place where the product reads it for its decisions."""
    return datetime.now(UTC)
