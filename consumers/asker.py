"""Collections' side of the API, for the demo: asks before a transfer and confirms it, over HTTP as they would.

Called by `consumers.demo`. It knows no more of the guard than its address and a key.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TIMEOUT_SECONDS = 15.0
"""Above the limit of an answer (8 s), so that it is the guard who says that there is none."""

LOOK_SECONDS = 0.05

Json = dict[str, Any]  # `Any`: what came over the wire.


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: its status and body."""

    status: int
    body: Json

    @property
    def first_reason(self) -> str:
        """The code that decided; empty where nothing speaks against it."""
        reasons = self.body.get("reasons") or [{"code": ""}]
        return str(reasons[0]["code"])

    @property
    def evidence(self) -> list[str]:
        """What stands behind the first reason."""
        reasons = self.body.get("reasons") or [{"evidence": []}]
        return [str(one) for one in reasons[0]["evidence"]]


class Asker:
    """Collections, with a key."""

    def __init__(self, address: str, key: str) -> None:
        self._address = address
        self._key = key

    def wait_until_ready(self, *, deadline_seconds: float, give_up: Callable[[], bool]) -> bool:
        """Whether the API answers, once it does or in time."""
        deadline = time.monotonic() + deadline_seconds
        while time.monotonic() < deadline and not give_up():
            try:
                if self._call("/readyz", None).status == 200:
                    return True
            except OSError:  # It does not listen yet.
                time.sleep(LOOK_SECONDS)
        return False

    def ask(self, account_id: str, debt_id: str, agency_id: str) -> Told:
        """May this debt be placed with this agency?"""
        return self._call("/v1/clearances", {"account_id": account_id, "debt_id": debt_id, "agency_id": agency_id})

    def confirm(self, clearance_id: str, placement_id: str) -> Told:
        """The debt is handed over now, as this placement."""
        return self._call(f"/v1/clearances/{clearance_id}/confirm", {"placement_id": placement_id})

    def _call(self, path: str, body: Json | None) -> Told:
        request = urllib.request.Request(  # noqa: S310 # The address is our own and begins with http.
            self._address + path,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 # As above.
                text = answer.read()
                return Told(answer.status, json.loads(text) if body is not None else {})
        except urllib.error.HTTPError as problem:
            with problem:
                text = problem.read()
                return Told(problem.code, json.loads(text) if body is not None else {})
