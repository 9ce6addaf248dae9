"""What a reason shows to a person: amounts, instants and ids, in the creditor's time, and nothing that betrays."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from domain.clearance import EVIDENCE_MAX, Code, Reason
from domain.events import Channel, ChannelsChosen, NoticeFailed
from domain.policy import DebtRules
from tests.builders import (
    ACCOUNT,
    LENIENT,
    credited,
    day,
    disputed,
    marked,
    notified,
    opened,
    paid,
    pending,
    plan_agreed,
    recorded,
    referred,
    restated,
    withdrawn,
)
from tests.domain.test_clearance import (
    BEHIND,
    MINIMUM,
    NO_CHANNEL,
    PRICE,
    RECALLED,
    REMINDED,
    REMINDER,
    SMS_ONLY,
    UPHELD,
    WARNING,
    WITH_FEE,
    WITH_RISE,
    Row,
    debt_rules,
    notice_rules,
    working,
)

MOSCOW = replace(LENIENT, timezone=ZoneInfo("Europe/Moscow"))
BANKRUPT = recorded(marked("bankrupt"), day(8), source="care", event_id="mark-7")
TWO_CHOSEN = recorded(ChannelsChosen(ACCOUNT, frozenset({Channel.SMS, Channel.EMAIL})), day(0))
REMINDER_FAILED = NoticeFailed(ACCOUNT, "n-2", REMINDER, Channel.EMAIL, day(2))
POST_ONLY = notice_rules(reminders=1, channels=frozenset({Channel.POST}))

ROWS = [
    (
        Row("in quarantine", "", [referred()], quarantined=True),
        Reason(Code.ACCOUNT_QUARANTINED, "An event of this account could not be applied."),
    ),
    (
        Row("in quarantine by ids", "", [referred()], quarantined=True, quarantine_ids=(3, 12)),
        Reason(
            Code.ACCOUNT_QUARANTINED,
            "An event of this account could not be applied.",
            ("event 3 is in quarantine", "event 12 is in quarantine"),
        ),
    ),
    (
        Row("behind", "", [referred()], behind=BEHIND),
        Reason(Code.STREAM_BEHIND, "What was paid until now can't be known at the moment.", (BEHIND,)),
    ),
    (
        Row("no debt", "", []),
        Reason(Code.DEBT_UNKNOWN, "No such debt was referred on this account."),
    ),
    (
        Row("other debts", "", [referred("d-3"), referred("d-2"), withdrawn(day(5))]),
        Reason(
            Code.DEBT_UNKNOWN,
            "No such debt was referred on this account.",
            ("debt d-2 was referred", "debt d-3 was referred"),
        ),
    ),
    (
        Row("withdrawn", "", [referred(), withdrawn(day(5))]),
        Reason(Code.DEBT_WITHDRAWN, "Collections withdrew this debt.", ("withdrawn on 07 Nov 2026 09:00",)),
    ),
    (
        Row("placed twice", "", [referred(), opened("l-2", on_day=4), opened()], said=RECALLED),
        Reason(
            Code.ALREADY_PLACED,
            "An agency has this debt.",
            (
                "placement l-1 with agency-1 since 05 Nov 2026 09:00; recalled, and not acknowledged",
                "placement l-2 with agency-1 since 06 Nov 2026 09:00",
            ),
        ),
    ),
    (
        Row("paid and credited", "", [referred(), paid(60_00), credited(40_00)], MOSCOW),
        Reason(
            Code.DEBT_SETTLED,
            "Nothing is owed on this debt.",
            (
                "credited 40.00 RUB on 03 Nov 2026 12:00, credit c-1",
                "paid 60.00 RUB on 03 Nov 2026 12:00, payment p-1",
                "0.00 RUB of 100.00 RUB is owed",
            ),
        ),
    ),
    (
        Row("paid too much", "", [referred(), paid(250_00)]),
        Reason(
            Code.DEBT_SETTLED,
            "Nothing is owed on this debt.",
            (
                "paid 250.00 RUB on 03 Nov 2026 09:00, payment p-1, 100.00 RUB of it for this debt",
                "0.00 RUB of 100.00 RUB is owed",
            ),
        ),
    ),
    (
        Row("to the tolerance", "", [referred(), paid(99_00)], debt_rules(tolerance_minor=100)),
        Reason(
            Code.DEBT_SETTLED,
            "No more is owed on this debt than the policy's tolerance.",
            ("paid 99.00 RUB on 03 Nov 2026 09:00, payment p-1", "1.00 RUB of 100.00 RUB is owed"),
        ),
    ),
    (
        Row("stated as nothing", "", [restated(0, day(5))]),
        Reason(Code.DEBT_SETTLED, "Nothing is owed on this debt.", ("0.00 RUB of 0.00 RUB is owed",)),
    ),
    (
        Row("time-barred", "", [referred()], debt_rules(limitation_days=30)),
        Reason(
            Code.DEBT_TIME_BARRED,
            "It was due more than 30 days ago.",
            ("due on 03 Oct 2026, 40 days ago",),
        ),
    ),
    (
        Row("protected", "", [referred(), BANKRUPT]),
        Reason(
            Code.PROTECTED_CUSTOMER,
            "The customer is protected.",
            ("since 06 Nov 2026 09:00, by event mark-7 of care",),
        ),
    ),
    (
        Row("below the minimum", "", [referred(), paid(60_00)], MINIMUM),
        Reason(
            Code.BELOW_MINIMUM,
            "Too little is owed.",
            ("40.00 RUB of 100.00 RUB is owed", "the least that is placed is 50.00 RUB"),
        ),
    ),
    (
        Row("a fee left", "", [WITH_FEE, paid(70_00)]),
        Reason(Code.ONLY_CHARGES_LEFT, "Only fees or penalties are left.", ("fee: 30.00 RUB is owed",)),
    ),
    (
        Row("never told of the rise", "", [WITH_RISE]),
        Reason(
            Code.PRICE_CHANGE_NOT_NOTIFIED,
            "No notice of the price change reached the customer 10 days ago or earlier.",
            (
                "40.00 RUB of it is a price change",
                "the customer chose no channel, so each counts",
                "no notice of it is known",
            ),
        ),
    ),
    (
        Row(
            "told of the rise in every wrong way",
            "",
            [
                WITH_RISE,
                SMS_ONLY,
                notified(PRICE, 5),
                notified(PRICE, 11),
                notified(PRICE, 0, channel=Channel.CABINET, notice_id="n-1"),
                notified(PRICE, 0, notice_id="n-other", debt_id="d-2"),
                NoticeFailed(ACCOUNT, "n-2", PRICE, Channel.SMS, day(-1)),
            ],
            working(LENIENT),
        ),
        Reason(
            Code.PRICE_CHANGE_NOT_NOTIFIED,
            "No notice of the price change reached the customer 10 working days ago or earlier.",
            (
                "40.00 RUB of it is a price change",
                "the customer chose sms",
                "price change n-2 by sms on 01 Nov 2026 09:00: failed",
                "price change n-1 by cabinet on 02 Nov 2026 09:00: channel not chosen",
                "price change n-price_change-5 by sms on 07 Nov 2026 09:00: 4 working days ago",
                "price change n-price_change-11 by sms on 13 Nov 2026 09:00: not yet",
            ),
        ),
    ),
    (
        Row("on its way", "", [referred(), pending(), pending(1, payment_id="p-2", debt_id="d-2")]),
        Reason(
            Code.PAYMENT_PENDING,
            "Payments on their way would settle it.",
            ("100.00 RUB on its way since 04 Nov 2026 09:00, payment p-1",),
        ),
    ),
    (
        Row("paid before as_of", "", [referred(), paid(at=day(-1))]),
        Reason(
            Code.SNAPSHOT_UNCERTAIN,
            "Payments made just before the debt was stated would settle it, if they are not in its amount.",
            ("paid 100.00 RUB on 01 Nov 2026 09:00, payment p-1", "the debt was stated as of 02 Nov 2026 09:00"),
        ),
    ),
    (
        Row("in dollars", "", [referred(), paid(15_00, currency="USD")]),
        Reason(
            Code.CURRENCY_MISMATCH,
            "It was paid in another currency.",
            ("paid 15.00 USD on 03 Nov 2026 09:00, payment p-1", "the debt is in RUB"),
        ),
    ),
    (
        Row("disputed", "", [referred(), disputed(), replace(disputed(None), dispute_id="q-2"), UPHELD]),
        Reason(
            Code.DISPUTE_OPEN,
            "The customer disputes it.",
            (
                "dispute q-2 opened on 06 Nov 2026 09:00",
                "dispute q-1 upheld on 08 Nov 2026 09:00, and the debt not stated anew since",
            ),
        ),
    ),
    (
        Row("by instalments", "", [referred(), plan_agreed()]),
        Reason(
            Code.PLAN_ACTIVE,
            "The customer pays by instalments.",
            ("plan i-1 agreed on 06 Nov 2026 09:00",),
        ),
    ),
    (
        Row(
            "told too little",
            "",
            [
                referred(),
                TWO_CHOSEN,
                notified(REMINDER, 1),
                REMINDER_FAILED,
                notified(REMINDER, 3, channel=Channel.CABINET),
                notified(WARNING, 6),
            ],
            notice_rules(reminders=2, warning=7),
        ),
        Reason(
            Code.NOTICES_MISSING,
            "The customer was not told enough.",
            (
                "1 of 2 reminders delivered",
                "no placement warning delivered 7 days ago or earlier",
                "the customer chose email, sms",
                "debt reminder n-debt_reminder-1 by sms on 03 Nov 2026 09:00: 9 days ago",
                "debt reminder n-2 by email on 04 Nov 2026 09:00: failed",
                "debt reminder n-debt_reminder-3 by cabinet on 05 Nov 2026 09:00: channel not chosen",
                "placement warning n-placement_warning-6 by sms on 08 Nov 2026 09:00: 4 days ago",
            ),
        ),
    ),
    (
        Row("reminded too lately", "", [referred(), notified(REMINDER, 1), notified(REMINDER, 9)], REMINDED),
        Reason(
            Code.NOTICES_MISSING,
            "The customer was not told enough.",
            (
                "last reminded on 11 Nov 2026 09:00, 1 of 3 days ago",
                "the customer chose no channel, so each counts",
                "debt reminder n-debt_reminder-1 by sms on 03 Nov 2026 09:00: 9 days ago",
                "debt reminder n-debt_reminder-9 by sms on 11 Nov 2026 09:00: 1 day ago",
            ),
        ),
    ),
    (
        Row(
            "reminded too lately, in working days",
            "",
            [referred(), NO_CHANNEL, notified(REMINDER, 1), notified(REMINDER, 9)],
            working(REMINDED),
        ),
        Reason(
            Code.NOTICES_MISSING,
            "The customer was not told enough.",
            (
                "last reminded on 11 Nov 2026 09:00, 1 of 3 working days ago",
                "the customer chose no channel, so each counts",
                "debt reminder n-debt_reminder-1 by sms on 03 Nov 2026 09:00: 7 working days ago",
                "debt reminder n-debt_reminder-9 by sms on 11 Nov 2026 09:00: 1 working day ago",
            ),
        ),
    ),
    (
        Row("reminded, not warned", "", [referred(), notified(REMINDER, 1)], working(notice_rules(warning=7))),
        Reason(
            Code.NOTICES_MISSING,
            "The customer was not told enough.",
            (
                "no placement warning delivered 7 working days ago or earlier",
                "the customer chose no channel, so each counts",
            ),
        ),
    ),
    (
        Row("by a channel that the policy does not list", "", [referred(), notified(REMINDER, 1)], POST_ONLY),
        Reason(
            Code.NOTICES_MISSING,
            "The customer was not told enough.",
            (
                "0 of 1 reminders delivered",
                "the policy counts post",
                "debt reminder n-debt_reminder-1 by sms on 03 Nov 2026 09:00: channel not in the policy",
            ),
        ),
    ),
]


@pytest.mark.parametrize(("row", "expected"), ROWS, ids=[f"{reason.code} {row.name}" for row, reason in ROWS])
def test_a_reason_shows_what_a_person_can_check(row: Row, expected: Reason) -> None:
    """Each reason says in words what applies, and names the facts behind it in the creditor's time."""
    assert (expected,) == row.answer().reasons


def test_an_account_of_many_debts_names_a_few() -> None:
    """Whoever asks for a debt that is not there is shown some that are."""
    (reason,) = Row("", "", [referred(f"d-{n}") for n in range(100, 200)]).answer().reasons

    assert (reason.evidence[0], reason.evidence[-1]) == ("debt d-100 was referred", "and 81 more")
    assert len(reason.evidence) == EVIDENCE_MAX


def test_every_reason_is_shown() -> None:
    """No reason is without a row that says what a person reads."""
    assert set(Code) == {reason.code for _, reason in ROWS}


def test_evidence_never_says_why_a_customer_is_protected() -> None:
    """Which mark it is may be the customer's health, and evidence is published and kept."""
    (reason,) = Row("", "", [referred(), recorded(marked("in_hospital"))]).answer().reasons

    assert "hospital" not in " ".join([reason.message, *reason.evidence])


@pytest.mark.parametrize(
    ("payments", "lines", "last"),
    [
        (EVIDENCE_MAX - 1, EVIDENCE_MAX, "0.00 RUB of 100.00 RUB is owed"),
        (EVIDENCE_MAX, EVIDENCE_MAX, "and 2 more"),
        (1_000, EVIDENCE_MAX, "and 982 more"),
    ],
)
def test_there_is_no_more_evidence_than_a_person_reads(payments: int, lines: int, last: str) -> None:
    """A debt paid by many small payments names the first of them, and how many lines were left out."""
    small = [paid(1, day(1) + timedelta(minutes=n), payment_id=f"p-{n}") for n in range(payments - 1)]
    rest = paid(100_00 - len(small), day(2), payment_id="p-rest")

    (reason,) = Row("", "", [referred(), *small, rest], replace(LENIENT, debt=DebtRules(0))).answer().reasons

    assert (lines, last) == (len(reason.evidence), reason.evidence[-1])
