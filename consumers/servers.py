"""The servers of `up` and `demo`: embedded ones where the settings name none, prepared, and mended when they die.

What the settings name is somebody's own: it is neither migrated nor given topics here.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Self

from pydantic import SecretStr

from consumers.checks import State
from consumers.compose import House
from consumers.doctor import TOPIC_PARTITIONS, masked
from infra.embedded import PartsError
from infra.embedded.kafka import EmbeddedKafka
from infra.embedded.postgres import EmbeddedPostgres
from infra.logs import Logger
from infra.postgres import schema
from infra.settings import PREFIX, Settings


class Servers:
    """A database and a broker for one house; `settings` are those given, with the addresses of both."""

    def __init__(self, settings: Settings, log: Logger) -> None:
        self._folder = settings.data_folder.absolute()
        self._log = log
        self._stack = ExitStack()
        self._postgres: EmbeddedPostgres | None = None
        self._kafka: EmbeddedKafka | None = None
        self._given = settings
        self.settings = settings

    def __enter__(self) -> Self:
        try:
            self._claim_folder()
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def mend(self) -> None:
        """Start those of ours again that have ended."""
        for name, server in (("postgres", self._postgres), ("kafka", self._kafka)):
            if server is not None and not server.is_running:
                self._log.error("server.ended", server=name)
                server.start()

    def in_words(self) -> Iterator[str]:
        """Where each server is, and whose it is."""
        where = masked("database_url", self.settings.database_url)
        yield f"PostgreSQL  {where}  ({self._whose('postgres', embedded=self._postgres is not None)})"
        brokers = self.settings.kafka_bootstrap_servers
        yield f"Kafka       {brokers}  ({self._whose('kafka', embedded=self._kafka is not None)})"

    def exports(self) -> Iterator[str]:
        """What to paste into a shell so that other commands find what we started; their own they know."""
        if self._postgres is not None:
            yield f"  export {PREFIX}DATABASE_URL={self._postgres.url}"
        if self._kafka is not None:
            yield f"  export {PREFIX}KAFKA_BOOTSTRAP_SERVERS={self._kafka.bootstrap_servers}"

    def _whose(self, name: str, *, embedded: bool) -> str:
        return f"embedded, data in {self._folder / name}" if embedded else "yours"

    def _claim_folder(self) -> None:
        """Two on one folder would start the same servers, and workers of the same names."""
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._stack.enter_context((self._folder / "lock").open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as why:
            raise PartsError(
                f"{self._folder} is in use by another `handoff-guard up`: stop it, or set GUARD_DATA_FOLDER"
            ) from why

    def _start(self) -> None:
        addresses: dict[str, object] = {}
        if self._given.database_url is None:
            self._postgres = EmbeddedPostgres(self._folder / "postgres")
            self._stack.callback(self._postgres.stop)
            addresses["database_url"] = SecretStr(self._postgres.url)
        if not self._given.kafka_bootstrap_servers:
            self._kafka = EmbeddedKafka(self._folder / "kafka")
            self._stack.callback(self._kafka.stop)
            addresses["kafka_bootstrap_servers"] = self._kafka.bootstrap_servers
        self.settings = self._given.model_copy(update=addresses)
        with ThreadPoolExecutor(2) as threads:
            started = [threads.submit(self._start_database), threads.submit(self._start_broker)]
        for start in started:
            start.result()

    def _start_database(self) -> None:
        if self._postgres is None:
            return
        self._postgres.start()
        with closing(House(self.settings, self._log, role="up")) as house:
            schema.upgrade(house.database(), ledger_parts=self.settings.ledger_parts)

    def _start_broker(self) -> None:
        if self._kafka is None:
            return
        self._kafka.start()
        with closing(House(self.settings, self._log, role="up")) as house:
            made = house.doctor().create_topics(TOPIC_PARTITIONS)
        if made.state is State.FAIL:
            raise PartsError(f"the topics can't be made: {made.words}")
