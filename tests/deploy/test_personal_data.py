"""Marked personal data goes in everywhere, and comes out in no log, metric, trace or alert.

What counts as personal data is written in docs/runbook.md, under "What no line says". The four roles run as
processes on real parts, at the level DEBUG, with tracing on; each way in is fed with marks, right and wrong; and
then everything that the guard shows to whoever runs it is searched for each of them. The ids that are shown are
searched for in the same way, and must be found.

An alert has nothing in it but labels of metrics, so what is in no metric is in no alert. The `source` of a
producer's events is a label of one metric on purpose, twenty a topic: it names a system, and by it one that has
fallen silent is found. So it is looked for among what is shown, and must be in no log and no trace.
"""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import psycopg2
import pytest

from consumers.agency.certificate import AUTHORITY, self_made
from domain.access import Scope
from domain.events import RawRecord
from domain.recall import recall_id_of
from infra.postgres.api_keys import ApiKeys
from infra.postgres.database import Database
from infra.wire.kinds import BY_TYPE
from tests import inbound, providers
from tests.collector import Collector, collecting
from tests.conftest import fresh_database_url
from tests.faults.worker import wait_until
from tests.garbled import garbled
from tests.house import ROLES, House, Json, house
from tests.infra.channels.https_agency import Asked, Behave, answer, https_agency
from tests.marked import Customer, Marks, lodged, paid, sent, told, whatever_else
from tests.marked_calls import Callers, Visitors, say
from tests.parts import Parts
from tests.providers import providing

pytestmark = pytest.mark.parts

STABLE = {"event", "level", "role", "timestamp"}
"""The keys of every line."""

POLICY = """
[notices]
debt_reminders = 0
days_since_last_reminder = 0

[customer]
protected_marks = ["{mark}"]

[recall]
contact_grace_minutes = 0
"""

AGENCIES = """
[agency.{webhook}]
name = "North"
channel = "webhook"
callback_secrets = ["file:{secret}"]
sources = ["urn:agency:{webhook}"]
escalation_contact = "{contact}"
acknowledge_within_minutes = 0.02
escalate_after_minutes = 0.02

[agency.{webhook}.webhook]
url = "{url}"
secrets = ["file:{secret}"]
private_hosts = ["127.0.0.1"]
ca_file = "{ca_file}"
timeout_seconds = 5

[agency.{kafka}]
escalation_contact = "{contact}"
acknowledge_within_minutes = 0.02
escalate_after_minutes = 0.02

[agency.{file}]
channel = "file"
escalation_contact = "{contact}"

[agency.{file}.file]
folder = "{folder}"
every_seconds = 0.2
"""

WANTED = {
    "agencies.refused", "agency.refused", "callback.refused", "clearance.decided", "clearance.used", "console.act",
    "console.provider_is_away", "console.sign_in_refused", "contact.after_recall", "delivery.failed",
    "event.quarantined", "ingest.batch_failed", "ingest.event_failed", "quarantine.dropped", "quarantine.still_bad",
    "question.failed", "recall.acknowledged", "recall.escalated", "recall.ordered", "recall.overdue",
    "recall.requested", "recall.resent", "recall.sent", "recall.taken_over",
}  # fmt: skip
"""Lines that what is fed must bring about, or the test would look where nothing is said."""

WAYS = ("webhook", "kafka", "file")
"""An agency each, named by its way."""

SECRET = b"a secret of the tests"

SAID = "customer.dispute.opened.v1"
"""What is said while the database is in trouble."""

REFUSED = "refused-by-the-database-"
"""What an event's id begins with that the database does not take."""

OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was fed, and all that was shown; `kept` is what the database holds."""

    marks: Marks
    logs: dict[str, str]
    metrics: dict[str, str]
    traces: str
    problems: list[str]
    kept: str

    def lines(self) -> Iterator[tuple[str, Json]]:
        """Every line of every log, with the role whose it is."""
        for name, text in self.logs.items():
            for line in text.splitlines():
                yield name.partition("-")[0], json.loads(line)


@dataclass(slots=True)
class Scene:
    """A guard at work, its provider, the folder of the agency by files, and a customer of each agency."""

    house: House
    marks: Marks
    provider: providers.Provider
    folder: Path
    customers: dict[str, Customer]
    callers: Callers

    def recall_id(self, way: str) -> str:
        """Of the recall of the customer whom the agency by this way has."""
        customer = self.customers[way]
        return recall_id_of(customer.account_id, customer.placement_id)

    def produce(self, *records: RawRecord) -> None:
        """What systems write to their topics, until all of it is in the state."""
        inbound.publish(self.house.bootstrap_servers, *records)
        self.catch_up()

    def catch_up(self) -> None:
        """Wait until an account is told with all that was acknowledged before."""
        path = f"/v1/accounts/{self.customers['kafka'].account_id}"

        def is_told_whole() -> bool:
            answered = self.callers.call("GET", path)
            return answered.status_code == 200 and not answered.json()["behind"]

        wait_until("all that was sent is read", is_told_whole)

    def wait_for(self, event: str, *, lines: int = 1, **said: object) -> None:
        """Wait until so many lines of an event say this."""

        def is_there() -> bool:
            return sum(said.items() <= line.items() for line in self.house.logged(event)) >= lines

        wait_until(f"{lines} lines {event} {said}", is_there)


@pytest.fixture(scope="module")
def seen(parts: Parts, template: str, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A guard is fed by every way that it has, and ended."""
    marks, folder = Marks(), tmp_path_factory.mktemp("personal")
    with ExitStack() as stack:
        url = stack.enter_context(fresh_database_url(parts, template))
        collector = stack.enter_context(collecting())
        running = stack.enter_context(house(parts, url, folder / "logs", {"TRACING_ENDPOINT": collector.url}))
        scene = _scene(stack, running, marks, folder)
        running.start(*ROLES)
        running.wait_until_ready(*ROLES)
        for feed in (_lodge_and_pay, _say_everything, _leave_files, _call, _visit, _trouble, _misprint):
            feed(scene)
        scene.catch_up()
        shown, kept = {role: _shown(running, role) for role in ROLES}, _kept(running)
        running.stop()
        return Seen(marks, running.logs(), shown, _as_text(collector), scene.callers.problems, kept)


def _scene(stack: ExitStack, running: House, marks: Marks, folder: Path) -> Scene:
    """All that is there before the roles start."""
    agencies = {way: marks.shown_id(way) for way in WAYS}
    provider = stack.enter_context(providing())
    running.settings = {
        **running.settings,
        "LOG_LEVEL": "DEBUG",
        "AGENCIES_FILE": str(folder / "agencies.toml"),
        "POLICY_FILE": str(folder / "policy.toml"),
        "SWEEP_SECONDS": "1",
        "QUARANTINE_RUN_MAX_EVENTS": "1000000",
        "QUARANTINE_SHARE_MAX_PERCENT": "100",
        "CONSOLE_URL": running.url,
        "CONSOLE_OIDC_ISSUER": provider.issuer,
        "CONSOLE_OIDC_CLIENT_ID": providers.CLIENT_ID,
        "CONSOLE_OIDC_SCOPES": "support=read;oncall=read,operate",
    }
    drop = folder / "drop"
    (drop / "answers").mkdir(parents=True)
    (folder / "secret").write_bytes(SECRET)
    (folder / "policy.toml").write_text(POLICY.format(mark=marks.id("a protected mark")))
    address, ca_file = _agency(stack, marks, folder / "certificate")
    entries = AGENCIES.format(
        **agencies, contact=marks.text("the contact of an agency"), secret=folder / "secret", url=address,
        ca_file=ca_file, folder=drop,
    )  # fmt: skip
    (folder / "agencies.toml").write_text(entries)
    source = marks.shown_id("source")
    customers = {way: Customer.new(marks, agency_id=one, source=source) for way, one in agencies.items()}
    with closing(Database(running.database_url, application="tests")) as database:
        made = ApiKeys(database).create(marks.text("a key's name"), set(Scope), by=marks.text("a key's maker"))
    client = stack.enter_context(httpx2.Client(base_url=running.url, timeout=60))
    return Scene(running, marks, provider, drop, customers, Callers(client, made[1], marks))


def _agency(stack: ExitStack, marks: Marks, folder: Path) -> tuple[str, str]:
    """The address of an agency that answers by webhook, and the file of who vouches for it.

    It answers what is no HTTP, then refusals, and at last that it has what it was sent; with marks in all of it.
    """

    def said(status: int) -> Behave:
        headers = f"x-customer: {marks.text('a header of an answer')}\r\nlocation: /{marks.id('a location')}\r\n"
        return answer(status, headers, marks.text("the body of an answer").encode())

    def no_http(line: ssl.SSLSocket, _asked: Asked) -> bool:
        line.sendall(f"{marks.text('an answer that is no HTTP')}\r\n\r\n".encode())
        return False

    behaviours = iter([no_http, said(503), said(400), said(302)])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_made(folder, "127.0.0.1", now=datetime.now(UTC)))

    def behave(line: ssl.SSLSocket, asked: Asked) -> bool:
        return next(behaviours, said(200))(line, asked)

    listening = stack.enter_context(https_agency(context, behave))
    return f"https://127.0.0.1:{listening.port}/recalls", str(folder / AUTHORITY)


def _lodge_and_pay(scene: Scene) -> None:
    """A debt with each agency, paid; each is recalled, the recall sent, and in the end a matter for people."""
    for customer in scene.customers.values():
        records = lodged(scene.marks, customer)
        inbound.publish(scene.house.bootstrap_servers, *records, paid(scene.marks, customer))
    for way in WAYS:
        scene.wait_for("recall.sent", recall_id=scene.recall_id(way))
    scene.wait_for("recall.escalated", recall_id=scene.recall_id("kafka"))


def _say_everything(scene: Scene) -> None:
    """Every event by Kafka, right and wrong."""
    for way, customer in scene.customers.items():
        scene.produce(*whatever_else(scene.marks, customer, scene.recall_id(way)))
    scene.produce(*garbled(scene.marks, scene.customers["kafka"]))


def _leave_files(scene: Scene) -> None:
    """What an agency leaves in its folder, under names that it chose."""
    marks, customer = scene.marks, scene.customers["file"]
    right = json.loads(told("agency.contact.made.v1", marks, customer).value or b"")
    right["source"] = f"urn:agency:{customer.agency_id}"
    wrong = json.dumps({**right, "data": marks.text("data in a file")})
    row = f"rejected,,{customer.account_id},{customer.placement_id},{scene.recall_id('file')},2026-01-01T00:00:00Z"
    table = [
        "type,id,account_id,placement_id,recall_id,at,reason,channel",
        f'{row},"{marks.text("a reason in a file")}",',
        f"{row},{marks.text('a cell too many')},,,,",
    ]
    files = {"ndjson": [json.dumps(right), wrong, marks.text("a line that is no event")], "csv": table}
    for ending, lines in files.items():
        file = scene.folder / "answers" / f"{marks.id('the name of a file')}.{ending}"
        file.with_suffix(".part").write_text("\n".join(lines))
        file.with_suffix(".part").rename(file)
    scene.wait_for("answers.taken", lines=len(files), agency_id=customer.agency_id)


def _call(scene: Scene) -> None:
    """Every call, by who may make it and by who may not."""
    callers, customer = scene.callers, scene.customers["webhook"]
    callers.place(Customer.new(scene.marks, agency_id=customer.agency_id, source=customer.source))
    callers.tell(scene.customers["kafka"])
    callers.order(customer, scene.recall_id("webhook"))
    callers.read(customer)
    callers.call_back(customer, scene.recall_id("webhook"), SECRET)
    for port in scene.house.metrics_ports.values():
        said = scene.marks.text("a call of a role's own port").replace(" ", "+")
        for method in ("GET", "POST", scene.marks.id("a method")):
            call = f"{method} /{said}?{said} HTTP/1.1\r\nHost: {said}\r\n\r\n"
            say(f"http://127.0.0.1:{port}", call.encode())


def _visit(scene: Scene) -> None:
    """Every page and form of the console, by who has a key, by who comes from the provider, and by nobody."""
    visitors, customer = Visitors(scene.house.url, scene.marks), scene.customers["webhook"]
    recall_id = scene.recall_id("webhook")
    signed_in = (
        visitors.sign_in_by_key(scene.callers.key),
        visitors.sign_in_by_provider(scene.provider, time.time()),
    )
    for browser in signed_in:
        with closing(browser):
            visitors.look(browser, customer, recall_id)
            visitors.order(browser, customer, recall_id)
    with closing(visitors.browser()) as nobody:
        visitors.look(nobody, customer, recall_id)


def _trouble(scene: Scene) -> None:
    """The database refuses a row and shows it, has an account locked, and ends every connection at work."""
    marks, customer, running = scene.marks, scene.customers["kafka"], scene.house

    def said(**changed: str) -> Json:
        event: Json = json.loads(told(SAID, marks, customer).value or b"")
        return {**event, **changed}

    def refused() -> Json:
        return said(id=f"{REFUSED}{marks.id(f'{SAID} that the database refuses')}")

    running.rows(f"ALTER TABLE ledger ADD CONSTRAINT refused CHECK (event_id NOT LIKE '{REFUSED}%')")
    scene.produce(told(SAID, marks, customer), sent(customer, BY_TYPE[SAID].topic, refused()))
    assert scene.callers.call("POST", "/v1/events", refused()).status_code == 500
    scene.wait_for("ingest.event_failed")
    with closing(psycopg2.connect(running.database_url)) as other, other.cursor() as cursor:
        cursor.execute("SELECT FROM account WHERE account_id = %s FOR UPDATE", [customer.account_id])
        inbound.publish(running.bootstrap_servers, told(SAID, marks, customer))
        assert scene.callers.call("POST", "/v1/events", said()).status_code == 503
        running.rows(f"SELECT pg_cancel_backend(pid) {OTHERS} AND state = 'active'")
    running.rows(f"SELECT pg_terminate_backend(pid) {OTHERS}")
    scene.produce(told(SAID, marks, customer))


def _misprint(scene: Scene) -> None:
    """The file of agencies is changed for the worse, twice, and mended."""
    file = Path(scene.house.settings["AGENCIES_FILE"])
    right, contact = file.read_text(), scene.marks.text("a contact that is too long")
    for lines, wrong in enumerate((f'name = "{contact * 9}"', f'name = "{contact}'), start=len(("dispatch",))):
        file.write_text(right.replace('name = "North"', wrong))
        scene.wait_for("agencies.refused", lines=lines, role="dispatch")
    file.write_text(right)
    scene.wait_for("agencies.read", role="dispatch")


def _shown(running: House, role: str) -> str:
    """All that a role answers on its ports."""
    ports = {running.metrics_ports[role], running.api_port if role == "api" else running.metrics_ports[role]}
    paths = ("metrics", "livez", "readyz")
    return "".join(httpx2.get(f"http://127.0.0.1:{port}/{path}").text for port in sorted(ports) for path in paths)


def _kept(running: House) -> str:
    """All that is in the database, as text."""
    names = running.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = (row for (name,) in names for row in running.rows(f'SELECT t::text FROM "{name}" t'))  # noqa: S608 # Names of ours.
    return re.sub(
        r"\\x((?:[0-9a-f]{2})+)",
        lambda one: bytes.fromhex(one[1]).decode("latin-1"),
        "\n".join(str(row[0]) for row in rows),
    )


def _as_text(collector: Collector) -> str:
    """All that the collector was sent, byte for byte."""
    return b"".join(collector.bodies).decode("latin-1")


def test_no_mark_is_in_any_log(seen: Seen) -> None:
    """Whatever was sent, by whomever, and whatever went wrong with it."""
    found = {name: sorted(seen.marks.found_in(text)) for name, text in seen.logs.items()}

    assert {name: marks for name, marks in found.items() if marks} == {}


def test_no_mark_is_in_any_metric_or_probe(seen: Seen) -> None:
    """Of any role; so none is in an alert either."""
    found = {role: sorted(seen.marks.found_in(text)) for role, text in seen.metrics.items()}

    assert {role: marks for role, marks in found.items() if marks} == {}


def test_no_mark_is_in_any_trace(seen: Seen) -> None:
    """In no byte that the collector was sent."""
    assert seen.marks.found_in(seen.traces) == set()


def test_no_problem_repeats_what_was_sent(seen: Seen) -> None:
    """As the page on the API promises of each."""
    assert len(seen.problems) > 100
    assert seen.marks.found_in("\n".join(seen.problems)) == set()


def test_every_line_is_one_object_with_the_stable_keys(seen: Seen) -> None:
    """Of the role whose log it is, on standard output and standard error together."""
    lines = list(seen.lines())

    assert {role for role, _ in lines} == set(ROLES)
    assert {line["event"] for _, line in lines} >= WANTED
    assert [line for role, line in lines if not line.keys() >= STABLE or line["role"] != role] == []


def test_what_may_be_shown_is_found_by_the_same_search(seen: Seen) -> None:
    """Ids of placements and agencies, and in a metric the producer: so what must not be there would be found."""
    assert seen.marks.shown_in("".join(seen.logs.values())) == {"placement_id", *WAYS}
    assert seen.marks.shown_in("".join(seen.metrics.values())) == {"source", *WAYS}
    assert seen.marks.shown_in(seen.traces) == {"placement_id", *WAYS}


def test_what_was_fed_came_in(seen: Seen) -> None:
    """What is of an event is in the database, where it belongs: as a fact, or as bytes in quarantine."""
    events = {what for what in seen.marks.fed.values() if what.partition(" ")[0] in BY_TYPE}

    assert events - seen.marks.found_in(seen.kept) == set()
