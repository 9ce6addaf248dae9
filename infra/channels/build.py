"""The channel of an agency, by the kind of it: adding one is a module beside this and a row below.

Called by the composition root for each lane, and again when an agency's entry has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from domain.agency import Agency, ChannelKind
from domain.delivery import Channel
from infra.channels.addresses import Resolve, system_resolve
from infra.channels.file_drop import FileDropChannel, Troubled
from infra.channels.folder import Folder, LocalFolder
from infra.channels.kafka import KafkaChannel, Publish
from infra.channels.webhook import WebhookChannel


@dataclass(frozen=True, slots=True)
class Means:
    """What channels are made with, whichever they are."""

    publish: Publish
    now: Callable[[], datetime]
    troubled: Troubled
    resolve: Resolve


def channel_for(
    agency: Agency,
    kind: ChannelKind,
    *,
    publish: Publish,
    now: Callable[[], datetime],
    troubled: Troubled = lambda _: None,
    resolve: Resolve = system_resolve,
) -> Channel:
    """This way to this agency. Raises ValueError where its entry does not say how."""
    return _BUILDERS[kind](agency, Means(publish, now, troubled, resolve))


def _kafka(_agency: Agency, means: Means) -> Channel:
    return KafkaChannel(means.publish)


def _webhook(agency: Agency, means: Means) -> Channel:
    if agency.webhook is None:
        raise ValueError(f"[agency.{agency.agency_id}.webhook] must say how it is reached")
    return WebhookChannel(agency.webhook, at_once=agency.at_once, now=means.now, resolve=means.resolve)


def _file(agency: Agency, means: Means) -> Channel:
    drop = agency.file
    if drop is None:
        raise ValueError(f"[agency.{agency.agency_id}.file] must say how it is reached")
    folder: Folder = LocalFolder(drop.folder)
    if drop.sftp is not None:
        # A fifth of a second and 30 MB, which only those pay who have an agency with such a server.
        from infra.channels.sftp import SftpFolder  # noqa: PLC0415

        folder = SftpFolder(drop.sftp, drop.folder)
    return FileDropChannel(folder, drop, agency_id=agency.agency_id, now=means.now, troubled=means.troubled)


_BUILDERS: Mapping[ChannelKind, Callable[[Agency, Means], Channel]] = {
    ChannelKind.KAFKA: _kafka,
    ChannelKind.WEBHOOK: _webhook,
    ChannelKind.FILE: _file,
}
