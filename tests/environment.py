"""The environment for processes that tests start: this one's, without any setting of the guard's own."""

from __future__ import annotations

import os

CACHE = "GUARD_CACHE_FOLDER"
"""Where the jars are: no setting of a guard, and nothing that each process should fetch anew."""


def unset() -> dict[str, str]:
    """The variables of this process that no guard reads, and where the jars are."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GUARD_") or name == CACHE}
