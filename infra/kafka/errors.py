"""What can go wrong with the broker, named by what its caller does next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kafka.errors import KafkaError


class BrokerUnavailableError(Exception):
    """The broker is away or refuses; nothing is known of what it holds, try again."""


@contextmanager
def as_unavailable() -> Iterator[None]:
    """Turn the library's errors into ours."""
    try:
        yield
    except KafkaError as why:
        raise BrokerUnavailableError(str(why) or type(why).__name__) from why
