"""`agencies`: every agency with its ways, its deadline, and what waits for it.

Called by `consumers.desk`. That it can be run is the check of the file of agencies: a wrong one is refused by name.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from consumers.compose import House
from consumers.parts import utc_now
from consumers.terminal import answer
from domain.agency import Agency, agency_of
from domain.policy import Policy
from infra.postgres.deliveries import Deliveries, Standing


@dataclass(frozen=True, slots=True)
class Line:
    """One agency, beside how each of its ways stands."""

    agency: Agency
    is_named: bool
    within: timedelta
    ways: tuple[Standing, ...]


def show(arguments: argparse.Namespace, house: House) -> int:
    """List the agencies of the file, and those for which something waits."""
    lines = list(_lines(house, house.rules()()))
    words = [word for line in lines for word in _in_words(line, utc_now())]
    answer([_as_json(line) for line in lines], words or ["no agency is named, and nothing waits for any"],
           as_json=arguments.json)  # fmt: skip
    return 0


def _lines(house: House, policy: Policy) -> Iterator[Line]:
    agencies = house.agencies().now()
    standing: dict[str, list[Standing]] = {}
    for one in Deliveries(house.database_now()).standing():
        standing.setdefault(one.agency_id, []).append(one)
    for agency_id in sorted(agencies.keys() | standing.keys()):
        agency = agency_of(agencies, agency_id)
        within = agency.desk.acknowledge_within or policy.recall.acknowledge_within
        yield Line(agency, agency_id in agencies, within, tuple(standing.get(agency_id, ())))


def _in_words(line: Line, now: datetime) -> Iterator[str]:
    agency = line.agency
    ways = ", then ".join(agency.channels)
    unnamed = "" if line.is_named else "  (not in the file of agencies)"
    yield f"{agency.agency_id}  {agency.name}  by {ways}  answers within {_minutes(line.within):g} min{unnamed}"
    for way in line.ways:
        channel = way.channel or agency.channel
        waits = f"{way.waiting} wait" if way.waiting else "nothing waits"
        since = f", the oldest for {int((now - way.oldest).total_seconds())} s" if way.oldest else ""
        yield f"    {channel}: {waits}{since}{_circuit_in_words(way, now)}"


def _circuit_in_words(way: Standing, now: datetime) -> str:
    if way.open_until is None:
        return ""
    again = max(0, int((way.open_until - now).total_seconds()))
    return f"; refused or not reached {way.failures} times, tried again in {again} s: {way.last_error}"


def _as_json(line: Line) -> dict[str, object]:
    return {
        "agency_id": line.agency.agency_id,
        "name": line.agency.name,
        "is_named": line.is_named,
        "channels": list(line.agency.channels),
        "acknowledge_within_minutes": _minutes(line.within),
        "escalation_contact": line.agency.escalation_contact,
        "ways": [
            {
                "channel": way.channel or line.agency.channel,
                "waiting": way.waiting,
                "oldest": way.oldest.isoformat() if way.oldest else None,
                "stuck": way.stuck,
                "failures": way.failures,
                "open_until": way.open_until.isoformat() if way.open_until else None,
                "last_error": way.last_error,
            }
            for way in line.ways
        ],
    }


def _minutes(duration: timedelta) -> float:
    return duration.total_seconds() / 60
