"""Structured logs: one JSON object a line on standard error, with a stable `event` key and ids, no persons.

Called where a process starts. The library's own logs are kept from warnings on.
"""

from __future__ import annotations

import logging
import sys

import structlog

Logger = structlog.typing.FilteringBoundLogger


def configure(*, role: str, level: str = "INFO") -> Logger:
    """Set up logging for this process, and return its logger."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s", force=True)
    # kafka-python warns of each reconnect; our own lines say what that means for the work.
    logging.getLogger("kafka").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logger: Logger = structlog.get_logger(role=role)
    return logger
