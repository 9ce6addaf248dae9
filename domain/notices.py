"""Which notices count for a debt, and why the others do not.

Called by `domain.clearance`, for the rules that ask what a customer was told. A notice counts where it was
delivered, by a channel that counts, and is about this debt or about no debt in particular. By the policy's
`channels` the channels that count are those that the customer chose, any where none was chosen, or those that the
policy lists. Whoever asked for SMS did not ask for a web cabinet: nobody has to look for what must be told to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from domain.account import Account
from domain.events import Channel, ChannelsChosen, NoticeDelivered, NoticeFailed, NoticeKind
from domain.policy import Days, Policy
from domain.words import days_in_words, instant_in_words


@dataclass(frozen=True, slots=True)
class Notices:
    """What the customer was told of one debt, as the policy judges it at an instant."""

    account: Account
    debt_id: str
    policy: Policy
    now: datetime

    def that_count(self, kind: NoticeKind) -> list[NoticeDelivered]:
        """The notices of a kind that reached the customer by a channel that counts, oldest first."""
        return [one for one in self._of(kind) if isinstance(one, NoticeDelivered) and self._against(one) is None]

    def days_since(self, at: datetime) -> int:
        """How many days have passed since an instant, as the policy counts them.

        The days after the day of the instant, up to and including today, in the creditor's time zone: all of them,
        or those of them that are working days. What was told at any hour of a day was told one day ago on the next.
        """
        zone = self.policy.timezone
        day, today = at.astimezone(zone).date(), self.now.astimezone(zone).date()
        if self._working:
            return self.policy.holidays.working_days(after=day, until=today)
        return (today - day).days

    def days(self, number: int) -> str:
        """A number of days in words, as the policy counts them: `10 working days`."""
        return days_in_words(number, working=self._working)

    def channels_in_words(self) -> str:
        """By which channels a notice counts, and who says so."""
        listed, chosen = self.policy.notices.channels, self._chosen
        if listed is not None:
            return f"the policy counts {_list(listed) or 'no channel'}"
        if chosen is None:
            return "the customer chose no channel, so each counts"
        return f"the customer chose {_list(chosen)}"

    def in_words(self, kind: NoticeKind) -> Iterator[str]:
        """Every notice of a kind, oldest first: how and when, and how long ago or why it does not count."""
        for one in self._of(kind):
            name = f"{kind.replace('_', ' ')} {one.notice_id}"
            at = instant_in_words(_at(one), self.policy.timezone)
            verdict = self._against(one) or f"{self.days(self.days_since(_at(one)))} ago"
            yield f"{name} by {one.channel} on {at}: {verdict}"

    @property
    def _working(self) -> bool:
        return self.policy.notices.days is Days.WORKING

    @property
    def _chosen(self) -> frozenset[Channel] | None:
        """The channels that the customer chose; None where none was chosen."""
        latest = self.account.channels
        if latest is None or not isinstance(latest.said_by.event, ChannelsChosen):
            return None
        return latest.said_by.event.channels or None

    def _of(self, kind: NoticeKind) -> list[NoticeDelivered | NoticeFailed]:
        """The notices of a kind that may concern this debt, oldest first; what was delivered in the end once."""
        said = (notice.delivered or notice.failed for notice in self.account.notices.values())
        found = [one for one in said if one and one.kind is kind and one.debt_id in {None, self.debt_id}]
        return sorted(found, key=lambda one: (_at(one), one.notice_id))

    def _against(self, one: NoticeDelivered | NoticeFailed) -> str | None:
        """Why a notice does not count; None where it does."""
        if isinstance(one, NoticeFailed):
            return "failed"
        if one.delivered_at > self.now:
            return "not yet"
        listed, chosen = self.policy.notices.channels, self._chosen
        if listed is not None:
            return None if one.channel in listed else "channel not in the policy"
        return None if chosen is None or one.channel in chosen else "channel not chosen"


def _at(one: NoticeDelivered | NoticeFailed) -> datetime:
    return one.failed_at if isinstance(one, NoticeFailed) else one.delivered_at


def _list(channels: frozenset[Channel]) -> str:
    return ", ".join(sorted(channels))
