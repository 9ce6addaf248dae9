"""A real Prometheus that scrapes the guard's processes and judges by the rules of `deploy/prometheus`.

Used by the drills and the stories. The rules are those that are deployed, their expressions and texts untouched; a
drill may only divide their times, since nobody waits for an hour here. What holds at the real times is shown by
`deploy/prometheus/alerts_test.yml`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import yaml

from infra.embedded import LOOPBACK, Child, free_ports
from tests.faults.worker import wait_until
from tests.tools import tool

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"

ANSWER_SECONDS = 30
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}

OWN_BEATS = 90
"""The seconds that a loop may be without a beat: they are about our processes, which do not hurry."""

Json = dict[str, Any]  # `Any`: as Prometheus gives it.


@dataclass(frozen=True, slots=True)
class Alert:
    """One that fires now."""

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class Prometheus:
    """The process, asked over HTTP."""

    def __init__(self, port: int) -> None:
        self._url = f"http://{LOOPBACK}:{port}"

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            return httpx2.get(f"{self._url}/-/ready", timeout=ANSWER_SECONDS).is_success
        except httpx2.TransportError:
            return False

    def firing(self) -> list[Alert]:
        """The alerts that fire, pending ones not among them."""
        alerts = self._ask("/api/v1/alerts")["alerts"]
        return [
            Alert(one["labels"]["alertname"], one["labels"], one["annotations"])
            for one in alerts
            if one["state"] == "firing"
        ]

    def value(self, expression: str) -> float | None:
        """The value of an expression that has one; None where it has none now."""
        found = self._ask("/api/v1/query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else None

    def wait_until_fires(self, name: str, **labels: str) -> Alert:
        """The alert, as soon as it fires with these labels."""
        found: list[Alert] = []

        def fires() -> bool:
            found[:] = [one for one in self.firing() if one.name == name and labels.items() <= one.labels.items()]
            return bool(found)

        wait_until(f"{name} fires", fires, seen=self.firing)
        return found[0]

    def wait_until_ends(self, name: str, **labels: str) -> None:
        """Go on when it does not fire with these labels any more."""
        wait_until(
            f"{name} ends",
            lambda: not [one for one in self.firing() if one.name == name and labels.items() <= one.labels.items()],
            seen=self.firing,
        )

    def wait_until_sees(self, expression: str) -> None:
        """Go on when an expression has a value."""
        wait_until(f"{expression} has a value", lambda: self.value(expression) is not None)

    def _ask(self, path: str, **query: str) -> Json:
        answer = httpx2.get(f"{self._url}{path}", params=query, timeout=ANSWER_SECONDS)
        told: Json = answer.raise_for_status().json()["data"]
        return told


@contextmanager
def prometheus(folder: Path, ports: Mapping[str, int], *, hastened: int = 1) -> Iterator[Prometheus]:
    """A Prometheus that scrapes these ports each second, by the rules with their times divided by `hastened`."""
    (port,) = free_ports(1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "alerts.yml").write_text(yaml.safe_dump(rules(hastened=hastened)))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(_config(ports)))
    process = Child(
        [
            str(tool("prometheus")),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={LOOPBACK}:{port}",
            "--log.level=warn",
        ],
        folder=folder,
        log_file=folder / "prometheus.log",
        environment=dict(os.environ),
        if_orphaned="kill -s KILL $1",
    )
    made = Prometheus(port)
    try:
        wait_until("Prometheus is ready", made.is_ready)
        yield made
    finally:
        process.kill()


def _config(ports: Mapping[str, int]) -> Json:
    targets = [
        {"targets": [f"{LOOPBACK}:{port}"], "labels": {"job": "handoff-guard"}} for port in sorted(ports.values())
    ]
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [{"job_name": "handoff-guard", "static_configs": targets}],
    }


def rules(*, hastened: int) -> Json:
    """The deployed rules, judged each second; each time in them is divided by `hastened`."""
    read: Json = yaml.safe_load(RULES.read_text())
    for group in read["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["expr"] = _sooner(rule["expr"], hastened)
            rule["for"] = _shorter(rule["for"], hastened)
    return read


def _sooner(expression: str, times: int) -> str:
    """An expression with its windows and its thresholds in seconds divided."""
    windows = re.sub(r"\[([^\]]+)\]", lambda found: f"[{_windows(found[1], times)}]", expression)

    def threshold(found: re.Match[str]) -> str:
        seconds = int(found[2])
        return found[0] if seconds == OWN_BEATS else f"{found[1]}{seconds / times:g}"

    return re.sub(r"([<>] )(\d{2,})\b", threshold, windows)


def _windows(text: str, times: int) -> str:
    return ":".join(_shorter(one, times) for one in text.split(":"))


def _shorter(duration: str, times: int) -> str:
    (number, unit) = re.fullmatch(r"(\d+)(ms|s|m|h)", duration).groups()  # type: ignore[union-attr] # As they are written.
    return f"{int(number) * _UNITS_MS[unit] // times}ms"
