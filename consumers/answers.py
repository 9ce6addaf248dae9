"""What came of a question, as it is told: an answer, or the problem that there is none, one by one or line by line.

Used by the API, and by `check` for a file of questions, so that both say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from consumers.clear import Asked, Refused
from infra.http.problems import Problem, ProblemError, details
from infra.logs import Logger, where
from infra.postgres.clearances import Given
from infra.postgres.database import DatabaseUnavailableError
from infra.wire.questions import Question, QuestionError, read

AskSet = Callable[[Sequence[Asked]], Sequence[Given | Refused | Exception]]
"""Answers a set of questions; what can't be answered is an error in its place."""

Line = bytes | None
"""A line as it was read; None for one that is too long."""


def problem_of(why: Exception, log: Logger) -> ProblemError:
    """The problem that tells an error; a fault of our own is logged with its place."""
    match why:
        case ProblemError():
            return why
        case DatabaseUnavailableError():
            return ProblemError(Problem.UNAVAILABLE, "the database does not answer, or is too busy; ask again")
        case _:
            log.error("question.failed", **where(why))
            return ProblemError(Problem.FAULT)


def answer_lines(some: Sequence[Line], ask: AskSet, *, by: str, limit_bytes: int, log: Logger) -> bytes:
    """A line for each of these lines, in their order."""
    read_ones = [_read(line, by, limit_bytes) for line in some]
    sound = [one for one in read_ones if isinstance(one, Asked)]
    answers = iter(ask(sound) if sound else [])
    return b"".join(_told(next(answers) if isinstance(one, Asked) else one, log) for one in read_ones)


def problem_line(why: ProblemError) -> bytes:
    """A problem in the place of an answer."""
    return _line(details(why))


def _read(line: Line, by: str, limit_bytes: int) -> Asked | ProblemError:
    if line is None:
        return ProblemError(Problem.TOO_LARGE, f"a line may have {limit_bytes} bytes")
    try:
        question = read(Question, line)
    except QuestionError as why:
        return ProblemError(Problem.INVALID, str(why))
    return Asked(question.about, by, question.referral)


def _told(result: Given | Refused | Exception, log: Logger) -> bytes:
    match result:
        case Given():
            return _line(result.answer)
        case Refused(detail):
            return problem_line(ProblemError(Problem.INVALID, detail))
        case _:
            return problem_line(problem_of(result, log))


def _line(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
