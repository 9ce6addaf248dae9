"""Structured logs: one JSON object a line on standard error, with a stable `event` key and ids, no persons.

Called where a process starts. What libraries say from warnings on comes as a line of ours, without what they say it
about: their words may hold what a customer's event held. So does what nobody caught, by its kind and place.
"""

from __future__ import annotations

import logging
import math
import re
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from types import TracebackType

import structlog

Logger = structlog.typing.FilteringBoundLogger

SAID_MAX_CHARACTERS = 200
"""Of what a library says; its templates are shorter."""

SAID_AGAIN_SECONDS = 10.0
"""For so long a library's line is not repeated: kafka-python says ten times a second that a topic is missing."""


def configure(*, role: str, level: str = "INFO", clock: Callable[[], float] = time.monotonic) -> Logger:
    """Set up logging for this process, and return its logger."""
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
    logging.basicConfig(handlers=[_OfLibraries(logger, clock)], level=logging.WARNING, force=True)
    # kafka-python warns of each reconnect; our own lines say what that means for the work.
    logging.getLogger("kafka").setLevel(logging.ERROR)
    # paramiko writes a traceback for each server that goes away; an attempt says the same in words.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    return logger


def tell_what_nobody_catches(log: Logger) -> None:
    """From here on an error that ends the process or a thread of it, and a warning of Python's, is a line too."""

    def of_process(_kind: type[BaseException], why: BaseException, _trace: TracebackType | None) -> None:
        log.critical("process.failed", **where(why))

    def of_thread(ended: threading.ExceptHookArgs) -> None:
        if ended.exc_value is not None:
            log.critical(
                "thread.failed", thread=ended.thread.name if ended.thread else "", **where(ended.exc_value)
            )

    sys.excepthook, threading.excepthook = of_process, of_thread
    logging.captureWarnings(capture=True)


def where(why: BaseException) -> dict[str, str]:
    """What went wrong and where, without its message: that may hold what a customer's event held."""
    frames = traceback.extract_tb(why.__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return {"error": type(why).__name__, "at": f"{ours[-1].name}, line {ours[-1].lineno}" if ours else ""}


class _OfLibraries(logging.Handler):
    """Makes lines of ours of those of libraries: who says it, and its template without what stands in it.

    The same line is written once in a while, with how often it was said since.
    """

    def __init__(self, log: Logger, clock: Callable[[], float]) -> None:
        super().__init__()
        self._log = log
        self._clock = clock
        self._written_at: dict[tuple[str, ...], float] = {}
        self._unwritten: Counter[tuple[str, ...]] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """As the standard library calls it."""
        error = record.exc_info[1] if record.exc_info else None
        said = {
            "logger": record.name,
            "said": _template(record)[:SAID_MAX_CHARACTERS],
            **(where(error) if error else {}),
        }
        line, now = tuple(said.values()), self._clock()
        self._unwritten[line] += 1
        if now < self._written_at.get(line, -math.inf) + SAID_AGAIN_SECONDS:
            return
        self._written_at[line] = now
        times = self._unwritten.pop(line)
        if record.levelno >= logging.ERROR:
            self._log.error("library.said", **said, times=times)
        else:
            self._log.warning("library.said", **said, times=times)


def _template(record: logging.LogRecord) -> str:
    """The words of a message without what stands in them.

    asyncio writes its own before it logs them: what failed comes behind a line break, or as the code of a call.
    """
    words = str(record.msg).partition("\n")[0]
    return re.split(r"[(<{]", words, maxsplit=1)[0].rstrip() if record.name == "asyncio" else words
