"""A guard that takes the word of whoever says that he leads: `python -m tests.faults.believing api`.

Started by the test of dethroned leaders. It is the product's own command, but no broker is a witness against
another; so that test shows that the witnesses are what keeps paid debts from being clear.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from consumers.main import main
from domain.horizon import Led, View
from infra.kafka import horizon


def believe(led: Led | None, views: Mapping[int, View], *, min_insync_replicas: int) -> str | None:
    """Whoever answers as leader is right, whatever others know."""
    del views, min_insync_replicas
    return "no leader answered" if led is None else None


if __name__ == "__main__":
    horizon.doubt = believe  # type: ignore[attr-defined] # It is there for its own use.
    sys.exit(main())
