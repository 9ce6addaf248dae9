"""Whether an agency's webhook takes and refuses what it must: calls it as the guard does, and as others might.

Called by `consumers.agency.check`. Every call goes through the guard's own channel, so that addresses are judged
and time and size are bounded as in service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta

from consumers.agency.trial import UNKNOWN_TYPE, Finding, Trial, judged, skipped
from domain.agency import Secret, WebhookTarget
from domain.delivery import Attempt, Message
from infra.channels.webhook import WebhookChannel

BIG_BYTES = 64 * 1024
"""Of the big message: our recalls take some 4 KiB with every id at its limit, and may grow."""

AT_ONCE = 20
OLD = timedelta(hours=1)
"""Twelve times the tolerance of the standard."""

FORGED = Secret(b"a secret that nobody agreed on", "forged")

REACHABLE = "reachable"

REMEDIES = {
    "takes": "answer 2xx once the message is safe with you, and do the work afterwards",
    "takes again": "answer 2xx to a message id that you know: the first answer may have been lost",
    "refuses a bad signature": "verify webhook-signature first, and answer 401: else anybody could recall",
    "refuses an old message": "refuse a webhook-timestamp more than 5 minutes from your clock",
    "takes the second secret": "accept any of the signatures in the header, by any secret that is active",
    "bears an unknown type": "answer 2xx, or 4xx, to a type that you don't know: the contract may grow",
    "bears unknown fields": "pass over fields that you don't know: the contract may grow",
    "takes a big message": f"take bodies of {BIG_BYTES} bytes",
    f"takes {AT_ONCE} at once": "take several calls at the same time; rate_per_second and at_once bound them",
    "does not redirect": "give the last address as url in the file of agencies",
    "answers shortly": "answer with an empty body; the message is settled by the status",
}


class WebhookCheck:
    """One run against one webhook."""

    def __init__(self, trial: Trial, target: WebhookTarget, now: Callable[[], datetime]) -> None:
        self._trial = trial
        # One byte more than is allowed, to see whether it comes.
        self._target = replace(target, answer_max_bytes=target.answer_max_bytes + 1)
        self._now = now
        self._made: list[Attempt] = []

    def findings(self, recall: Message) -> Iterator[Finding]:
        """A finding a check; the first of them sends this recall, and the second one sends it again."""
        first = self._send(recall)
        if not first.response and not _timed_out(first):
            remedy = "look at url, ca_file and private_hosts in its entry, and at the certificate"
            yield judged(REACHABLE, first.detail, "", remedy)
            yield from (skipped(name, "not reachable") for name in REMEDIES)
            return
        yield judged(REACHABLE, "", f"{self._target.url}, by https with a certificate that holds", "")
        yield _delivered("takes", first)
        if _timed_out(first):
            yield from (skipped(name, "it does not answer in time") for name in list(REMEDIES)[1:])
            return
        yield _delivered("takes again", self._send(recall))
        yield from self._signatures()
        yield from self._unknown()
        yield _delivered("takes a big message", self._send(self._recall("big", padding=BIG_BYTES)))
        yield self._at_once()
        yield from self._manners()

    def _signatures(self) -> Iterator[Finding]:
        forged = self._send(self._recall("forged"), secrets=(FORGED,))
        yield _refused("refuses a bad signature", forged, {401, 403}, "taken, whoever signed it")
        old = self._send(self._recall("old"), ago=OLD)
        yield _refused(
            "refuses an old message", old, set(range(400, 500)), "taken: whoever recorded it can repeat it"
        )
        name = "takes the second secret"
        if len(self._target.secrets) < 2:
            yield skipped(name, "its entry has one secret", "add a second one to secrets while you change it")
        else:
            yield _delivered(name, self._send(self._recall("rotated"), secrets=self._target.secrets[1:]))

    def _unknown(self) -> Iterator[Finding]:
        kind = self._send(self._recall("unknown-type", kind=UNKNOWN_TYPE))
        status = _status(kind)
        borne = 200 <= status < 300 or 400 <= status < 500
        name = "bears an unknown type"
        yield judged(name, "" if borne else kind.detail, f"answered {status}", REMEDIES[name])
        more = self._recall("unknown-fields", note="a field that is not in the contract")
        yield _delivered("bears unknown fields", self._send(more))

    def _at_once(self) -> Finding:
        name = f"takes {AT_ONCE} at once"
        made = self._send_all([self._recall(f"at-once-{number}") for number in range(AT_ONCE)], at_once=AT_ONCE)
        failed = [one.detail for one in made if not one.delivered]
        fault = f"{len(failed)} of them were not taken: {failed[0]}" if failed else ""
        return judged(name, fault, "all were taken", REMEDIES[name])

    def _manners(self) -> Iterator[Finding]:
        """What all the answers had in common."""
        moved = sorted({_status(one) for one in self._made if 300 <= _status(one) < 400})
        fault = f"answered {', '.join(map(str, moved))}, which the guard does not follow" if moved else ""
        yield judged("does not redirect", fault, "no answer was a redirect", REMEDIES["does not redirect"])
        longest = max(len(one.response.partition(b"\r\n\r\n")[2]) for one in self._made)
        allowed = self._target.answer_max_bytes - 1
        fault = f"an answer has more than the {allowed} bytes of answer_max_bytes" if longest > allowed else ""
        yield judged("answers shortly", fault, f"{longest} bytes at most", REMEDIES["answers shortly"])

    def _recall(self, name: str, *, kind: str = "", padding: int = 0, **more: str) -> Message:
        if kind:
            return self._trial.recall(name, self._now(), kind=kind, padding=padding, **more)
        return self._trial.recall(name, self._now(), padding=padding, **more)

    def _send(self, message: Message, *, secrets: Sequence[Secret] = (), ago: timedelta = timedelta()) -> Attempt:
        return self._send_all([message], secrets=secrets, ago=ago)[0]

    def _send_all(
        self,
        messages: Sequence[Message],
        *,
        secrets: Sequence[Secret] = (),
        ago: timedelta = timedelta(),
        at_once: int = 1,
    ) -> list[Attempt]:
        target = replace(self._target, secrets=tuple(secrets) or self._target.secrets)
        with closing(WebhookChannel(target, at_once=at_once, now=lambda: self._now() - ago)) as channel:
            made = channel.deliver(messages)
        self._made += made
        return made


def _delivered(name: str, attempt: Attempt) -> Finding:
    return judged(name, "" if attempt.delivered else attempt.detail, f"answered {_status(attempt)}", REMEDIES[name])


def _refused(name: str, attempt: Attempt, wanted: set[int], taken: str) -> Finding:
    status = _status(attempt)
    fault = "" if status in wanted else f"{taken} (answered {status})" if attempt.delivered else attempt.detail
    return judged(name, fault, f"answered {status}", REMEDIES[name])


def _status(attempt: Attempt) -> int:
    """The status of an answer, or 0 where there was none."""
    words = attempt.response.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def _timed_out(attempt: Attempt) -> bool:
    """Whether it was called, and gave no answer in time."""
    return bool(attempt.request) and not attempt.response and not attempt.delivered
