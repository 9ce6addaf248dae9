"""The two stories that the guard exists for, played through `up`: what the console, metrics and alerts show.

Each step says something through Kafka, or waits for what follows, and then looks as people would: at the page Now,
at the account's page, at Prometheus. What is seen is `docs/stories.md`, which this test holds to it: with
GUARD_TEST_STORIES=1 it writes the file anew. Instants and ids that differ from run to run are left out.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from consumers.telecom import Customer
from infra.embedded import Child, free_ports, port_is_free
from tests.drills.prometheus import Prometheus, prometheus
from tests.faults.worker import ROOT, wait_until
from tests.running_up import Running, running_up
from tests.serving import signed_in, told

pytestmark = [pytest.mark.parts, pytest.mark.faults]

PAGE = ROOT / "docs" / "stories.md"
WRITE = "GUARD_TEST_STORIES"

AGENCY = "agency-north"
POLICY = "[recall]\ncontact_grace_minutes = 0\n"

ROLES = 5
NOBODY = "0 paid customers are with a collector"

HEAD = """\
# Two stories

What people see while the guard does its work. Both are played through `handoff-guard up` by a test, which holds
this page to what was seen: the console's sentences, metrics above zero, alerts that fire. Times are left out.
"""

TIMES = re.compile(r"\d{1,2} \w{3} \d{4} \d{2}:\d{2}:\d{2}|(?<=the longest for ).+")
"""Instants and a span, as the console writes them in English."""

METRICS = {
    "recalls open": "sum(max by (agency, state) (guard_recalls_open)) or vector(0)",
    "paid, and the agency not told": "max(guard_oldest_unrecalled_paid_placement_seconds) > bool 0",
    "recalls sent": 'sum(guard_recall_latency_seconds_count{stage="sent"}) or vector(0)',
    "recalls acknowledged": 'sum(guard_recall_latency_seconds_count{stage="acknowledged"}) or vector(0)',
    "contacts after a recall": "sum(guard_contacts_after_recall_total) or vector(0)",
    "answers: hold": 'sum(guard_clearances_total{decision="hold"}) or vector(0)',
    "answers: clear": 'sum(guard_clearances_total{decision="clear"}) or vector(0)',
}
"""What is asked of Prometheus after each step; a figure of a histogram is its count."""


@dataclass
class Play:
    """An `up` with people before it."""

    up: Running
    browser: httpx2.Client
    watch: Prometheus
    agency: Child
    collections: httpx2.Client
    lines: list[str] = field(default_factory=lambda: [HEAD])

    def story(self, title: str, words: str) -> None:
        """Begin a story."""
        self.lines += [f"## {title}", "", words, ""]

    def step(self, title: str, customer: Customer, *, now: str, account: str, metrics: Mapping[str, int]) -> None:
        """Wait until everything shows what this step brings about, and write down what people see."""
        wait_until(f"{title}: {now}", lambda: now in self._page("/console/"), seen=lambda: self._page("/console/"))
        path = f"/console/accounts/{customer.account_id}"
        wait_until(f"{title}: {account}", lambda: account in self._page(path), seen=lambda: self._page(path))
        wait_until(f"{title}: {metrics}", lambda: self._figures().items() >= metrics.items(), seen=self._figures)
        moved = {name: value for name, value in self._figures().items() if value}
        alerts = sorted({one.name for one in self.watch.firing()})
        self.lines += [
            f"### {title}",
            "",
            f"- Now: {self._sentence('/console/')}",
            f"- Account: {self._sentence(path)}",
            f"- To tell the customer: {self._tell(path)}",
            f"- Metrics: {', '.join(f'{name} {value}' for name, value in moved.items()) or 'none above zero'}",
            f"- Alerts: {', '.join(f'`{name}`' for name in alerts) or 'none'}",
            "",
        ]

    def asked(self, customer: Customer) -> str:
        """What collections are answered."""
        question = {
            "account_id": customer.account_id,
            "debt_id": customer.debt_id,
            "agency_id": customer.agency_id,
        }
        answer = self.collections.post("/v1/clearances", json=question).json()
        said = " ".join([answer["decision"], *(one["code"] for one in answer["reasons"])])
        self.lines += [f"Collections ask, and are answered `{said}`.", ""]
        return said

    def _figures(self) -> dict[str, int]:
        return {name: round(self.watch.value(expression) or 0) for name, expression in METRICS.items()}

    def _page(self, path: str) -> str:
        return told(self.browser.get(path).text)

    def _sentence(self, path: str) -> str:
        return self._part(path, r'<p class="verdict[^"]*">(.*?)</p>')

    def _tell(self, path: str) -> str:
        return self._part(path, r'<p id="to-tell"[^>]*>(.*?)</p>')

    def _part(self, path: str, pattern: str) -> str:
        found = re.search(pattern, self.browser.get(path).text, re.DOTALL)
        assert found is not None, path
        return TIMES.sub("…", told(found[1]).replace(" ,", ","))


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """`up` on servers of its own, an agency that confirms and calls on, a browser and a Prometheus."""
    (tmp_path / "policy.toml").write_text(POLICY)
    first = _free_run(ROLES)
    with ExitStack() as stack:
        data = str(tmp_path / "policy.toml")
        up = stack.enter_context(running_up(tmp_path / "data", POLICY_FILE=data, METRICS_PORT=str(first)))
        settings = {**os.environ, **dict(re.findall(r"(GUARD_\w+)=(\S+)", up.words)), "GUARD_POLICY_FILE": data}
        agency = _agency(settings, tmp_path)
        stack.callback(agency.kill)
        ports = {str(number): first + number for number in range(ROLES)}
        watch = stack.enter_context(prometheus(tmp_path / "prometheus", ports))
        for role in ("ingest", "dispatch", "sweep", "api"):
            watch.wait_until_sees(f'guard_build_info{{role="{role}"}}')
        url, key = re.findall(r"http://[\d.]+:\d+", up.words)[0], _key(settings)
        browser = stack.enter_context(closing(signed_in(url, key)))
        headers = {"Authorization": f"Bearer {key}"}
        collections = stack.enter_context(httpx2.Client(base_url=url, headers=headers, timeout=60))
        yield Play(up, browser, watch, agency, collections)


def test_what_people_see_in_the_two_stories(play: Play) -> None:
    """As `docs/stories.md` has it."""
    _paid_after_the_package_left(play)
    _short_by_a_price_rise(play)
    seen = "\n".join(play.lines).rstrip() + "\n"
    if os.environ.get(WRITE):
        PAGE.write_text(seen)

    assert seen == PAGE.read_text()


def _paid_after_the_package_left(play: Play) -> None:
    customer = Customer(9_001, 850_00, agency=AGENCY)
    at = datetime.now(UTC)
    play.story("Paid after the package left", "The debt of a set-top box is with an agency; then it is paid.")
    play.up.say(customer.referred(at), customer.placed(at))
    quiet = {"recalls open": 0, "recalls sent": 0}
    play.step("The debt is with the agency", customer, now=NOBODY, account="No:", metrics=quiet)

    play.up.say(customer.paid(datetime.now(UTC)))
    play.step(
        "The customer has paid, and the agency was told",
        customer,
        now="1 paid customer is with a collector",
        account="we told the collection agency",
        metrics={"recalls open": 1, "recalls sent": 1, "paid, and the agency not told": 0},
    )

    play.agency.signal_group(signal.SIGCONT)
    play.watch.wait_until_fires("GuardContactAfterRecall", agency=AGENCY)
    play.step(
        "The agency has confirmed, and calls all the same",
        customer,
        now=NOBODY,
        account="No: no agency has a debt",
        metrics={"recalls open": 0, "recalls acknowledged": 1, "contacts after a recall": 1},
    )


def _short_by_a_price_rise(play: Play) -> None:
    customer = Customer(9_004, 585_00)
    at = datetime.now(UTC)
    play.story(
        "Short by a price rise that stood in the cabinet",
        "Autopay pays the old price. Of the rise the customer had asked to hear by SMS, and it was told in the web"
        " cabinet alone.",
    )
    play.up.say(*customer.short_by_a_price_rise(at, rise=85_00))
    assert play.asked(customer) == "hold PRICE_CHANGE_NOT_NOTIFIED"
    play.step(
        "Collections have asked",
        customer,
        now=NOBODY,
        account="because a price changed",
        metrics={"answers: hold": 1, "answers: clear": 0},
    )

    play.up.say(customer.told("price_change", "sms", at - timedelta(days=12), number=5))
    assert play.asked(customer) == "clear"
    play.step(
        "It is told by SMS, and the notice has run",
        customer,
        now=NOBODY,
        account="is owed",
        metrics={"answers: hold": 1, "answers: clear": 1},
    )


def _agency(settings: Mapping[str, str], folder: Path) -> Child:
    """The agency's own process, which confirms and calls the customer on; frozen, so that it does so later."""
    words = ("agency-simulator", AGENCY, "--kafka", "--call-on", "1", "--seed", "1")
    log_file = folder / "agency.log"
    agency = Child(
        [sys.executable, "-m", "consumers.main", *words, "--data", str(folder / "agency")],
        folder=ROOT,
        log_file=log_file,
        environment=dict(settings),
        if_orphaned="kill -s KILL $1",
    )
    wait_until("the agency listens", lambda: f"agency {AGENCY}" in log_file.read_text(), seen=log_file.read_text)
    agency.signal_group(signal.SIGSTOP)
    return agency


def _key(settings: Mapping[str, str]) -> str:
    words = ["keys", "create", "stories", *(f"--scope={one}" for one in ("ask", "read", "operate")), "--json"]
    command = [sys.executable, "-m", "consumers.main", *words]
    made = subprocess.run(
        command, env=dict(settings), capture_output=True, text=True, timeout=120, check=True, cwd=ROOT
    )
    return str(json.loads(made.stdout)["key"])


def _free_run(length: int) -> int:
    """The first of so many free ports in a row, as far as anybody can know."""
    return next(one for one in free_ports(20) if all(map(port_is_free, range(one, one + length))))
