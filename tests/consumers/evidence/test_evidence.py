"""Evidence packs on a real database: what is in one, what is left out; the same state gives the same bytes."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from consumers.confirmation_page import Language
from consumers.evidence import pack, verify
from consumers.evidence.maker import NOT_ASKED, Made, ReadBack, Request, pack_of
from consumers.parts import CODEC
from consumers.proving import Looked, NotFound, Proving
from domain.agency import Agency
from domain.events import Origin, RawRecord
from domain.recall import recall_id_of
from infra.kafka.errors import BrokerUnavailableError
from infra.policy_file import read_policy
from infra.postgres.database import Database
from infra.postgres.evidence import Proofs
from tests.builders import ACCOUNT, LENIENT, day
from tests.conftest import Arrive
from tests.records import payment, placement, record, referral

pytestmark = pytest.mark.parts

REQUEST = Request(by="tester", creditor="Example Telecom", language=Language.EN)
GONE = "the log does not have it any more"


def acknowledgement(placement_id: str = "l-1") -> RawRecord:
    """The agency has stopped, on day 5."""
    return record(
        "agency.recall.acknowledged.v1",
        at=day(5),
        event_id=f"ack-{placement_id}",
        recall_id=recall_id_of(ACCOUNT, placement_id),
        placement_id=placement_id,
        acknowledged_at=day(5).isoformat(),
    )


def gone(wanted: object, streams: object) -> dict[Origin, RawRecord | str]:
    """A log in which nothing is any more."""
    assert isinstance(wanted, list)
    return dict.fromkeys(wanted, GONE)


@pytest.fixture
def proving(database: Database) -> Proving:
    """Who looks placements up in the fresh database, on day 9, without a broker."""
    agencies = {"agency-1": Agency("agency-1", name="North Collections")}
    return Proving(
        barrier=None, proofs=Proofs(database, CODEC), policy=LENIENT, agencies=lambda: agencies, now=lambda: day(9)
    )


def made(
    proving: Proving, placement_id: str = "l-1", *, read_back: ReadBack = gone, policy_file: Path | None = None
) -> Made:
    """The pack of a placement, with all that was acknowledged."""
    looked = proving.look(placement_id, None)
    assert isinstance(looked, Looked), looked
    policy = read_policy(policy_file) if policy_file else LENIENT
    return pack_of(replace(looked, behind=None), policy, policy_file, read_back, REQUEST)


def files(made_pack: Made) -> dict[str, bytes]:
    """What is in a pack, by name."""
    with zipfile.ZipFile(io.BytesIO(made_pack.packed.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def index(content: Mapping[str, bytes], name: str) -> list[dict[str, object]]:
    """An index of a pack."""
    rows = json.loads(content[name])
    assert isinstance(rows, list)
    return rows


class TestWhatIsInIt:
    """The files of a placement that was paid, recalled and acknowledged."""

    def test_everything_and_nothing_else(self, arrive: Arrive, proving: Proving, tmp_path: Path) -> None:
        """Each file, one from quarantine among them, and the pack passes its own check."""
        arrive(referral(), placement(), payment(), acknowledgement(), payment("p-9", key="other"))

        content = made(proving)

        assert list(files(content)) == [
            "README.txt",
            "answers/index.json",
            "decisions/index.json",
            "events/0001.bin",
            "events/0002.bin",
            "events/0003.bin",
            "events/0004.bin",
            "events/index.json",
            "manifest.json",
            "messages/0001.bin",
            "messages/index.json",
            "quarantine/0001.bin",
            "quarantine/index.json",
            "state.json",
            "timeline.html",
            "timeline.json",
            "timeline.txt",
            "verify.py",
        ]
        pack.write_new(tmp_path / "pack.zip", content.packed.content)
        assert verify.main([str(tmp_path / "pack.zip"), "--expect", content.packed.sha256]) == 0

    def test_an_event_stands_as_it_came(self, arrive: Arrive, proving: Proving) -> None:
        """Its bytes are its file, and the index has where it came from, with key and headers."""
        given = replace(payment(late=timedelta(days=2)), headers=(("trace", b"\x00\xff"),))
        arrive(referral(), placement(), given)

        content = files(made(proving))
        (row,) = [one for one in index(content, "events/index.json") if one["id"] == "p-1"]

        assert content["events/0003.bin"] == given.value
        del row["sha256"], row["ledger_digest"]
        assert row == {
            "file": "events/0003.bin",
            "bytes": "as received",
            "source": "test",
            "id": "p-1",
            "type": "billing.payment.settled.v1",
            "time": day(4).isoformat(),
            "topic": "billing.payments",
            "partition": 0,
            "offset": 0,
            "received_at": day(6).isoformat(),
            "key": b"a-1".hex(),
            "headers": [["trace", "00ff"]],
        }

    def test_the_timeline_says_what_was_known_when(self, arrive: Arrive, proving: Proving) -> None:
        """The payment came two days late, so until then nobody could know; each line names its file."""
        arrive(referral(), placement())
        arrive(payment(late=timedelta(days=2)), now=day(6))
        arrive(acknowledgement())

        content = files(made(proving))
        *_, paid, answered, recalled = content["timeline.txt"].decode().splitlines()

        assert paid.startswith("06 Nov 2026 09:00:00  08 Nov 2026 09:00:00  100.00 RUB paid, payment p-1")
        assert paid.endswith("[events/0003.bin]")
        assert answered.endswith("the agency acknowledged the recall of placement l-1  [events/0004.bin]")
        assert recalled.startswith(
            "08 Nov 2026 09:00:00                        recall of placement l-1 from agency-1"
        )
        assert recalled.endswith("[messages/0001.bin]")
        assert "North Collections" in content["timeline.html"].decode()
        assert [row["file"] for row in index(content, "answers/index.json")] == ["events/0004.bin"]

    def test_attempts_to_deliver_stand_with_their_bytes(
        self, arrive: Arrive, database: Database, proving: Proving
    ) -> None:
        """What went over the wire and what came back, beside the message; one that died has neither."""
        arrive(referral(), placement(), payment())
        with database.transaction() as connection:
            connection.execute(sa.text(_ATTEMPTS), {"at": day(4), "end": day(4, 10)})

        content = files(made(proving))
        (row,) = index(content, "messages/index.json")

        assert content["messages/0001.attempt-1.request.bin"] == b"POST"
        assert content["messages/0001.attempt-1.response.bin"] == b"503"
        assert row["attempts"] == [
            {
                "attempt": 1,
                "channel": "webhook",
                "began_at": day(4).isoformat(),
                "ended_at": day(4, 10).isoformat(),
                "delivered": False,
                "target": "https://north.example",
                "detail": "status 503",
                "request": {"file": "messages/0001.attempt-1.request.bin"},
                "response": {"file": "messages/0001.attempt-1.response.bin"},
            },
            {
                "attempt": 2,
                "channel": "webhook",
                "began_at": day(4).isoformat(),
                "ended_at": None,
                "delivered": None,
                "target": "",
                "detail": "",
            },
        ]
        assert "by webhook: nobody saw how it ended  [messages/0001.bin]" in content["timeline.txt"].decode()

    def test_a_decision_stands_with_its_policy(
        self, arrive: Arrive, database: Database, proving: Proving, tmp_path: Path
    ) -> None:
        """Its whole answer; whether it was made under the policy in force, whose text is in the pack."""
        policy = tmp_path / "policy.toml"
        policy.write_text('version = "2026-11-01"\n')
        sha256 = read_policy(policy).sha256
        arrive(referral(), placement())
        with database.transaction() as connection:
            for number, under in enumerate([sha256, "other"]):
                answer = {"decision": "clear", "policy": {"version": "v", "sha256": under}}
                names = {"id": f"c-{number}", "at": day(2, number), "answer": json.dumps(answer)}
                connection.execute(sa.text(_DECISION), names)

        content = files(made(proving, policy_file=policy))

        assert content["policy.toml"] == policy.read_bytes()
        rows = index(content, "decisions/index.json")
        assert [(row["file"], row["clearance_id"], row["policy_in_force"]) for row in rows] == [
            ("decisions/0001.json", "c-0", True),
            ("decisions/0002.json", "c-1", False),
        ]
        assert json.loads(content["decisions/0001.json"])["policy"] == {"version": "v", "sha256": sha256}

    def test_the_page_for_the_customer_only_where_it_is_true(self, arrive: Arrive, proving: Proving) -> None:
        """And the manifest says why there is none."""
        arrive(referral(), placement(), payment())
        before = made(proving)
        arrive(acknowledgement())

        assert before.confirmation == "not yet: agency-1 has not acknowledged the recall"
        assert json.loads(files(before)["manifest.json"])["about"]["confirmation"] == before.confirmation
        assert "confirmation.html" not in files(before)
        assert "North Collections" in files(made(proving))["confirmation.html"].decode()


class TestWhatIsLeftOut:
    """Data minimisation."""

    def test_other_debts_and_placements_are_not_in_it(
        self, arrive: Arrive, database: Database, proving: Proving
    ) -> None:
        """Neither their events, nor what was said of them, nor a word of them in the timeline."""
        other = replace(
            referral(debt_id="d-2"), value=(referral(debt_id="d-2").value or b"").replace(b"T09", b"T08")
        )
        arrive(referral(), placement(), other, placement("l-2", debt_id="d-2"))
        arrive(payment(amount=250_00))

        content = files(made(proving))
        everything = b"\n".join(value for name, value in content.items() if name != "verify.py")

        with database.transaction() as connection:
            recalled = connection.execute(sa.text("SELECT placement_id FROM recall ORDER BY 1")).scalars().all()
        assert recalled == ["l-1", "l-2"]
        assert b"l-1" in everything
        assert b"l-2" not in everything
        assert b"d-2" not in everything

    def test_what_protects_a_customer_is_in_it_where_it_is_the_ground(
        self, arrive: Arrive, proving: Proving
    ) -> None:
        """Marks before the placement, which recalled it at once, and marks of later, which did not."""
        first = record(
            "customer.protection.changed.v1",
            at=day(2),
            event_id="m-1",
            marks=["bankrupt"],
            changed_at=day(2).isoformat(),
        )
        later = record(
            "customer.protection.changed.v1",
            at=day(6),
            event_id="m-2",
            marks=["in_hospital"],
            changed_at=day(6).isoformat(),
        )
        arrive(referral(), first, placement())
        arrive(later)

        ids = [row["id"] for row in index(files(made(proving)), "events/index.json")]

        assert "m-1" in ids
        assert "m-2" not in ids


class TestBytesThatWereNotKept:
    """Payments from before the account had a case."""

    def test_they_are_read_back(self, arrive: Arrive, proving: Proving) -> None:
        """Where the log still has the same event; the index says so."""
        arrive(payment("p-0", paid_at=day(-1)))
        arrive(referral(), placement())

        content = files(
            made(proving, read_back=lambda wanted, _: {one: payment("p-0", paid_at=day(-1)) for one in wanted})
        )
        row = index(content, "events/index.json")[0]

        assert (row["file"], row["bytes"]) == ("events/0001.bin", "as received, read back from the log")
        assert content["events/0001.bin"] == payment("p-0", paid_at=day(-1)).value

    @pytest.mark.parametrize(
        ("read_back", "why"),
        [
            (gone, GONE),
            (
                lambda wanted, _: {one: payment("p-0", amount=1) for one in wanted},
                "another event stands in the log where it was",
            ),
            (
                lambda wanted, _: {one: RawRecord(one, b"a-1", b"garbage") for one in wanted},
                "another event stands in the log where it was",
            ),
        ],
        ids=["gone", "another", "garbage"],
    )
    def test_where_they_are_gone_it_says_so(
        self, arrive: Arrive, proving: Proving, read_back: ReadBack, why: str
    ) -> None:
        """The content is there, under a name that does not promise bytes."""
        arrive(payment("p-0", paid_at=day(-1)))
        arrive(referral(), placement())

        content_only = made(proving, read_back=read_back)
        content = files(content_only)
        row = index(content, "events/index.json")[0]

        assert content_only.content_only == 1
        assert (row["file"], row["bytes"], row["why"]) == (
            "events/0001.content.json",
            "content kept, bytes no longer held",
            why,
        )
        kept = json.loads(content["events/0001.content.json"])
        assert (kept["id"], kept["data"]["amount"]) == ("p-0", 100_00)

    def test_without_a_broker_it_says_so(self, arrive: Arrive, proving: Proving) -> None:
        """A pack is made all the same."""

        def away(wanted: object, streams: object) -> dict[Origin, RawRecord | str]:
            raise BrokerUnavailableError("nobody answers")

        arrive(payment("p-0", paid_at=day(-1)))
        arrive(referral(), placement())

        row = index(files(made(proving, read_back=away)), "events/index.json")[0]

        assert row["why"] == "the broker could not be asked: nobody answers"

    def test_what_never_was_in_a_log_is_not_looked_for(
        self, arrive: Arrive, database: Database, proving: Proving
    ) -> None:
        """It came by HTTP."""
        arrive(payment("p-0", paid_at=day(-1)))
        arrive(referral(), placement())
        with database.transaction() as connection:
            connection.execute(sa.text("UPDATE ledger SET origin_topic = 'api' WHERE event_id = 'p-0'"))

        row = index(files(made(proving)), "events/index.json")[0]

        assert row["why"] == "its bytes were not kept, and it did not come from a log"

    def test_too_many_are_not_read_back(
        self, arrive: Arrive, proving: Proving, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An account with more than the limit is told as what it is."""
        monkeypatch.setattr("consumers.evidence.maker.READ_BACK_EVENTS_MAX", 1)
        arrive(payment("p-0", paid_at=day(-1)), payment("p-1", paid_at=day(-2)))
        arrive(referral(), placement())

        rows = index(files(made(proving)), "events/index.json")

        assert [row.get("why") for row in rows] == [NOT_ASKED, NOT_ASKED, None, None]


class TestThePack:
    """The file itself."""

    def test_the_same_state_gives_the_same_bytes(self, arrive: Arrive, proving: Proving) -> None:
        """At the same instant for the same person; and another state another hash."""
        arrive(referral(), placement(), payment())
        first, second = made(proving), made(proving)
        arrive(acknowledgement())

        assert first == second
        assert made(proving).packed.sha256 != first.packed.sha256

    def test_it_is_for_its_owner_alone_and_replaces_nothing(self, tmp_path: Path) -> None:
        """It holds a customer's data, and an older pack may be proof already."""
        pack.write_new(tmp_path / "x.zip", b"first")

        with pytest.raises(FileExistsError):
            pack.write_new(tmp_path / "x.zip", b"second")
        assert (tmp_path / "x.zip").read_bytes() == b"first"
        assert (tmp_path / "x.zip").stat().st_mode & 0o777 == 0o600

    def test_it_has_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In files and in bytes."""
        monkeypatch.setattr(pack, "PACK_MAX_BYTES", 10)

        with pytest.raises(pack.TooLargeError, match="the pack would have 1 files of 11 bytes"):
            pack.packed({"x": b"x" * 11}, {})


def test_a_placement_of_two_accounts_is_asked_about(arrive: Arrive, proving: Proving) -> None:
    """Nobody guesses whose data to hand out."""
    arrive(referral(), placement(), referral(account_id="a-2"), placement(account_id="a-2"))

    assert proving.look("l-1", None) == NotFound("2 accounts have a placement l-1: name one by --account")
    found = proving.look("l-1", "a-2")
    assert isinstance(found, Looked)
    assert found.opened.account_id == "a-2"
    assert isinstance(proving.look("l-1", "a-3"), NotFound)
    assert isinstance(proving.look("l-9", None), NotFound)


_ATTEMPTS = """
INSERT INTO delivery_attempt (account_id, outbox_id, attempt, channel, began_at, ended_at, delivered, target,
                              detail, request, response)
SELECT account_id, outbox_id, 1, 'webhook', CAST(:at AS timestamptz), CAST(:end AS timestamptz), false,
       'https://north.example', 'status 503', CAST('POST' AS bytea), CAST('503' AS bytea)
FROM outbox
UNION ALL SELECT account_id, outbox_id, 2, 'webhook', :at, NULL, NULL, '', '', NULL, NULL FROM outbox"""

_DECISION = """
INSERT INTO clearance (account_id, clearance_id, debt_id, agency_id, decision, outstanding, currency, decided_at,
                       expires_at, asked_by, shadow, answer)
VALUES ('a-1', :id, 'd-1', 'agency-1', 'clear', 10000, 'RUB', :at, :at, 'tester', false, CAST(:answer AS jsonb))"""
