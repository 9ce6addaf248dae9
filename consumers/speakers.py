"""Who speaks in an agency's event: the agency whose source it has, or the one that it names.

Called on the way in, wherever events are read. An event that names another agency than the one it comes from is
refused. So is one that comes by an agency's own way under a source that is not its own: a source and an id name one
event for ever, and whoever took those of a payment would keep it out. Whether an agency may speak of a placement is
judged later, when it is known who has it (`domain.heeding`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from domain.events import NO_PARTITION, RawRecord
from infra.wire.decode import Decoded, Rejected, named_speaker, with_speaker
from infra.wire.kinds import AGENCIES

AGENCY_HEADER = "guard_agency"
"""The header of a line of a file that says whose file it is, so that it is judged by that again from quarantine."""

_NEVER_ITS_OWN = {"WRONG_TOPIC", "WRONG_AGENCY"}
"""What an agency can't say at all stops no account: it would have a way to stop those that it never had."""

Speakers = Mapping[str, str]
"""The agency that speaks by a source, by the source; others have none of their own."""


def hear_all(
    records: Sequence[RawRecord], decoded: Sequence[Decoded | Rejected], speakers: Speakers
) -> Sequence[Decoded | Rejected]:
    """These, each agency's event with its speaker; where no agency has a source there is nothing to look at."""
    if not speakers:
        return decoded
    return [hear(raw, one, speakers) for raw, one in zip(records, decoded, strict=True)]


def hear(raw: RawRecord, one: Decoded | Rejected, speakers: Speakers) -> Decoded | Rejected:
    """An event with its speaker, if it is an agency's, or the reason why it is none."""
    if isinstance(one, Rejected) or one.kind.topic != AGENCIES:
        return one
    speaker, named = speakers.get(one.source), named_speaker(one)
    if speaker is None:
        if named is None or named not in speakers.values():
            return one
        detail = "source is none of those by which the agency of data.agency_id speaks"
        return Rejected(raw, "WRONG_AGENCY", detail, (one.account_id,))
    if named not in {None, speaker}:
        detail = "data.agency_id is another agency than the one that speaks by this source"
        return Rejected(raw, "WRONG_AGENCY", detail, (one.account_id,))
    return one if named else with_speaker(one, speaker)


def hear_from(agency_id: str, raw: RawRecord, one: Decoded | Rejected, speakers: Speakers) -> Decoded | Rejected:
    """An event that came by a way which only this agency has: nobody else speaks in it, and of nothing else."""
    if isinstance(one, Rejected):
        return replace(one, accounts=()) if one.reason in _NEVER_ITS_OWN else one
    if one.kind.topic != AGENCIES:
        return Rejected(raw, "WRONG_TOPIC", f"an agency does not say {one.kind.type}", ())
    if named_speaker(one) not in {None, agency_id}:
        return Rejected(raw, "WRONG_AGENCY", "data.agency_id is another agency than the one that sent it", ())
    if not _is_own(one.source, agency_id, speakers):
        detail = (
            "source is none of those by which this agency speaks: send one of its sources in the file of agencies, "
            "or, where it has none there, urn:agency: and its id"
        )
        return Rejected(raw, "WRONG_AGENCY", detail, ())
    return one if named_speaker(one) else with_speaker(one, agency_id)


def hear_again(raw: RawRecord, one: Decoded | Rejected, speakers: Speakers) -> Decoded | Rejected:
    """An event from quarantine, by the way on which it came."""
    agency_id = dict(raw.headers).get(AGENCY_HEADER) if raw.origin.partition == NO_PARTITION else None
    if agency_id is None:
        return hear(raw, one, speakers)
    return hear_from(agency_id.decode(), raw, one, speakers)


def _is_own(source: str, agency_id: str, speakers: Speakers) -> bool:
    if source in speakers:
        return speakers[source] == agency_id
    if source == f"file:{agency_id}":  # What a row of CSV has.
        return True
    return source == f"urn:agency:{agency_id}" and agency_id not in speakers.values()
