"""The checker finds nothing in a good run, and finds each kind of wrong that is put into its results."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg2.extensions
import pytest

from tests import checker
from tests.checker import Record, Topics
from tests.faults.feed import Feed, Feeder
from tests.faults.ground import Ground

pytestmark = [pytest.mark.parts, pytest.mark.faults]

RECORDS = 600
SEED = 7
"""A feed that has of everything."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is done to the database, and the first words of what must be found."""

    statement: str
    found: tuple[str, ...]


WRONGS = {
    "a lost event": Wrong(
        "DELETE FROM ledger WHERE event_id = (SELECT min(event_id) FROM ledger)",
        ("lost",),
    ),
    "an event under another name": Wrong(
        "UPDATE ledger SET event_id = 'other' WHERE event_id = (SELECT min(event_id) FROM ledger)",
        ("invented", "lost"),
    ),
    "an event twice": Wrong(
        """
        INSERT INTO ledger
        SELECT account_id, gen_random_uuid(), digest, kind, source, event_id, event_time, received_at, origin_topic,
               origin_partition, origin_offset, money_id, amount, currency, money_at, debt_id, contract_id, stored
        FROM ledger LIMIT 1""",
        ("twice",),
    ),
    "another place": Wrong(
        "UPDATE ledger SET origin_offset = -1 WHERE event_id = (SELECT min(event_id) FROM ledger)",
        ("origin",),
    ),
    "another amount": Wrong(
        """
        UPDATE ledger SET amount = amount + 1
        WHERE event_id = (SELECT min(event_id) FROM ledger WHERE amount IS NOT NULL)""",
        ("money",),
    ),
    "a bad record that vanished": Wrong(
        "DELETE FROM quarantine WHERE quarantine_id = (SELECT min(quarantine_id) FROM quarantine)",
        ("vanished",),
    ),
    "a bad record twice": Wrong(
        """
        INSERT INTO quarantine (origin_topic, origin_partition, origin_offset, received_at, key, value, headers,
                                reason, detail, quarantined_at)
        SELECT origin_topic, origin_partition, origin_offset, received_at, key, value, headers, reason, detail,
               quarantined_at
        FROM quarantine LIMIT 1""",
        ("hold", "twice"),
    ),
    "a good record in quarantine": Wrong(
        """
        UPDATE quarantine SET origin_offset = -1
        WHERE quarantine_id = (SELECT min(quarantine_id) FROM quarantine)""",
        ("condemned", "vanished"),
    ),
    "a bad record with other bytes": Wrong(
        """
        UPDATE quarantine SET value = value || 'x'
        WHERE quarantine_id = (SELECT min(quarantine_id) FROM quarantine)""",
        ("bytes",),
    ),
    "an account that is not on hold": Wrong(
        "DELETE FROM hold WHERE quarantine_id = (SELECT min(quarantine_id) FROM hold)",
        ("hold",),
    ),
    "a settled placement without a recall": Wrong(
        """
        DELETE FROM recall WHERE placement_id = (
            SELECT min(placement_id) FROM recall
            WHERE account_id NOT IN (SELECT account_id FROM ledger WHERE kind = 4))""",
        ("unkept", "unrecalled"),
    ),
    "a recall without a cause": Wrong(
        """
        INSERT INTO recall (account_id, placement_id, recall_id, debt_id, agency_id, reason, cause, outstanding,
                            currency, requested_at, acknowledge_by, trigger_source, trigger_id, known_since, swept,
                            sent_at)
        SELECT account_id, placement_id, 'none', debt_id, agency_id, 'DEBT_SETTLED', 'manual', 0,
               currency, now(), now(), 'feed', 'none', now(), false, now()
        FROM placement
        WHERE placement_id = (
            SELECT min(placement_id) FROM placement
            WHERE placement_id NOT IN (SELECT placement_id FROM recall)
              AND account_id NOT IN (SELECT account_id FROM ledger WHERE kind = 4))""",
        ("causeless", "unpublished"),
    ),
    "two recalls of a placement": Wrong(
        """
        INSERT INTO recall (account_id, placement_id, recall_id, debt_id, agency_id, reason, cause, outstanding,
                            currency, requested_at, acknowledge_by, trigger_source, trigger_id, known_since, swept,
                            sent_at)
        SELECT 'other', placement_id, recall_id, debt_id, agency_id, reason, cause, outstanding,
               currency, now(), now(), 'feed', 'none', now(), false, now()
        FROM recall WHERE placement_id = (SELECT min(placement_id) FROM recall)""",
        ("causeless", "twice"),
    ),
    "a recall that only the sweep found": Wrong(
        "UPDATE recall SET swept = true WHERE placement_id = (SELECT min(placement_id) FROM recall)",
        ("late",),
    ),
    "a recall under another id": Wrong(
        "UPDATE recall SET recall_id = 'other' WHERE placement_id = (SELECT min(placement_id) FROM recall)",
        ("renamed",),
    ),
    "a recall that was not sent": Wrong(
        "UPDATE recall SET sent_at = NULL WHERE placement_id = (SELECT min(placement_id) FROM recall)",
        ("waiting",),
    ),
    "an outbox that is not empty": Wrong(
        "UPDATE outbox SET sent_at = NULL WHERE outbox_id = (SELECT min(outbox_id) FROM outbox)",
        ("waiting",),
    ),
    "a partition not read to its end": Wrong(
        "UPDATE stream_position SET position = position - 1 WHERE topic = 'billing.payments' AND partition = 0",
        ("position",),
    ),
    "a stream that stands": Wrong(
        "UPDATE stream SET stopped_reason = 'TOPIC_MISSING' WHERE topic = 'billing.payments'",
        ("stopped",),
    ),
}


@pytest.fixture(scope="module")
def run(ground: Ground) -> Topics:
    """A run in which nothing goes wrong, and what its topics hold."""
    feed = Feed(SEED, prefix="calm", today=datetime.now(UTC))
    for role in ("ingest", "dispatch", "sweep"):
        ground.start(role)
    with Feeder(ground.kafka.bootstrap_servers, feed, per_second=2_000) as feeder:
        feeder.wait_for(RECORDS)
    ground.wait_until_done()
    return checker.read_topics(ground.kafka.bootstrap_servers)


@pytest.fixture
def connection(ground: Ground) -> Iterator[psycopg2.extensions.connection]:
    """A transaction that is never committed."""
    with ground.connection() as connected:
        yield connected
        connected.rollback()


def test_nothing_is_found_in_a_good_run(run: Topics, connection: psycopg2.extensions.connection) -> None:
    """What the guard made of the feed is right, and there was something of everything to be right about."""
    assert checker.findings(run, connection) == []

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM ledger), EXISTS (SELECT FROM quarantine), EXISTS (SELECT FROM hold), "
            "EXISTS (SELECT FROM recall), EXISTS (SELECT FROM outbox)"
        )
        assert cursor.fetchone() == (True, True, True, True, True)


@pytest.mark.parametrize("wrong", WRONGS)
def test_each_wrong_in_the_database_is_found(
    wrong: str, run: Topics, connection: psycopg2.extensions.connection
) -> None:
    """One change to the database of a good run, and the findings that follow from it, and no others."""
    with connection.cursor() as cursor:
        cursor.execute(WRONGS[wrong].statement)
        assert cursor.rowcount == 1

    found = checker.findings(run, connection)

    assert WRONGS[wrong].found == tuple(sorted(finding.split(":")[0] for finding in found)), found


def test_a_recall_that_was_not_published_is_found(run: Topics, connection: psycopg2.extensions.connection) -> None:
    """A recall of the database that is on no topic."""
    missing = a_recall(run)
    wire = replace(run, recalls=[one for one in run.recalls if one.key != missing.key])

    assert [f"unpublished: the recall of {(missing.key or b'').decode()} is not on guard.recalls"] == (
        checker.findings(wire, connection)
    )


def test_a_recall_may_be_repeated_and_not_reworded(run: Topics, connection: psycopg2.extensions.connection) -> None:
    """The same bytes twice are right, other bytes under the same id are not."""
    once = a_recall(run)
    assert checker.findings(replace(run, recalls=[*run.recalls, once]), connection) == []

    reworded = replace(once, value=(once.value or b"") + b" ")

    assert [f"reworded: the recall of {(once.key or b'').decode()} is on guard.recalls in 2 wordings"] == (
        checker.findings(replace(run, recalls=[*run.recalls, reworded]), connection)
    )


def test_a_bad_record_that_was_not_shown_is_found(run: Topics, connection: psycopg2.extensions.connection) -> None:
    """A record of the quarantine that is not on its topic."""
    found = checker.findings(replace(run, quarantine=run.quarantine[1:]), connection)

    assert len(found) == 1
    assert re.match(r"unshown: the bad record .* is not on guard\.quarantine as it came", found[0])


def test_the_checker_shares_no_code_with_the_product() -> None:
    """It imports nothing of ours, so that it can't share our mistakes."""
    tree = ast.parse(Path(checker.__file__).read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported = {name.partition(".")[0] for name in names}

    assert not imported & {"consumers", "domain", "infra", "tests", "bench"}
    assert {"kafka", "psycopg2"} <= imported


def a_recall(run: Topics) -> Record:
    """A record that recalls a placement."""
    return next(one for one in run.recalls if b"guard.recall.requested.v1" in (one.value or b""))
