"""The text that opens an evidence pack: what is in it, how to check it, and what it does not show.

Called by `consumers.evidence.maker`.
"""

from __future__ import annotations

from collections.abc import Mapping


def readme(about: Mapping[str, object]) -> str:
    """The text of one pack."""
    behind = f"Events may be missing: {about['behind']}\n" if about["behind"] else ""
    return TEXT.format(
        placement_id=about["placement_id"],
        account_id=about["account_id"],
        made_at=about["made_at"],
        made_by=about["made_by"],
        version=about["version"],
        behind=behind,
    )


TEXT = """What happened on placement {placement_id} of account {account_id}.

Made {made_at} by {made_by}, with handoff-guard {version}.
{behind}
WHAT IS IN IT

timeline.txt, .html, .json   What happened, in order: when it was said to happen, when it was known here where that
                             was later, and the file that shows it. Begin here.
state.json                   The placement, its recall and the agency's contacts as the database has them.
events/                      Each event that concerns the placement. index.json says of each where and when it
                             came, and whether its file has the bytes as they were received. Where it does not,
                             the file is named .content.json and has what was kept of the content.
answers/index.json           Which of the events are the agency's.
decisions/                   What was answered when collections asked whether the debt may be placed, with the
                             version and hash of the policy. .published.bin also names the events it was decided on.
policy.toml                  The policy in force when this was made, where it is a file. decisions/index.json
                             says which were made under it; of others only the hash is known.
messages/                    What was sent to the agency, with each attempt's request and response where it went
                             by another way than Kafka.
quarantine/                  Events that could not be applied and held the account, with their bytes. They may be
                             about somebody else.
confirmation.html            The page for the customer, where there is one; manifest.json says why not.
manifest.json                Every file with its size and SHA-256, and one hash over all of it.
verify.py                    Checks all of that.

Not in it: the customer's other debts, other placements of this debt, and what protects the customer, unless that
is why the placement was recalled. Payments are of the account, so all of them are in it. A decision names the
events it was made on, and some of those may belong to other debts: of these the names stand here and nothing else.

HOW TO CHECK IT

    python3 verify.py --expect HASH PACK.zip

HASH was printed when the pack was made. Take it from where it was written down, and verify.py from the product
and not from here: whoever changed a file could have changed both.

WHAT IT SHOWS, AND WHAT NOT

That nothing was changed since it was made, for whoever has HASH from elsewhere. Not that what was received was
true, nor that whoever made it was honest: no signature and no third party stands behind it. An event read back from
the log was compared with the digest that was taken when it first came.
"""
