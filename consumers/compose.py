"""The composition root: builds every part from the settings, and is the only module that knows them all.

Called by `consumers.main` and by tests that start a process's parts by hand.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import tenacity
from sqlalchemy.exc import ArgumentError

from consumers.barrier import Barrier
from consumers.clear import Clear
from consumers.dispatch import Dispatch
from consumers.doctor import Doctor
from consumers.ingest import Ingest, Limits
from consumers.requeue import Requeue
from consumers.sweep import Sweep
from consumers.watchdog import Watchdog
from domain.policy import Policy
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.errors import BrokerUnavailableError
from infra.kafka.horizon import Horizon
from infra.kafka.listener import Listener
from infra.kafka.peek import unread_since
from infra.kafka.publisher import Publisher
from infra.kafka.source import Place, Source
from infra.logs import Logger
from infra.metrics import Metrics
from infra.policy_file import read_policy
from infra.postgres import schema
from infra.postgres.clearances import Clearances
from infra.postgres.database import Database, DatabaseUnavailableError
from infra.postgres.history import History
from infra.postgres.ledger import Codec, Ledger
from infra.postgres.outbox import Outbox
from infra.postgres.quarantine import Quarantine
from infra.postgres.streams import Streams
from infra.postgres.upkeep import Upkeep
from infra.settings import Settings, SettingsError
from infra.wire.decode import decode_stored, topic_of
from infra.wire.kinds import INBOUND_TOPICS

START_DEADLINE_SECONDS = 60
"""How long a role waits for the database and the broker when it starts, before it gives up with their error."""

PEEK_DEADLINE_SECONDS = 5.0
"""How long `doctor` waits for the first unread record of each partition."""

CODEC = Codec(decode_stored, topic_of)

_patiently = tenacity.retry(
    retry=tenacity.retry_if_exception_type((DatabaseUnavailableError, BrokerUnavailableError)),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=2),
    stop=tenacity.stop_after_delay(START_DEADLINE_SECONDS),
    reraise=True,
)


class House:
    """The parts of one process, built when they are asked for."""

    def __init__(self, settings: Settings, log: Logger, *, role: str) -> None:
        self.settings = settings
        self.log = log
        self.role = role
        self.metrics = Metrics()
        self._database: Database | None = None
        self._cluster: Cluster | None = None
        self._horizon: Horizon | None = None

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
                self._database = Database(url, application=f"handoff-guard {self.role}")
            except (ArgumentError, ValueError) as why:
                raise SettingsError(
                    "GUARD_DATABASE_URL must be like postgresql://user:password@host:5432/database"
                ) from why
        return self._database

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

    def ingest(self) -> Ingest:
        """A worker of the group."""
        settings = self.settings
        self.ready_database()
        cluster_id = self.cluster().cluster_id()
        watchdog = Watchdog(
            check_seconds=settings.ingest_check_seconds,
            stalled_seconds=settings.ingest_stalled_seconds,
            log=self.log,
        )
        watchdog.guard()
        return Ingest(
            source=self._source(),
            cluster=self.cluster(),
            cluster_id=cluster_id,
            topics=INBOUND_TOPICS,
            streams=self.streams(),
            ledger=self.ledger(cluster_id),
            policy=self.policy(),
            limits=Limits(
                bad_run_max=settings.quarantine_run_max_events,
                bad_share_max_percent=settings.quarantine_share_max_percent,
            ),
            now=utc_now,
            watchdog=watchdog,
            metrics=self.metrics,
            log=self.log,
        )

    def dispatch(self) -> Dispatch:
        """A dispatcher of the outbox."""
        return Dispatch(
            database=self.ready_database(),
            outbox=Outbox(self.database()),
            publisher=self.publisher(),
            batch_max=self.settings.dispatch_batch_max_records,
            poll_seconds=self.settings.dispatch_poll_seconds,
            now=utc_now,
            metrics=self.metrics,
            log=self.log,
        )

    def sweep(self) -> Sweep:
        """A sweeper."""
        self.ready_database()
        return Sweep(
            ledger=self.ledger(),
            upkeep=Upkeep(self.database()),
            quarantine=self.quarantine(),
            policy=self.policy(),
            every_seconds=self.settings.sweep_seconds,
            ledger_for=timedelta(days=self.settings.ledger_retention_days),
            outbox_for=timedelta(days=self.settings.outbox_retention_days),
            now=utc_now,
            metrics=self.metrics,
            log=self.log,
        )

    def requeue(self) -> Requeue:
        """Who puts events of the quarantine back."""
        return Requeue(
            ledger=self.ledger(),
            quarantine=self.quarantine(),
            policy=self.policy(),
            now=utc_now,
            log=self.log,
        )

    def doctor(self) -> Doctor:
        """Who looks at everything, and waits for nothing."""
        return Doctor(
            settings=self.settings,
            database=self.database,
            cluster=self.cluster_now,
            unread_since=self._unread_since,
            now=utc_now,
        )

    @_patiently
    def publisher(self) -> Publisher:
        """A producer of records."""
        return Publisher(self.connection, client_id=self._client_id())

    @_patiently
    def listener(self, topic: str) -> Listener:
        """Who hears all that is published on a topic."""
        return Listener(self.connection, topic, client_id=self._client_id())

    def barrier(self, policy: Policy) -> Barrier:
        """What waits until all that was acknowledged is in the state. Raises SettingsError without a broker."""
        if self._horizon is None:
            self._horizon = Horizon(self.connection, INBOUND_TOPICS, client_id=self._client_id())
        return Barrier(
            horizon=self._horizon, streams=self.streams(), wait_seconds=policy.wait_for_streams.total_seconds()
        )

    def clear(self) -> Clear:
        """Who answers before a transfer. Raises SettingsError without a broker."""
        policy = self.policy()
        return Clear(
            barrier=self.barrier(policy),
            ledger=self.ledger(),
            clearances=Clearances(self.database()),
            policy=policy,
            now=utc_now,
            new_id=new_id,
            log=self.log,
        )

    def close(self) -> None:
        """Let go of every connection."""
        if self._horizon is not None:
            self._horizon.close()
        if self._cluster is not None:
            self._cluster.close()
        if self._database is not None:
            self._database.close()

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


def new_id(now: datetime) -> str:
    """An id that nobody can guess and that sorts by its time (RFC 9562, version 7): indexes grow at their end."""
    milliseconds = int(now.timestamp() * 1000)
    chance = int.from_bytes(os.urandom(10))
    bits = (milliseconds << 80) | (0x7 << 76) | (chance >> 4 & ((1 << 12) - 1)) << 64
    return str(UUID(int=bits | (0b10 << 62) | (chance >> 16 & ((1 << 62) - 1))))


def utc_now() -> datetime:
    """The wall clock; the only place where the product reads it for its decisions."""
    return datetime.now(UTC)
