"""A member of a group that does nothing with what it is given: what the group itself needs to replace a member.

A process of the fault tests: `python -m tests.faults.member GROUP`, on the settings of the guard's processes.
"""

from __future__ import annotations

import os
import sys

from infra.kafka.connection import Connection
from infra.kafka.source import Source
from infra.settings import read_settings
from infra.wire.kinds import INBOUND_TOPICS

POLL_MS = 100


def main() -> None:
    """Be a member until killed."""
    member = Source(
        Connection(read_settings().kafka_bootstrap_servers),
        INBOUND_TOPICS,
        group_id=sys.argv[1],
        client_id=f"member-{os.getpid()}",
        instance_id=None,
        max_records=1,
    )
    while True:
        member.poll(POLL_MS)


if __name__ == "__main__":
    main()
