"""A collector of traces for tests: a real server that takes OTLP over HTTP and keeps every span that it reads.

Used by the tests of tracing, and by those that look for customers' data in traces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from infra.http.threaded import Answer, Request, Server

PATH = "/v1/traces"


@dataclass(frozen=True, slots=True)
class Seen:
    """A span as it came; ids in hexadecimal, and `parent` is empty for the first of a trace."""

    role: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    told: Mapping[str, str | int]
    links: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    failed: str = ""
    took_ns: int = 0

    @property
    def context(self) -> str:
        """What is sent on of it, but for its flags."""
        return f"00-{self.trace}-{self.id}-"


@dataclass(slots=True)
class Collector:
    """What has come: spans, and the bodies in which they came."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def answer(self, request: Request) -> Answer:
        """Take what is sent, as a collector does."""
        if request.path != PATH:
            self.refused.append(request.path)
            return Answer(404)
        self.bodies.append(request.body)
        return Answer(200)

    def spans(self) -> list[Seen]:
        """Every span, in the order in which they came."""
        return [one for body in self.bodies for one in _read(body)]

    def named(self, name: str) -> list[Seen]:
        """Those of a name."""
        return [one for one in self.spans() if one.name == name]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens."""
    collector = Collector()
    server = Server("127.0.0.1", 0, collector.answer)
    collector.url = server.url
    server.start()
    try:
        yield collector
    finally:
        server.stop()


def _read(body: bytes) -> Iterator[Seen]:
    for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
        role = str(_values(sent.resource.attributes).get("guard.role", ""))
        for scope in sent.scope_spans:
            yield from (_seen(span, role) for span in scope.spans)


def _seen(span: Span, role: str) -> Seen:
    return Seen(
        role=role,
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        told=_values(span.attributes),
        links=tuple(one.trace_id.hex() for one in span.links),
        notes=tuple(one.name for one in span.events),
        failed=span.status.message,
        took_ns=span.end_time_unix_nano - span.start_time_unix_nano,
    )


def _values(pairs: Iterable[KeyValue]) -> dict[str, str | int]:
    return {
        one.key: one.value.int_value if one.value.HasField("int_value") else one.value.string_value for one in pairs
    }
