"""The names of time zones in the files that people write: what is one, and what is said of any other text.

Used by `infra.policy_file` and `infra.agencies_file`.
"""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator


def _known(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as why:
        raise ValueError("must be a name of the IANA time zone database, like Europe/Moscow") from why
    return value


ZoneName = Annotated[str, AfterValidator(_known)]
"""A name of the IANA time zone database."""
