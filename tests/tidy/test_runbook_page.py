"""The runbook has a line for all that on-call can meet: log keys, metrics, stops, quarantine, exit statuses."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from consumers import requeue, set_aside, terminal, watchdog
from domain.streams import StopReason
from infra.metrics_list import METRICS
from infra.wire import kinds
from tests.tidy import pages

RUNBOOK = pages.page("docs/runbook.md")
EVENTS = pages.page("docs/events.md")

LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
REFUSALS = {"InvalidError", "Rejected", "Quarantined"}
"""What is made where a record is refused; its first or second argument is the reason."""


def _calls(module: str) -> Iterator[ast.Call]:
    yield from (one for one in ast.walk(pages.tree(module)) if isinstance(one, ast.Call) and one.args)


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _logs(call: ast.Call) -> bool:
    """Whether this is a line of a structured log, as in `log.info(..)` or `self._log.error(..)`."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in LEVELS:
        return False
    logger = call.func.value
    name = logger.attr if isinstance(logger, ast.Attribute) else logger.id if isinstance(logger, ast.Name) else ""
    return name.lstrip("_") == "log"


def test_every_log_key_is_in_the_runbook() -> None:
    """The keys that the code logs and the lines of the runbook are the same."""
    logged = [call for module in pages.modules(*pages.PRODUCT) for call in _calls(module) if _logs(call)]
    keys = {_text(call.args[0]) for call in logged}

    assert sorted(str(key) for key in keys) == sorted(pages.names(RUNBOOK, "Log lines"))


def test_every_metric_is_in_the_runbook() -> None:
    """The list of metrics and the lines of the runbook are the same, with their labels."""
    expected = {one.name: ", ".join(one.labels) for one in METRICS}

    assert expected == {row[0]: row[1] for row in pages.rows(RUNBOOK, "Metrics")}


def test_every_stop_reason_is_in_the_runbook() -> None:
    """The reasons to stop a stream are the code's, in its order."""
    assert [reason.value for reason in StopReason] == pages.names(RUNBOOK, "Stop reasons")


def test_every_quarantine_reason_is_in_the_runbook_and_in_the_page_on_events() -> None:
    """The reasons of the decoder, and the conflict that the ledger finds, are told in both pages."""
    refusals = [
        call
        for module in pages.modules(*pages.PRODUCT)
        for call in _calls(module)
        if isinstance(call.func, ast.Name) and call.func.id in REFUSALS
    ]
    codes = (_text(argument) for call in refusals for argument in call.args[:2])
    by_name = {requeue.CONFLICT, set_aside.REASON}
    expected = sorted({code for code in codes if code is not None and code.isupper()} | by_name)

    assert expected == sorted(pages.names(RUNBOOK, "Quarantine reasons"))
    assert expected == sorted(pages.names(EVENTS, "What is refused"))


def test_every_exit_status_is_in_the_runbook() -> None:
    """The statuses with which our commands end are told, in their order."""
    ours = {0, terminal.EXIT_WRONG, terminal.EXIT_USAGE, terminal.EXIT_UNAVAILABLE, watchdog.EXIT_STALLED}

    assert [str(status) for status in sorted(ours)] == pages.names(RUNBOOK, "Exit status")


def test_every_line_says_how_urgent_it_is_and_what_is_next() -> None:
    """A line without a next command is of something that needs none."""
    tables = [pages.rows(RUNBOOK, heading) for heading in ("Exit status", "Log lines", "Metrics")]
    bare = [row[0] for table in tables for row in table if not row[-1] and row[-2] not in {"no", "never"}]

    assert bare == []


def test_every_type_stands_in_the_page_on_events() -> None:
    """The inbound types and their topics are those of the table of kinds, in its order."""
    expected = [[kind.topic, kind.type] for kind in kinds.KINDS]

    assert expected == pages.rows(EVENTS, "The types")
