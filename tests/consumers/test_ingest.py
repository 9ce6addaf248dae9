"""What one batch of `ingest` does to a real database: all or nothing, once, in a constant number of statements.

The batches are given by hand; `test_ingest_streams` has the same worker read them from a real Kafka.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count

import psycopg2
import pytest
import sqlalchemy as sa

from consumers.ingest import Ingest, Limits, TooManyBadEventsError
from domain.events import Origin, RawRecord
from domain.recall import recall_id_of
from domain.streams import Seen
from infra.kafka.source import Place, Polled
from infra.postgres.database import Database, DatabaseUnavailableError
from infra.postgres.ledger import FencedError
from infra.postgres.streams import Streams
from infra.wire.decode import EVENT_MAX_BYTES
from infra.wire.kinds import INBOUND_TOPICS, PAYMENTS, REFERRALS
from tests.builders import ACCOUNT, LENIENT, day
from tests.conftest import CLUSTER_ID, Arrive, worker
from tests.infra.wire.test_decode import SAMPLES, structured
from tests.records import payment, placement, record, referral

pytestmark = pytest.mark.parts

Json = dict[str, object]

FIRST: Place = (PAYMENTS, 0)
TOPIC_ID = "topic-of-the-tests"
TABLES = ("account", "ledger", "placement", "recall", "outbox", "quarantine", "hold")


class TestBatch:
    """What holds of every batch, whatever is in it."""

    def test_its_statements_do_not_grow_with_it(self, arrive: Arrive, database: Database) -> None:
        """Thirty events of every kind, or three thousand: the same statements in the same order."""
        arrive(referral(account_id="first"))  # A new connection says a few things of its own.
        made: dict[int, list[str]] = {}
        for accounts in (1, 10, 100):
            with statements(database) as made[accounts]:
                arrive(*one_of_everything(accounts))
        with statements(database) as for_one:
            arrive(payment("p-alone"))

        assert made[1] == made[10]
        assert made[1] == made[100]
        assert set(for_one) < set(made[1])
        assert set(TABLES) == contents(database).keys()

    def test_a_lost_connection_anywhere_leaves_nothing_and_then_everything_once(
        self, arrive: Arrive, database: Database, database_url: str
    ) -> None:
        """Cut before any statement or the commit, nothing of the batch is there; uncut, all of it (S8)."""
        batch = (referral(), placement(), payment(), payment("p-2", key="somebody-else"))
        for at in count(1):
            with cut(database, database_url, at=at) as was_cut:
                try:
                    arrive(*batch)
                except DatabaseUnavailableError:
                    assert contents(database) == {}
            if not was_cut:
                break

        assert at > 10
        assert contents(database) == {
            "account": 1,
            "ledger": 3,
            "placement": 1,
            "recall": 1,
            "outbox": 2,
            "quarantine": 1,
            "hold": 2,
        }

    def test_the_recall_is_in_the_commit_of_the_payment(
        self, arrive: Arrive, database: Database, database_url: str
    ) -> None:
        """A batch that is cut at its commit leaves neither the payment nor the recall; the next try both (S2)."""
        arrive(referral(), placement())

        with cut_at_commit(database, database_url), pytest.raises(DatabaseUnavailableError):
            arrive(payment())
        neither = (rows(database, "SELECT event_id FROM ledger WHERE kind = 2"), contents(database).get("recall"))
        arrive(payment())

        assert neither == ([], None)
        assert rows(database, "SELECT reason FROM recall") == [("DEBT_SETTLED",)]
        assert rows(database, "SELECT recall_id FROM outbox") == [(recall_id_of(ACCOUNT, "l-1"),)]


class TestRepetition:
    """What holds of an event that comes again (S3)."""

    def test_a_duplicate_changes_nothing_wherever_it_is(self, database: Database) -> None:
        """Twice in a batch and again in the next, an event is applied once and counted as known."""
        ingest = worker(database, LENIENT, day(9))
        batch = [referral(), placement(), payment(), payment()]

        take(ingest, *batch)
        before = contents(database)
        take(ingest, *batch)

        assert before == {"account": 1, "ledger": 3, "placement": 1, "recall": 1, "outbox": 1}
        assert before == contents(database)
        assert (counted(ingest, PAYMENTS, "applied"), counted(ingest, PAYMENTS, "duplicate")) == (1, 3)

    def test_another_content_under_a_known_id_is_set_aside(self, arrive: Arrive, database: Database) -> None:
        """A conflict, in one batch or with an older one, holds the account and is shown; the first stays."""
        first, other = payment(), payment(amount=1)

        arrive(referral(), first, at(other, offset=7))
        arrive(at(other, offset=8))

        assert rows(database, "SELECT amount FROM ledger WHERE event_id = 'p-1'") == [(100_00,)]
        assert rows(database, "SELECT origin_offset, reason, value FROM quarantine ORDER BY 1") == [
            (7, "CONFLICT", other.value),
            (8, "CONFLICT", other.value),
        ]
        assert rows(database, "SELECT account_id, count(*) FROM hold GROUP BY 1") == [(ACCOUNT, 2)]
        assert [(other.key, other.value, shown(PAYMENTS, 0, offset, "CONFLICT")) for offset in (7, 8)] == told_of(
            database, "guard.quarantine"
        )

    def test_a_commit_whose_answer_was_lost_is_not_made_twice(self, database: Database) -> None:
        """Who does not know that it committed is fenced; and reading the same again from there adds nothing."""
        batch = [referral(), placement(), payment()]
        knows, does_not = at_positions(database, {FIRST: 0}), at_positions(database, {FIRST: 0})
        take(knows, *batch, after={FIRST: 3})
        before = contents(database)

        with pytest.raises(FencedError):
            take(does_not, *batch, after={FIRST: 3})
        take(at_positions(database, {FIRST: 3}), *batch, after={FIRST: 6})

        assert before == contents(database)
        assert rows(database, "SELECT position FROM stream_position WHERE topic = 'billing.payments'") == [(6,)]


class TestBadEvents:
    """What holds of events that can't be applied (S6)."""

    def test_every_poison_is_set_aside_with_its_bytes_and_the_rest_goes_on(
        self, arrive: Arrive, database: Database
    ) -> None:
        """Nothing that a record may hold stops its batch: it is quarantined, shown, and its accounts are held."""
        arrive(referral(), *(raw for raw, _, _ in POISON), payment())

        assert rows(database, "SELECT event_id FROM ledger WHERE kind = 2") == [("p-1",)]
        assert rows(database, "SELECT origin_offset, reason, key, value FROM quarantine ORDER BY 1") == [
            (raw.origin.offset, reason, raw.key, raw.value) for raw, reason, _ in POISON
        ]
        assert Counter(rows(database, "SELECT account_id FROM hold")) == Counter(
            (account_id,) for _, _, accounts in POISON for account_id in accounts
        )
        assert [(raw.key or b"", raw.value or b"") for raw, _, _ in POISON] == [
            (key, value) for key, value, _ in told_of(database, "guard.quarantine")
        ]

    def test_the_headers_of_a_bad_event_stay_with_it(self, arrive: Arrive, database: Database) -> None:
        """As they were received; what PostgreSQL can't store in a name is left out."""
        headers = (("content-type", b"\xff\x00"), ("twice", b"1"), ("twice", b"2"), ("na\0me", b"x"))

        arrive(RawRecord(Origin(PAYMENTS, 1, 5, day(4)), ACCOUNT.encode(), b"{", headers))

        kept = [("content-type", b"\xff\x00"), ("twice", b"1"), ("twice", b"2"), ("name", b"x")]
        ((found,),) = rows(database, "SELECT headers FROM quarantine")
        assert kept == [(name, bytes.fromhex(value)) for name, value in as_pairs(found)]
        assert told_of(database, "guard.quarantine") == [
            (ACCOUNT.encode(), b"{", [*kept, *shown(PAYMENTS, 1, 5, "NOT_JSON")])
        ]

    def test_too_long_a_run_stops_the_batch_and_writes_nothing_of_it(self, database: Database) -> None:
        """The run goes on over batches; the event after the last allowed one takes its batch down."""
        ingest = limited(at_positions(database, {FIRST: 0}), run_max=3, share_max_percent=100)
        take(ingest, referral(), bad(1), bad(2), bad(3), after={FIRST: 4})
        before = contents(database)

        with pytest.raises(TooManyBadEventsError, match="4 bad events one after the other"):
            take(ingest, bad(4), payment(), after={FIRST: 6})
        stopped = contents(database)
        take(ingest, payment(), bad(4), after={FIRST: 6})

        assert before == stopped
        assert {**before, "ledger": 2, "quarantine": 4, "outbox": 4, "hold": 4} == contents(database)

    def test_a_worker_that_takes_over_goes_on_with_the_run(self, database: Database) -> None:
        """The run is stored beside the position, so that a restart does not begin it anew."""
        take(at_positions(database, {FIRST: 0}), bad(1), bad(2), after={FIRST: 2})

        assert Streams(database).registered()[PAYMENTS].bad_runs == {0: 2}

    def test_too_great_a_share_stops_the_batch_and_writes_nothing_of_it(self, database: Database) -> None:
        """Two hundred bad ones among a thousand are borne, one more is not, though no two stand together."""
        ingest = limited(worker(database, LENIENT, day(9)), run_max=100, share_max_percent=20)
        take(ingest, *(bad(number) if number % 5 == 4 else payment(f"p-{number}") for number in range(1000)))
        before = contents(database)

        with pytest.raises(TooManyBadEventsError, match="201 bad events among the last 1000"):
            take(ingest, bad(1001), payment("p-1001"))

        assert before == contents(database)
        assert (before["quarantine"], before["ledger"]) == (200, 800)


class TestPositions:
    """What holds of the place up to which a stream was read."""

    def test_a_worker_that_lost_its_partition_writes_nothing(self, database: Database) -> None:
        """The position moved under it: its facts, recalls and other positions are undone with it."""
        other: Place = (REFERRALS, 0)
        zombie, owner = (at_positions(database, {FIRST: 0, other: 0}) for _ in range(2))
        take(owner, referral(), after={FIRST: 1})
        before = contents(database)

        with pytest.raises(FencedError):
            take(zombie, placement(), payment(), after={other: 1, FIRST: 2})

        assert before == contents(database)
        assert {FIRST: 1, other: 0} == {place: positions(database)[place] for place in (FIRST, other)}

    def test_a_position_moves_without_an_event(self, database: Database) -> None:
        """A poll that only passed a transaction's marker is stored too."""
        take(at_positions(database, {FIRST: 0}), after={FIRST: 2})

        assert positions(database)[FIRST] == 2


class TestMessages:
    """What agencies are told of what a batch brought."""

    def test_a_recall_says_which_payment_made_the_placement_wrong(self, arrive: Arrive, database: Database) -> None:
        """The trigger is where and what: source, id, topic, partition, offset, and when it was paid."""
        arrive(referral(), placement())
        arrive(at(payment(), partition=1, offset=42), now=day(5))

        ((key, value, headers),) = told_of(database, "guard.recalls")
        recall_id = recall_id_of(ACCOUNT, "l-1")
        event: Json = json.loads(value)
        assert (key, headers) == (b"l-1", [("content-type", b"application/cloudevents+json")])
        assert (event["type"], event["id"]) == ("guard.recall.requested.v1", recall_id)
        assert event["data"] == {
            "recall_id": recall_id,
            "placement_id": "l-1",
            "debt_id": "d-1",
            "account_id": ACCOUNT,
            "agency_id": "agency-1",
            "reason": "DEBT_SETTLED",
            "cause": "paid_after_placement",
            "outstanding": 0,
            "currency": "RUB",
            "requested_at": day(5).isoformat(),
            "acknowledge_by": (day(5) + timedelta(hours=1)).isoformat(),
            "trigger": {
                "source": "test",
                "id": "p-1",
                "topic": PAYMENTS,
                "partition": 1,
                "offset": 42,
                "paid_at": day(4).isoformat(),
            },
        }

    def test_money_from_before_the_placement_means_it_was_referred_in_error(
        self, arrive: Arrive, database: Database
    ) -> None:
        """The cause is by when it was paid, not by when we learned of it; the clock runs from then."""
        arrive(referral(), placement(), payment(paid_at=day(2), at=day(2), late=timedelta(days=3)))

        assert rows(database, "SELECT cause, paid_at, known_since FROM recall") == [
            ("referred_in_error", day(2), day(5))
        ]

    def test_a_return_that_comes_before_its_payment_undoes_it(self, arrive: Arrive, database: Database) -> None:
        """Nothing is recalled for money that had bounced before it was seen (S4, S7)."""
        arrive(referral(), placement())
        arrive(returned())
        arrive(payment())

        assert contents(database) == {"account": 1, "ledger": 4, "placement": 1}

    def test_a_recall_outlives_the_return_and_the_next_placement_stands(
        self, arrive: Arrive, database: Database
    ) -> None:
        """The debt is open again: the recalled placement is not told twice, a new one is left alone (S5)."""
        arrive(referral(), placement(), payment())
        arrive(returned())
        arrive(placement("l-2"))

        assert rows(database, "SELECT placement_id FROM recall") == [("l-1",)]
        assert contents(database)["outbox"] == 1

    def test_a_part_payment_is_told_and_then_the_rest_recalls(self, arrive: Arrive, database: Database) -> None:
        """In the order in which it happened, under the placement's key."""
        arrive(referral(), placement())
        arrive(payment(amount=30_00))
        arrive(payment("p-2", amount=70_00))

        assert spoken(database) == [("guard.balance.reduced.v1", 70_00), ("guard.recall.requested.v1", 0)]
        assert rows(database, "SELECT told FROM placement") == [(70_00,)]

    def test_a_dispute_suspends_and_its_end_resumes_or_recalls(self, arrive: Arrive, database: Database) -> None:
        """Rejected, the agency goes on; upheld, it stops for good."""
        arrive(referral(), placement(), disputed("q-1"))
        arrive(dispute_ended("q-1", "rejected"))
        arrive(disputed("q-2"), dispute_ended("q-2", "upheld"))

        assert [kind for kind, _ in spoken(database)] == [
            "guard.placement.suspended.v1",
            "guard.placement.resumed.v1",
            "guard.placement.suspended.v1",
            "guard.recall.requested.v1",
        ]
        assert rows(database, "SELECT reason, trigger_id FROM recall") == [("DISPUTE_UPHELD", "q-2-closed")]

    def test_a_placement_without_a_clearance_is_counted_once(self, database: Database) -> None:
        """However often its account is touched after; one that names its clearance is not counted."""
        ingest = worker(database, LENIENT, day(9))
        named = json.loads(placement("l-2").value or b"")
        named["data"]["clearance_id"] = "c-1"

        take(ingest, referral(), placement(), payment(amount=1))
        take(ingest, replace(placement("l-2"), value=json.dumps(named).encode()), payment("p-2", amount=2))

        unguarded = ingest._metrics.registry.get_sample_value(
            "guard_unguarded_placements_total", {"agency": "agency-1"}
        )
        assert unguarded == 1


# --- What the tests are given ---


def at(raw: RawRecord, *, partition: int = 0, offset: int = 0) -> RawRecord:
    """That record at another place of its topic."""
    return replace(raw, origin=replace(raw.origin, partition=partition, offset=offset))


def bad(number: int) -> RawRecord:
    """A record of billing that is no event."""
    return RawRecord(Origin(PAYMENTS, 0, number, day(4)), ACCOUNT.encode(), b"not json")


def poison(value: bytes | None, key: bytes | None = ACCOUNT.encode(), topic: str = PAYMENTS) -> RawRecord:
    """A record that came by billing's topic, where no other is given."""
    return RawRecord(Origin(topic, 0, 0, day(4)), key, value)


def near(**changes: object) -> bytes:
    """A payment's event with other attributes."""
    return json.dumps({**json.loads(payment("p-9").value or b""), **changes}).encode()


POISON = [
    (at(raw, offset=offset), reason, accounts)
    for offset, (raw, reason, accounts) in enumerate(
        [
            (poison(None), "EMPTY", [ACCOUNT]),
            (poison(b""), "NOT_JSON", [ACCOUNT]),
            (poison(b"", key=None), "NOT_JSON", []),
            (poison(b"\x00\xff"), "NOT_JSON", [ACCOUNT]),
            (poison(b"{}", key=b"\x00\xff"), "BAD_ENVELOPE", []),
            (poison(b" " * (EVENT_MAX_BYTES + 1)), "TOO_LARGE", [ACCOUNT]),
            (poison(near(type="billing.payment.guessed.v1")), "UNKNOWN_TYPE", [ACCOUNT]),
            (poison(near(), topic=REFERRALS), "WRONG_TOPIC", [ACCOUNT]),
            (poison(near(subject="a-2")), "SUBJECT_MISMATCH", [ACCOUNT, "a-2"]),
            (poison(near(), key=b"a-3"), "KEY_MISMATCH", [ACCOUNT, "a-3"]),
            (poison(near(), key=None), "KEY_MISMATCH", [ACCOUNT]),
            (poison(near(data={"account_id": ACCOUNT, "payment_id": "\ud800"})), "BAD_DATA", [ACCOUNT]),
        ]
    )
]


def one_of_everything(accounts: int) -> Iterator[RawRecord]:
    """For so many accounts: every type, a debt that is paid after its placement, a duplicate, and a bad one."""
    for number in range(accounts):
        account_id = f"{accounts}-{number}"
        for sample in SAMPLES:
            data = {"account_id": account_id, **sample.needed, **sample.optional}
            raw = structured(sample, data, subject=account_id, id=f"{sample.type}-{account_id}")
            yield replace(raw, key=account_id.encode())
        yield placement(account_id=account_id)
        yield referral(account_id=account_id)
        yield payment(account_id=account_id)
        yield payment(account_id=account_id)
        yield payment("p-keyed", account_id=account_id, key="somebody-else")


def returned() -> RawRecord:
    """The payment bounced on day 5."""
    return record("billing.payment.returned.v1", at=day(5), payment_id="p-1", returned_at=day(5).isoformat())


def disputed(dispute_id: str) -> RawRecord:
    """The debt is disputed on day 4."""
    return record(
        "customer.dispute.opened.v1",
        at=day(4),
        event_id=dispute_id,
        dispute_id=dispute_id,
        debt_id="d-1",
        opened_at=day(4).isoformat(),
    )


def dispute_ended(dispute_id: str, outcome: str) -> RawRecord:
    """That dispute ended on day 6."""
    return record(
        "customer.dispute.closed.v1",
        at=day(6),
        event_id=f"{dispute_id}-closed",
        dispute_id=dispute_id,
        closed_at=day(6).isoformat(),
        outcome=outcome,
    )


# --- The worker ---


def take(ingest: Ingest, *records: RawRecord, after: dict[Place, int] | None = None) -> None:
    """Give a worker one batch, after which its positions are these."""
    ingest.take(Polled(list(records), after or {}))


def at_positions(database: Database, known: dict[Place, int]) -> Ingest:
    """A worker that believes its partitions to be there; the streams are registered from their start."""
    Streams(database).register(CLUSTER_ID, dict.fromkeys(INBOUND_TOPICS, Seen(TOPIC_ID, {0: 0}, {0: 0})))
    ingest = worker(database, LENIENT, day(9))
    ingest._positions = dict(known)
    ingest._topic_ids = dict.fromkeys(INBOUND_TOPICS, TOPIC_ID)
    return ingest


def limited(ingest: Ingest, *, run_max: int, share_max_percent: int) -> Ingest:
    """That worker with other limits."""
    ingest._limits = Limits(bad_run_max=run_max, bad_share_max_percent=share_max_percent)
    return ingest


def counted(ingest: Ingest, topic: str, outcome: str) -> float | None:
    """How many events of a topic ended so."""
    return ingest._metrics.registry.get_sample_value("guard_events_total", {"topic": topic, "outcome": outcome})


# --- The database ---


def rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    """What a query gives; bytes as such."""
    with database.transaction() as connection:
        found = connection.execute(sa.text(statement))
        return [tuple(bytes(one) if isinstance(one, memoryview) else one for one in row) for row in found]


def contents(database: Database) -> dict[str, int]:
    """How many rows each table has, of those that have any."""
    parts = [f"SELECT '{table}', count(*) FROM {table}" for table in TABLES]  # noqa: S608 # Our own names.
    return {str(name): int(str(found)) for name, found in rows(database, " UNION ALL ".join(parts)) if found}


def positions(database: Database) -> dict[Place, int]:
    """Where every partition was read up to."""
    registered = Streams(database).registered()
    return {(topic, number): at for topic, one in registered.items() for number, at in one.kept.positions.items()}


def told_of(database: Database, topic: str) -> list[tuple[bytes, bytes, list[tuple[str, bytes]]]]:
    """Key, value and headers of what is to be published on a topic, in its order."""
    with database.transaction() as connection:
        found = connection.execute(
            sa.text("SELECT key, value, headers FROM outbox WHERE topic = :topic ORDER BY outbox_id"),
            {"topic": topic},
        )
        return [
            (bytes(key), bytes(value), [(name, bytes.fromhex(text)) for name, text in headers])
            for key, value, headers in found
        ]


def shown(topic: str, partition: int, offset: int, reason: str) -> list[tuple[str, bytes]]:
    """The headers under which a bad record is shown."""
    return [
        ("guard_reason", reason.encode()),
        ("guard_origin_topic", topic.encode()),
        ("guard_origin_partition", str(partition).encode()),
        ("guard_origin_offset", str(offset).encode()),
    ]


def spoken(database: Database) -> list[tuple[str, object]]:
    """The type of each message to agencies with what it says is outstanding, in their order."""
    events = [json.loads(value) for _, value, _ in told_of(database, "guard.recalls")]
    return [(str(event["type"]), event["data"].get("outstanding")) for event in events]


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """What is asked of the database meanwhile."""
    asked: list[str] = []
    with hearing(database, "before_cursor_execute", lambda *told: asked.append(str(told[2]))):
        yield asked


@contextmanager
def cut(database: Database, url: str, *, at: int) -> Iterator[list[int]]:
    """Meanwhile the server drops the connection before the statement of this number; the commit is the last."""
    numbers = count(1)
    was_cut: list[int] = []

    def drop(pid: int) -> None:
        if next(numbers) == at:
            terminate(url, pid)
            was_cut.append(pid)

    with (
        hearing(database, "before_cursor_execute", lambda *told: drop(told[1].connection.info.backend_pid)),
        hearing(database, "commit", lambda *told: drop(pid_of(told[0]))),
    ):
        yield was_cut


@contextmanager
def cut_at_commit(database: Database, url: str) -> Iterator[None]:
    """Meanwhile the server drops every connection that is about to commit."""
    with hearing(database, "commit", lambda *told: terminate(url, pid_of(told[0]))):
        yield


@contextmanager
def hearing(database: Database, event: str, heard: Callable[..., None]) -> Iterator[None]:
    """Call this at each such event of the engine."""

    def hear(*told: object) -> None:
        heard(*told)

    sa.event.listen(database._engine, event, hear)
    try:
        yield
    finally:
        sa.event.remove(database._engine, event, hear)


def pid_of(connection: sa.Connection) -> int:
    """The server process of a connection."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg2.extensions.connection)
    return driver.info.backend_pid


def terminate(url: str, pid: int) -> None:
    """End a server process, and wait until it has gone."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def as_pairs(found: object) -> Sequence[tuple[str, str]]:
    """The headers as they are stored."""
    assert isinstance(found, list)
    return [(name, text) for name, text in found]
