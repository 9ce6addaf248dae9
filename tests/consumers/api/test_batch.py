"""Many questions in one call: answered in order while they come, whatever their lines, at any length."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import httpx2
import psutil  # type: ignore[import-untyped] # It comes with the embedded PostgreSQL, without types.
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from consumers.barrier import Barrier
from consumers.clear import Asked, Clear, Confirmed, Confirming, Refused, Void
from consumers.parts import CODEC
from domain.access import Scope
from infra.http.bodies import _Splitter
from infra.postgres.api_keys import ApiKeys
from infra.postgres.clearances import Given
from infra.postgres.database import Database
from infra.postgres.ledger import Ledger
from infra.wire.outgoing import Clearance
from tests.builders import ACCOUNT, day
from tests.conftest import Arrive
from tests.inbound import until
from tests.parts import Parts
from tests.records import referral
from tests.serving import Json, Served, Ways, as_published, ndjson, problem, running, serving

PATH = "/v1/clearances/batch"
DEADLINE_SECONDS = 30

KEPT = "SELECT count(*) FROM clearance"


def question(account_id: str = ACCOUNT) -> Json:
    """A question of one account."""
    return {"account_id": account_id, "debt_id": "d-1", "agency_id": "agency-1"}


def answers(answer: httpx2.Response) -> list[Json]:
    """The lines of an answer."""
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def named(values: Iterable[Json]) -> list[str]:
    """Each line by its account, or by the name of its problem."""
    return [one.get("account_id") or one["type"].removeprefix("urn:handoff-guard:problem:") for one in values]


class Call:
    """A batch whose questions are sent while its answers are read, as the page on the API shows it."""

    def __init__(self, url: str, key: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=DEADLINE_SECONDS)
        self._connection.putrequest("POST", PATH)
        for name, value in (("Authorization", f"Bearer {key}"), ("Transfer-Encoding", "chunked")):
            self._connection.putheader(name, value)
        self._connection.endheaders()
        self._answer: http.client.HTTPResponse | None = None

    def send(self, part: bytes) -> None:
        """A part of the questions."""
        self._connection.send(b"%x\r\n%b\r\n" % (len(part), part))

    def end(self) -> None:
        """No more questions."""
        self._connection.send(b"0\r\n\r\n")

    def line(self) -> Json | None:
        """The next answer; None where there is none any more."""
        self._answer = self._answer or self._connection.getresponse()
        line = self._answer.readline()
        return json.loads(line) if line else None

    def close(self) -> None:
        """Go away."""
        if self._answer is not None:
            self._answer.close()
        self._connection.close()


@contextmanager
def calling(served: Served) -> Iterator[Call]:
    """A call that is closed afterwards."""
    with closing(Call(served.url, served.key())) as call:
        yield call


class TestSplitter:
    """How parts of a body become lines."""

    @given(
        st.lists(st.text("ab \r\t", max_size=12)),
        st.lists(st.integers(0, 60), max_size=8),
        st.booleans(),
        st.integers(1, 8),
    )
    def test_the_lines_are_the_same_however_they_are_cut(
        self, lines: list[str], cuts: list[int], ended: bool, limit: int
    ) -> None:
        """And those that are too long are told as such, wherever a part ends in them."""
        body = "\n".join(lines).encode() + (b"\n" if ended else b"")
        places = sorted({min(cut, len(body)) for cut in cuts} | {0, len(body)})
        parts = [body[start:end] for start, end in pairwise(places)]

        splitter = _Splitter(limit)
        found = [line for part in parts for line in splitter.feed(part)] + splitter.end()

        whole = [None if len(line) > limit else line.strip() for line in body.split(b"\n")]
        assert found == [line for line in whole if line != b""]

    def test_nothing_is_kept_of_a_line_that_is_too_long(self) -> None:
        """However long it is, it takes no more room than one of the limit."""
        splitter = _Splitter(1_000)

        for _ in range(100):
            assert splitter.feed(b"x" * 999) == []
            assert len(splitter._rest) <= 1_000
        assert splitter.feed(b"\nnext\n") == [None, b"next"]


@pytest.mark.parts
class TestLines:
    """What becomes of each line."""

    def test_answers_stand_in_the_order_of_the_questions(self, arrive: Arrive, caller: httpx2.Client) -> None:
        """Each as published, and kept like any other."""
        ids = [f"a-{number}" for number in range(1_200)]
        arrive(*(referral(account_id=account_id) for account_id in ids[::2]), now=day(2))

        told = answers(caller.post(PATH, content=ndjson([question(account_id) for account_id in ids])))

        assert named(told) == ids
        assert [one["decision"] for one in told] == ["clear", "refuse"] * 600
        as_published(Clearance, told[0])
        as_published(Clearance, told[1])
        kept = caller.get(f"/v1/clearances/{told[0]['clearance_id']}").json()
        assert {name: kept[name] for name in told[0]} == told[0]

    def test_a_bad_line_is_answered_in_its_place(self, parts: Parts, database: Database, caught_up: None) -> None:
        """The others go on; empty lines get none, and the last needs no end."""
        good = json.dumps(question()).encode()
        lines = [
            b"",
            good,
            b"  ",
            b"nonsense",
            b"[" * 900 + b"]" * 900,
            good + b"\r",
            json.dumps({**question(), "referral": {"amount": "850"}}).encode(),
            b"x" * 2_000,
            b'{"account_id":"a","debt_id":"d","agency_id":"g","\\ud800":1}',
            b"\xff",
            good,
        ]
        with serving(parts, database, Ways().limited(body_bytes=1_999)) as served:
            told = answers(served.caller().post(PATH, content=b"\n".join(lines)))

        expected = [ACCOUNT, "invalid", "invalid", ACCOUNT, "invalid", "too-large", "invalid", "invalid", ACCOUNT]
        assert named(told) == expected
        assert "referral.amount" in told[4]["detail"]
        assert [one["status"] for one in told if "status" in one] == [422, 422, 422, 413, 422, 422]

    def test_an_empty_batch_has_no_answers(self, caller: httpx2.Client) -> None:
        """Nothing asked, nothing told."""
        assert answers(caller.post(PATH, content=b"")) == []
        assert answers(caller.post(PATH, content=b"\n \n\n")) == []

    def test_more_questions_than_are_allowed(self, parts: Parts, database: Database, caught_up: None) -> None:
        """Those that are get their answers, and then a problem says where to go on."""
        with serving(parts, database, Ways().limited(batch_questions=5, at_once=2)) as served:
            told = answers(served.caller().post(PATH, content=ndjson([question()] * 9)))
            just = answers(served.caller().post(PATH, content=ndjson([question()] * 5)))

        assert named(told) == [ACCOUNT] * 5 + ["too-large"]
        assert "5 questions" in told[-1]["detail"]
        assert named(just) == [ACCOUNT] * 5

    def test_where_one_account_is_locked_the_others_are_answered(
        self, arrive: Arrive, served: Served, database: Database
    ) -> None:
        """That one is told that nothing could be said now, in its place."""
        ids = [f"a-{number}" for number in range(40)]
        arrive(*(referral(account_id=account_id) for account_id in ids), now=day(2))

        with Ledger(database, CODEC, "").batch() as batch:
            batch.lock(["a-7"])
            told = answers(served.caller().post(PATH, content=ndjson([question(one) for one in ids])))
            alone = served.caller().post("/v1/clearances", json=question("a-7"))

        assert named(told) == [one if one != "a-7" else "unavailable" for one in ids]
        assert problem(alone) == (503, "unavailable")
        assert alone.headers["retry-after"] == "5"

    def test_a_fault_of_ours_is_that_of_one_question(
        self, arrive: Arrive, parts: Parts, database: Database, caught_up: None, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The others are answered; the log says where it was, and nothing of what was asked."""
        with serving(parts, database, Ways(clear=Faulty)) as served:
            caller = served.caller()
            told = answers(caller.post(PATH, content=ndjson([question(one) for one in ("a-1", Faulty.AT, "a-2")])))
            alone = caller.post("/v1/clearances", json=question(Faulty.AT))

        assert named(told) == ["a-1", "fault", "a-2"]
        assert problem(alone) == (500, "fault")
        said = capfd.readouterr().err
        assert '"event": "questions.failed"' in said
        assert '"error": "ValueError", "at": "ask_all, line ' in said
        assert Faulty.AT not in said + alone.text
        assert "Traceback" not in said

    def test_a_set_crosses_the_barrier_once(self, parts: Parts, database: Database, caught_up: None) -> None:
        """However many questions are in it."""
        crossed = Counted()
        with serving(parts, database, Ways(clear=crossed.put_into).limited(at_once=100)) as served:
            told = answers(served.caller().post(PATH, content=ndjson([question()] * 250)))

        assert len(told) == 250
        assert crossed.times == 3


class Faulty(Clear):
    """Has a fault of its own with one account."""

    AT = "S3CR3T-account"

    def __init__(self, real: Clear) -> None:
        self._real = real

    def ask_all(self, questions: Sequence[Asked]) -> list[Given | Refused]:
        """As always, but for that account."""
        if any(one.about.account_id == self.AT for one in questions):
            raise ValueError(f"something about {self.AT}")
        return self._real.ask_all(questions)

    def confirm_all(self, wanted: Sequence[Confirming]) -> list[Confirmed | Void | None]:
        """As always."""
        return self._real.confirm_all(wanted)


class Counted(Barrier):
    """A barrier that counts how often it is crossed."""

    def __init__(self) -> None:
        self.times = 0

    def put_into(self, clear: Clear) -> Clear:
        """Stand in front of the one that is there."""
        self._real, clear._barrier = clear._barrier, self
        return clear

    def cross(self) -> None:
        """As always."""
        self.times += 1
        self._real.cross()


@pytest.mark.parts
class TestWhileItComes:
    """The answers come while the questions still do."""

    def test_an_answer_comes_while_the_call_is_open(self, served: Served) -> None:
        """Each is there before the next question is sent; a line may be cut anywhere."""
        with calling(served) as call:
            for account_id in ("a-1", "a-2", "a-3"):
                line = json.dumps(question(account_id)).encode() + b"\n"
                call.send(line[:7])
                call.send(line[7:])
                told = call.line()
                assert told is not None
                assert told["account_id"] == account_id
            call.send(json.dumps(question("a-4")).encode())
            call.end()
            last = call.line()
            assert last is not None
            assert (last["account_id"], call.line()) == ("a-4", None)

    def test_a_client_that_goes_away_ends_the_work(self, served: Served, database: Database) -> None:
        """What it had sent may be answered still; then nothing more is asked for it, and others are served."""
        with calling(served) as call:
            sender = _sending(call, (ndjson([question()] * 100) for _ in range(1_000)))
            assert [call.line() is not None for _ in range(100)] == [True] * 100
        sender.join(DEADLINE_SECONDS)

        assert until(lambda: _more_in_a_while(database) == 0)
        assert 100 <= _count(database) < 50_000
        assert served.caller().post("/v1/clearances", json=question()).status_code == 201

    def test_who_does_not_read_is_not_read_either(self, served: Served, database: Database) -> None:
        """Some sets of answers wait, and no more questions are taken until they are fetched."""
        with calling(served) as call:
            sender = _sending(call, (ndjson([question()] * 100) for _ in range(1_000)))
            assert until(lambda: _count(database) > 0)
            assert until(lambda: _more_in_a_while(database) == 0)
            stalled = _count(database)
            assert stalled < 50_000
            assert [call.line() is not None for _ in range(stalled)] == [True] * stalled
            assert until(lambda: _count(database) > stalled)
        sender.join(DEADLINE_SECONDS)

    def test_the_memory_of_the_process_does_not_grow_with_the_batch(
        self, parts: Parts, database_url: str, database: Database, caught_up: None, tmp_path: Path
    ) -> None:
        """A batch of a night takes what a small one takes: some sets of lines and of answers.

        The answers of this one have 40 MB and its lines 12 MB, so who held either would be far beyond the bound;
        what stays within it is what the interpreter does not give back. One question in twenty is right, so that
        the test is short: the others are read and answered all the same.
        """
        lines, warm, bound_bytes = 200_000, 40_000, 8_000_000
        parts_of_it = (
            ndjson([question(f"a-{n}-{m}") | ({"x": 1} if m % 20 else {}) for m in range(500)])
            for n in range(lines // 500)
        )
        with running(parts, database_url, tmp_path, {"GUARD_LOG_LEVEL": "WARNING"}) as api:
            process = psutil.Process(api.process.pid)
            with closing(Call(api.url, ApiKeys(database).create("night", {Scope.ASK}, by="tests")[1])) as call:
                sender = _sending(call, parts_of_it)
                sizes = []
                for number in range(lines):
                    assert call.line() is not None
                    if number >= warm and number % 5_000 == 0:
                        sizes.append(process.memory_info().rss)
                assert call.line() is None
            sender.join(DEADLINE_SECONDS)

        assert _count(database) == lines // 20
        assert max(sizes) - sizes[0] < bound_bytes


def _sending(call: Call, parts: Iterable[bytes]) -> threading.Thread:
    """Send these parts from a thread of its own, as far as anybody takes them."""

    def send() -> None:
        with suppress(OSError):  # The test goes away.
            for part in parts:
                call.send(part)
            call.end()

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def _more_in_a_while(database: Database) -> int:
    before = _count(database)
    threading.Event().wait(0.3)
    return _count(database) - before


def _count(database: Database) -> int:
    with database.transaction() as connection:
        return int(connection.execute(sa.text(KEPT)).scalar_one())
