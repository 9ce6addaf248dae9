"""Asks one node of Kafka, by hand, which brokers it knows: whether a node that starts serves clients yet.

Called by `infra.embedded.kafka`. A client library asks whichever node it likes, and logs its every failure until
one answers.
"""

import contextlib
import socket
import struct
from collections.abc import Callable

ASK_TIMEOUT_SECONDS = 1


def brokers_known_at(host: str, port: int) -> set[int]:
    """The cluster's live brokers as this node knows them; none while it does not listen, or not answer, yet."""
    with contextlib.suppress(OSError, struct.error):
        return _ask(host, port)
    return set()


def _ask(host: str, port: int) -> set[int]:
    """Metadata request, version 1, of no topic."""
    api_key, version, correlation_id, client_id = 3, 1, 1, b"wait"
    body = struct.pack(f">hhih{len(client_id)}si", api_key, version, correlation_id, len(client_id), client_id, 0)
    with socket.create_connection((host, port), ASK_TIMEOUT_SECONDS) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        answer = connection.makefile("rb")
        _size, _correlation_id, count = struct.unpack(">iii", answer.read(12))
        return {_read_broker(answer.read) for _ in range(count)}


def _read_broker(read: Callable[[int], bytes]) -> int:
    """One broker of a Metadata answer: id, host, port, rack or null."""
    node_id, host_bytes = struct.unpack(">ih", read(6))
    read(host_bytes)
    _port, rack_bytes = struct.unpack(">ih", read(6))
    read(max(rack_bytes, 0))
    return int(node_id)
