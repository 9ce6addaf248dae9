"""Traces by OpenTelemetry: spans go in batches to a collector, by OTLP over HTTP, from a thread of their own.

Imported only where an endpoint is set, since its packages are those of the extra `tracing`; handed to the consumers
as the port of `domain.traces`. Whatever becomes of the collector, no work waits for it: what can't be sent is
dropped, and the log says so. Variables named OTEL_* hold as OpenTelemetry has them (sampler, headers, certificates,
bounds of the queue); where spans are sent to is our own setting.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtherSpan

from domain.traces import Kind, Span, Told, context

SERVICE = "handoff-guard"
PATH = "/v1/traces"
"""Where a collector takes spans, below its address."""

PREFIX = "guard."
"""Before the name of each attribute."""

SEND_TIMEOUT_SECONDS = 5.0
"""Of one request with its tries, for which only the thread that sends waits; OTEL_EXPORTER_OTLP_TIMEOUT overrides
it."""

CLOSE_SECONDS = 2.0
"""How long a process that ends waits for what is left to be sent: it is more urgent that it is started again."""


def to_collector(endpoint: str) -> SpanExporter:
    """What brings spans to a collector such as `http://collector:4318`."""
    asked = {"OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"} & os.environ.keys()
    address = endpoint.rstrip("/").removesuffix(PATH)
    return OTLPSpanExporter(endpoint=f"{address}{PATH}", timeout=None if asked else SEND_TIMEOUT_SECONDS)


class OpenTelemetry:
    """Tracing that is told to whoever takes spans."""

    is_on = True

    def __init__(self, exporter: SpanExporter, *, role: str) -> None:
        name = {} if _is_named() else {"service.name": SERVICE}
        resource = Resource.create({**name, "guard.role": role, "service.instance.id": f"{role}-{os.getpid()}"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SERVICE)

    def begin(
        self,
        name: str,
        kind: Kind,
        *,
        parent: str | None = None,
        links: Sequence[str] = (),
        told: Told | None = None,
        at_ns: int | None = None,
    ) -> Span:
        """See the port."""
        above = _read(parent)
        linked = (_read(one) for one in links)
        span = self._tracer.start_span(
            name,
            context=Context() if above is None else set_span_in_context(NonRecordingSpan(above), Context()),
            kind=SpanKind[kind.name],
            attributes=_named(told),
            links=[Link(one) for one in linked if one is not None],
            start_time=at_ns,
        )
        return _Begun(span)

    def now_ns(self) -> int:
        """See the port."""
        return time.time_ns()

    def close(self) -> None:
        """See the port; a collector may be away, so what is left is sent from a thread that is left behind."""
        last = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        last.start()
        last.join(CLOSE_SECONDS)


class _Begun:
    """One span of OpenTelemetry's."""

    def __init__(self, span: OtherSpan) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        """See the port."""
        own = self._span.get_span_context()
        return f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}" if own.is_valid else None

    def note(self, name: str, at_ns: int) -> None:
        """See the port."""
        self._span.add_event(name, timestamp=at_ns)

    def end(self, told: Told | None = None, *, failed: str = "") -> None:
        """See the port."""
        self._span.set_attributes(_named(told))
        if failed:
            self._span.set_status(StatusCode.ERROR, failed)
        self._span.end()


def _read(text: str | None) -> SpanContext | None:
    known = context(text)  # What an earlier version kept may be none.
    if known is None:
        return None
    _, trace_id, span_id, flags = known.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _named(told: Told | None) -> dict[str, str | int]:
    return {f"{PREFIX}{name}": value for name, value in (told or {}).items()}


def _is_named() -> bool:
    """Whether OpenTelemetry's own variables say who this is."""
    return "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
