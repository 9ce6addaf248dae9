"""Whether a debt may be placed: every reason where it applies, and beside it where it just does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from domain.calendar_days import Holidays
from domain.clearance import Answer, Code, Decision, Question, Reason, answer
from domain.events import (
    Channel,
    ChannelsChosen,
    DisputeOutcome,
    Event,
    NoticeFailed,
    NoticeKind,
    PaymentFailed,
    Recorded,
)
from domain.policy import Days, DebtRules, NoticeRules, Policy
from domain.recall import Said
from tests.builders import (
    ACCOUNT,
    LENIENT,
    MOMENT,
    account,
    acknowledged,
    closed,
    credited,
    day,
    dispute_ended,
    disputed,
    marked,
    notified,
    opened,
    paid,
    pending,
    plan_agreed,
    plan_ended,
    recorded,
    referred,
    restated,
    returned,
    withdrawn,
)

NOW = day(10)
"""A Thursday."""
REMINDER, PRICE, WARNING = NoticeKind.DEBT_REMINDER, NoticeKind.PRICE_CHANGE, NoticeKind.PLACEMENT_WARNING
SMS_ONLY = recorded(ChannelsChosen(ACCOUNT, frozenset({Channel.SMS})), day(0))
NO_CHANNEL = recorded(ChannelsChosen(ACCOUNT, frozenset()), day(0))
PRICE_FAILED = NoticeFailed(ACCOUNT, "n-1", PRICE, Channel.SMS, day(-1))
IN_THE_CABINET = notified(WARNING, 3, channel=Channel.CABINET)
UPHELD, REJECTED = dispute_ended(DisputeOutcome.UPHELD), dispute_ended(DisputeOutcome.REJECTED)
RECALLED = {"l-1": Said(100_00, recalled=True)}
GRACE = LENIENT.debt.snapshot_grace


BEHIND = "billing.payments/0 is read up to 3 of 4"
"""Why not all may be known."""


@dataclass(frozen=True)
class Row:
    """One row of a table: what is known, what is asked, and the codes that are the answer."""

    name: str
    codes: str
    events: list[Event | Recorded]
    policy: Policy = LENIENT
    now: datetime = NOW
    debt_id: str = "d-1"
    said: Mapping[str, Said] = field(default_factory=dict)
    quarantined: bool = False
    quarantine_ids: tuple[int, ...] = ()
    behind: str | None = None

    def answer(self) -> Answer:
        """The answer to this row's question."""
        return answer(
            Question(
                account(*self.events),
                self.said,
                self.debt_id,
                self.policy,
                self.now,
                quarantined=self.quarantined,
                quarantine_ids=self.quarantine_ids,
                behind=self.behind,
            )
        )


def debt_rules(
    *,
    tolerance_minor: int = 0,
    percent: str = "0",
    minimum_minor: int = 0,
    limitation_days: int = 0,
    charges_hold: bool = True,
    grace: timedelta = GRACE,
) -> Policy:
    """The lenient policy with other rules for debts."""
    rules = DebtRules(
        tolerance_minor=tolerance_minor,
        tolerance_percent=Decimal(percent),
        minimum_minor=minimum_minor,
        limitation_days=limitation_days,
        only_charges_left_holds=charges_hold,
        snapshot_grace=grace,
    )
    return replace(LENIENT, debt=rules)


def notice_rules(
    *,
    reminders: int = 0,
    since_last: int = 0,
    warning: int = 0,
    price_change: int = 10,
    channels: frozenset[Channel] | None = None,
) -> Policy:
    """The lenient policy with other rules for notices."""
    return replace(LENIENT, notices=NoticeRules(reminders, since_last, warning, price_change, channels))


def working(policy: Policy, *holidays: date, zone: str = "UTC") -> Policy:
    """A policy with its days for notices counted as working days, in a time zone, and these holidays."""
    rules = replace(policy.notices, days=Days.WORKING)
    return replace(policy, notices=rules, holidays=Holidays.of(holidays), timezone=ZoneInfo(zone))


def reminded(at: datetime) -> Event:
    """A reminder delivered at an instant."""
    return replace(notified(REMINDER, 0), delivered_at=at)


MINIMUM = debt_rules(minimum_minor=50_00)
LIMITED = debt_rules(limitation_days=40)
"""The debt is due on 3 October: on day 10, 12 November, it is 40 days since."""
IN_MOSCOW = replace(LIMITED, timezone=ZoneInfo("Europe/Moscow"))
REMINDED = notice_rules(reminders=2, since_last=3)
WARNED = notice_rules(warning=7)
IN_THREE = notice_rules(reminders=1, since_last=3)
TUESDAY, SATURDAY = date(2026, 11, 10), date(2026, 11, 7)
"""Day 0 is a Monday, so days 5 and 6 are a weekend, and day 8 is this Tuesday."""
CLOCKS_BACK = datetime(2026, 10, 25, 22, 30, tzinfo=UTC)
"""The last hour of a Sunday in Berlin, whose clocks went back that night; by summer time it would be Monday."""
WITH_FEE = referred(principal=60_00, fee=40_00)
WITH_RISE = referred(principal=60_00, price_change=40_00)
ROWS = [
    Row("nothing against it", "", [referred()]),
    # ACCOUNT_QUARANTINED, STREAM_BEHIND
    Row("an event in quarantine", "ACCOUNT_QUARANTINED", [referred()], quarantined=True),
    Row("streams behind", "STREAM_BEHIND", [referred()], behind=BEHIND),
    # DEBT_UNKNOWN
    Row("no such debt", "DEBT_UNKNOWN", [referred()], debt_id="d-2"),
    Row("only paid", "DEBT_UNKNOWN", [paid(debt_id="d-1")]),
    Row("only withdrawn", "DEBT_UNKNOWN", [withdrawn(day(1))]),
    Row("only placed", "DEBT_UNKNOWN", [opened()]),
    # DEBT_WITHDRAWN
    Row("withdrawn", "DEBT_WITHDRAWN", [referred(), withdrawn(day(5))]),
    Row("another withdrawn", "", [referred(), withdrawn(day(5), "d-2")]),
    Row("withdrawn as it was referred", "DEBT_WITHDRAWN", [recorded(referred(), day(5)), withdrawn(day(5))]),
    Row("withdrawn, referred again", "", [referred(), withdrawn(day(5)), restated(90_00, day(5) + MOMENT)]),
    # ALREADY_PLACED
    Row("placed", "ALREADY_PLACED", [referred(), opened()]),
    Row("another placed", "", [referred(), opened(debt_id="d-2")]),
    Row("placed and closed", "", [referred(), opened(), closed()]),
    Row("placed twice, one closed", "ALREADY_PLACED", [referred(), opened(), opened("l-2"), closed()]),
    Row("recalled", "ALREADY_PLACED", [referred(), opened()], said=RECALLED),
    Row("recall acknowledged", "", [referred(), opened(), acknowledged()], said=RECALLED),
    Row("acknowledged unasked", "ALREADY_PLACED", [referred(), opened(), acknowledged()]),
    # DEBT_SETTLED
    Row("paid", "DEBT_SETTLED", [referred(), paid()]),
    Row("paid but for a kopeck", "", [referred(), paid(99_99)]),
    Row("paid too much", "DEBT_SETTLED", [referred(), paid(200_00)]),
    Row("paid and returned", "", [referred(), paid(), returned()]),
    Row("returned before paid", "", [referred(), returned(), paid()]),
    Row("written off", "DEBT_SETTLED", [referred(), credited()]),
    Row("half paid, half credited", "DEBT_SETTLED", [referred(), paid(50_00), credited(50_00)]),
    Row("at the tolerance", "DEBT_SETTLED", [referred(), paid(99_00)], debt_rules(tolerance_minor=100)),
    Row("above the tolerance", "", [referred(), paid(98_99)], debt_rules(tolerance_minor=100)),
    Row("at the share", "DEBT_SETTLED", [referred(), paid(98_50)], debt_rules(percent="1.5")),
    Row("above the share", "", [referred(), paid(98_49)], debt_rules(percent="1.5")),
    Row("another debt paid", "", [referred(), paid(debt_id="d-2")]),
    Row(
        "the rest of another's payment", "DEBT_SETTLED", [referred(), referred("d-2"), paid(200_00, debt_id="d-2")]
    ),
    Row("paid, stated anew", "", [referred(), paid(), restated(40_00, day(5))]),
    # DEBT_TIME_BARRED
    Row("at the limitation", "", [referred()], LIMITED, now=day(10)),
    Row("after the limitation", "DEBT_TIME_BARRED", [referred()], LIMITED, now=day(11)),
    Row("last hour of the day", "", [referred()], LIMITED, now=day(10, 22)),
    Row("the next day there", "DEBT_TIME_BARRED", [referred()], IN_MOSCOW, now=day(10, 22)),
    Row("a limitation in calendar days", "DEBT_TIME_BARRED", [referred()], working(LIMITED), now=day(11)),
    Row("no limitation", "", [referred()], now=day(4000)),
    # PROTECTED_CUSTOMER
    Row("bankrupt", "PROTECTED_CUSTOMER", [referred(), marked("bankrupt")]),
    Row("bankrupt and more", "PROTECTED_CUSTOMER", [referred(), marked("vip", "bankrupt")]),
    Row("a mark that protects from nothing", "", [referred(), marked("vip")]),
    Row("bankrupt no more", "", [referred(), marked("bankrupt"), marked(on_day=5)]),
    Row("bankrupt again", "PROTECTED_CUSTOMER", [referred(), marked(on_day=5), marked("bankrupt", on_day=6)]),
    # BELOW_MINIMUM
    Row("under the minimum", "BELOW_MINIMUM", [referred(), paid(50_01)], MINIMUM),
    Row("at the minimum", "", [referred(), paid(50_00)], MINIMUM),
    Row("paid, under a minimum", "DEBT_SETTLED BELOW_MINIMUM", [referred(), paid()], MINIMUM),
    # ONLY_CHARGES_LEFT
    Row("only a fee left", "ONLY_CHARGES_LEFT", [WITH_FEE, paid(60_00)]),
    Row("some principal left", "", [WITH_FEE, paid(59_99)]),
    Row("a penalty from the start", "ONLY_CHARGES_LEFT", [referred(penalty=100_00)]),
    Row("only a fee left, placed anyway", "", [WITH_FEE, paid(60_00)], debt_rules(charges_hold=False)),
    Row("nothing left", "DEBT_SETTLED", [WITH_FEE, paid()]),
    # PRICE_CHANGE_NOT_NOTIFIED
    Row("never told of the rise", "PRICE_CHANGE_NOT_NOTIFIED", [WITH_RISE]),
    Row("told in time", "", [WITH_RISE, notified(PRICE, 0)]),
    Row("told too late", "PRICE_CHANGE_NOT_NOTIFIED", [WITH_RISE, notified(PRICE, 1)]),
    Row(
        "told in the cabinet, none chosen", "", [WITH_RISE, notified(PRICE, 0, channel=Channel.CABINET), NO_CHANNEL]
    ),
    Row(
        "told in the cabinet, SMS chosen",
        "PRICE_CHANGE_NOT_NOTIFIED",
        [WITH_RISE, notified(PRICE, 0, channel=Channel.CABINET), SMS_ONLY],
    ),
    Row("told by SMS, SMS chosen", "", [WITH_RISE, notified(PRICE, 0), SMS_ONLY]),
    Row(
        "told in the cabinet too", "", [WITH_RISE, notified(PRICE, 0), notified(PRICE, -1, channel=Channel.CABINET)]
    ),
    Row("told of another debt", "PRICE_CHANGE_NOT_NOTIFIED", [WITH_RISE, notified(PRICE, 0, debt_id="d-2")]),
    Row("told something else", "PRICE_CHANGE_NOT_NOTIFIED", [WITH_RISE, notified(REMINDER, 0)]),
    Row("a notice of the rise failed", "PRICE_CHANGE_NOT_NOTIFIED", [WITH_RISE, PRICE_FAILED]),
    Row("a notice of the rise failed first", "", [WITH_RISE, PRICE_FAILED, notified(PRICE, 0, notice_id="n-1")]),
    Row(
        "told of the rise at once, no days asked",
        "",
        [WITH_RISE, notified(PRICE, 10)],
        notice_rules(price_change=0),
    ),
    Row("never told, no days asked", "PRICE_CHANGE_NOT_NOTIFIED", [WITH_RISE], notice_rules(price_change=0)),
    Row("a rise of nothing", "", [referred(principal=100_00, price_change=0)]),
    Row(
        "the rise is paid, and nobody was told",
        "PRICE_CHANGE_NOT_NOTIFIED",
        [referred(price_change=40_00, penalty=60_00), paid(40_00)],
        debt_rules(charges_hold=False),
    ),
    Row(
        "the rise is paid by who was told",
        "",
        [referred(price_change=40_00, penalty=60_00), paid(40_00), notified(PRICE, 0)],
        debt_rules(charges_hold=False),
    ),
    Row("told ten working days ago", "", [WITH_RISE, notified(PRICE, -4)], working(LENIENT)),
    Row(
        "told nine working days ago",
        "PRICE_CHANGE_NOT_NOTIFIED",
        [WITH_RISE, notified(PRICE, -3)],
        working(LENIENT),
    ),
    Row("a kopeck of the rise", "PRICE_CHANGE_NOT_NOTIFIED", [WITH_RISE, paid(99_99)]),
    Row("told ten days ago by the calendar", "", [WITH_RISE, notified(PRICE, 0)], now=day(10, 0)),
    # PAYMENT_PENDING
    Row("on its way", "PAYMENT_PENDING", [referred(), pending()]),
    Row("on its way but for a kopeck", "", [referred(), pending(99_99)]),
    Row(
        "on its way, to the tolerance",
        "PAYMENT_PENDING",
        [referred(), pending(99_00)],
        debt_rules(tolerance_minor=100),
    ),
    Row("failed", "", [referred(), pending(), PaymentFailed(ACCOUNT, "p-1")]),
    Row("arrived", "DEBT_SETTLED", [referred(), pending(), paid()]),
    Row("the rest on its way", "PAYMENT_PENDING", [referred(), paid(40_00), pending(60_00, payment_id="p-2")]),
    Row("on its way to another debt", "", [referred(), pending(debt_id="d-2")]),
    Row(
        "two halves on their way", "PAYMENT_PENDING", [referred(), pending(50_00), pending(50_00, payment_id="p-2")]
    ),
    Row("on its way, its start before as_of", "PAYMENT_PENDING", [restated(100_00, day(5)), pending()]),
    Row(
        "on its way, and in the amount",
        "",
        [replace(referred(), reflected_payment_ids=frozenset({"p-1"})), pending()],
    ),
    # SNAPSHOT_UNCERTAIN
    Row("paid at as_of", "SNAPSHOT_UNCERTAIN", [referred(), paid(at=day(0))]),
    Row("paid after as_of", "DEBT_SETTLED", [referred(), paid(at=day(0) + MOMENT)]),
    Row("paid within grace", "SNAPSHOT_UNCERTAIN", [referred(), paid(at=day(0) - GRACE + MOMENT)]),
    Row("paid at the end of grace", "", [referred(), paid(at=day(0) - GRACE)]),
    Row("paid at as_of, no grace", "", [referred(), paid(at=day(0))], debt_rules(grace=timedelta(0))),
    Row("paid within grace but for a kopeck", "", [referred(), paid(99_99, day(-1))]),
    Row("paid within grace for another debt", "", [referred(), paid(at=day(-1), debt_id="d-2")]),
    Row("credited within grace", "SNAPSHOT_UNCERTAIN", [referred(), credited(at=day(-1))]),
    Row("paid within grace and returned", "", [referred(), paid(at=day(-1)), returned()]),
    Row(
        "paid within grace, and in the amount",
        "",
        [replace(referred(), reflected_payment_ids=frozenset({"p-1"})), paid(at=day(-1))],
    ),
    Row(
        "the rest of another's payment within grace",
        "SNAPSHOT_UNCERTAIN",
        [referred(), replace(referred("d-2", 20_00), as_of=day(-5)), paid(120_00, day(-1), debt_id="d-2")],
    ),
    Row(
        "neither pays it alone",
        "PAYMENT_PENDING SNAPSHOT_UNCERTAIN",
        [referred(), paid(40_00, day(-1)), pending(60_00, payment_id="p-2")],
    ),
    Row(
        "what is on its way is enough",
        "PAYMENT_PENDING",
        [referred(), paid(40_00, day(-1)), pending(100_00, payment_id="p-2")],
    ),
    Row(
        "what may be in the amount is enough",
        "SNAPSHOT_UNCERTAIN",
        [referred(), paid(100_00, day(-1)), pending(40_00, payment_id="p-2")],
    ),
    Row(
        "either is enough",
        "PAYMENT_PENDING SNAPSHOT_UNCERTAIN",
        [referred(), paid(100_00, day(-1)), pending(100_00, payment_id="p-2")],
    ),
    # CURRENCY_MISMATCH
    Row("paid in dollars", "CURRENCY_MISMATCH", [referred(), paid(currency="USD")]),
    Row("a cent", "CURRENCY_MISMATCH", [referred(), paid(1, currency="USD")]),
    Row("another debt paid in dollars", "", [referred(), paid(currency="USD", debt_id="d-2")]),
    Row("dollars before as_of", "", [referred(), paid(currency="USD", at=day(-9))]),
    Row("dollars beside all of it", "DEBT_SETTLED", [referred(), paid(currency="USD"), paid(payment_id="p-2")]),
    # DISPUTE_OPEN
    Row("disputed", "DISPUTE_OPEN", [referred(), disputed()]),
    Row("the account disputed", "DISPUTE_OPEN", [referred(), disputed(None)]),
    Row("another disputed", "", [referred(), disputed("d-2")]),
    Row("dispute rejected", "", [referred(), disputed(), REJECTED]),
    Row("dispute withdrawn", "", [referred(), disputed(), dispute_ended(DisputeOutcome.WITHDRAWN)]),
    Row("dispute upheld", "DISPUTE_OPEN", [referred(), disputed(), UPHELD]),
    Row("dispute of another upheld", "", [referred(), disputed("d-2"), UPHELD]),
    Row("upheld, then stated anew", "", [referred(), disputed(), UPHELD, restated(90_00, day(6))]),
    Row("stated anew, then upheld", "DISPUTE_OPEN", [disputed(), UPHELD, restated(90_00, day(6) - MOMENT)]),
    Row("disputed again", "DISPUTE_OPEN", [referred(), disputed(), REJECTED, disputed(on_day=7)]),
    Row("an outcome without its dispute", "", [referred(), UPHELD]),
    # PLAN_ACTIVE
    Row("by instalments", "PLAN_ACTIVE", [referred(), plan_agreed()]),
    Row("the account by instalments", "PLAN_ACTIVE", [referred(), plan_agreed(None)]),
    Row("another by instalments", "", [referred(), plan_agreed("d-2")]),
    Row("instalments ended", "", [referred(), plan_agreed(), plan_ended()]),
    Row(
        "instalments agreed again", "PLAN_ACTIVE", [referred(), plan_agreed(), plan_ended(), plan_agreed(on_day=7)]
    ),
    # NOTICES_MISSING
    Row("reminded twice", "", [referred(), notified(REMINDER, 1), notified(REMINDER, 7)], REMINDED),
    Row("reminded once", "NOTICES_MISSING", [referred(), notified(REMINDER, 7)], REMINDED),
    Row(
        "reminded too lately",
        "NOTICES_MISSING",
        [referred(), notified(REMINDER, 1), notified(REMINDER, 8)],
        REMINDED,
    ),
    Row(
        "not reminded yet", "NOTICES_MISSING", [referred(), notified(REMINDER, 1), notified(REMINDER, 11)], REMINDED
    ),
    Row(
        "reminded twice, and once more tomorrow",
        "",
        [referred(), *(notified(REMINDER, on_day) for on_day in (1, 7, 11))],
        REMINDED,
    ),
    Row(
        "one reminder delivered twice",
        "NOTICES_MISSING",
        [referred(), notified(REMINDER, 1, notice_id="n"), notified(REMINDER, 7, notice_id="n")],
        REMINDED,
    ),
    Row(
        "one reminder failed",
        "NOTICES_MISSING",
        [referred(), notified(REMINDER, 1), NoticeFailed(ACCOUNT, "n-2", REMINDER, Channel.SMS, day(7))],
        REMINDED,
    ),
    Row(
        "one reminder where nobody looks",
        "NOTICES_MISSING",
        [referred(), SMS_ONLY, notified(REMINDER, 1), notified(REMINDER, 7, channel=Channel.CABINET)],
        REMINDED,
    ),
    Row(
        "by a channel that the policy lists, whatever was chosen",
        "",
        [referred(), SMS_ONLY, *(notified(REMINDER, on_day, channel=Channel.POST) for on_day in (1, 7))],
        notice_rules(reminders=2, channels=frozenset({Channel.POST})),
    ),
    Row(
        "by a channel that the policy does not list",
        "NOTICES_MISSING",
        [referred(), SMS_ONLY, notified(REMINDER, 1), notified(REMINDER, 7)],
        notice_rules(reminders=2, channels=frozenset({Channel.POST})),
    ),
    Row(
        "reminded of another debt",
        "NOTICES_MISSING",
        [referred(), notified(REMINDER, 1), notified(REMINDER, 7, debt_id="d-2")],
        REMINDED,
    ),
    Row("none asked, one just now", "", [referred(), notified(REMINDER, 10)], notice_rules(since_last=3)),
    # NOTICES_MISSING, in working days
    Row("Friday to Tuesday by the calendar", "", [referred(), reminded(day(4))], IN_THREE, now=day(8)),
    Row("Friday to Tuesday", "NOTICES_MISSING", [referred(), reminded(day(4))], working(IN_THREE), now=day(8)),
    Row("Friday to Wednesday", "", [referred(), reminded(day(4))], working(IN_THREE), now=day(9)),
    Row("Saturday to Tuesday", "NOTICES_MISSING", [referred(), reminded(day(5))], working(IN_THREE), now=day(8)),
    Row("Sunday to Wednesday", "", [referred(), reminded(day(6))], working(IN_THREE), now=day(9)),
    Row("Wednesday to Sunday", "NOTICES_MISSING", [referred(), reminded(day(2))], working(IN_THREE), now=day(6)),
    Row("Wednesday to Monday", "", [referred(), reminded(day(2))], working(IN_THREE), now=day(7)),
    Row("Monday to Thursday", "", [referred(), reminded(day(7))], working(IN_THREE, SATURDAY)),
    Row("over a holiday", "NOTICES_MISSING", [referred(), reminded(day(7))], working(IN_THREE, TUESDAY)),
    Row("over a holiday, a day later", "", [referred(), reminded(day(7))], working(IN_THREE, TUESDAY), now=day(11)),
    Row("by the last hour of Sunday", "", [referred(), reminded(day(6, 22))], working(IN_THREE), now=day(9)),
    Row(
        "by the first hour of Monday, in Moscow",
        "NOTICES_MISSING",
        [referred(), reminded(day(6, 22))],
        working(IN_THREE, zone="Europe/Moscow"),
        now=day(9),
    ),
    Row(
        "before the midnight after the clocks went back",
        "",
        [referred(), reminded(CLOCKS_BACK)],
        working(IN_THREE, zone="Europe/Berlin"),
        now=day(-5),
    ),
    Row(
        "after the midnight after the clocks went back",
        "NOTICES_MISSING",
        [referred(), reminded(CLOCKS_BACK + timedelta(hours=1))],
        working(IN_THREE, zone="Europe/Berlin"),
        now=day(-5),
    ),
    Row("warned seven working days ago", "", [referred(), notified(WARNING, 1)], working(WARNED)),
    Row("warned six working days ago", "NOTICES_MISSING", [referred(), notified(WARNING, 2)], working(WARNED)),
    # NOTICES_MISSING, warnings
    Row("warned in time", "", [referred(), notified(WARNING, 3)], WARNED),
    Row("warned too lately", "NOTICES_MISSING", [referred(), notified(WARNING, 4)], WARNED),
    Row("not warned", "NOTICES_MISSING", [referred(), notified(REMINDER, 3)], WARNED),
    Row("warned where nobody looks", "NOTICES_MISSING", [referred(), SMS_ONLY, IN_THE_CABINET], WARNED),
    Row("warned by a channel that was chosen", "", [referred(), SMS_ONLY, notified(WARNING, 3)], WARNED),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_reason_applies_where_its_rule_says(row: Row) -> None:
    """Each row gives what is known and all the reasons that apply; where none does the answer is clear."""
    actual = row.answer()

    codes = [Code(code) for code in row.codes.split()]
    assert codes == [reason.code for reason in actual.reasons]


def test_the_table_has_a_row_for_every_reason() -> None:
    """No reason of the contract is without a row where it applies."""
    shown = {code for row in ROWS for code in row.codes.split()}

    assert set(Code) == shown


def test_the_reasons_stand_in_the_contracts_order() -> None:
    """The codes are the contract's, in its order."""
    expected = """ACCOUNT_QUARANTINED STREAM_BEHIND DEBT_UNKNOWN DEBT_WITHDRAWN ALREADY_PLACED DEBT_SETTLED
        DEBT_TIME_BARRED PROTECTED_CUSTOMER BELOW_MINIMUM ONLY_CHARGES_LEFT PRICE_CHANGE_NOT_NOTIFIED
        PAYMENT_PENDING SNAPSHOT_UNCERTAIN CURRENCY_MISMATCH DISPUTE_OPEN PLAN_ACTIVE NOTICES_MISSING"""

    assert expected.split() == [code.value for code in Code]


STRICT = replace(
    LENIENT,
    debt=DebtRules(tolerance_minor=0, minimum_minor=500_00, limitation_days=1),
    notices=NoticeRules(debt_reminders=1),
)
AGAINST: list[Event | Recorded] = [
    withdrawn(day(5)),
    opened(),
    marked("minor"),
    disputed(),
    plan_agreed(),
    paid(currency="USD", payment_id="p-usd"),
]


@pytest.mark.parametrize(
    ("events", "missing"),
    [
        (
            [referred(price_change=60_00, fee=40_00), *AGAINST, paid(100_00, day(-1)), pending(payment_id="p-2")],
            "DEBT_UNKNOWN DEBT_SETTLED ONLY_CHARGES_LEFT",
        ),
        (
            [referred(fee=100_00), *AGAINST, paid(100_00, day(-1)), pending(payment_id="p-2")],
            "DEBT_UNKNOWN DEBT_SETTLED PRICE_CHANGE_NOT_NOTIFIED",
        ),
        (
            [referred(fee=100_00), *AGAINST, paid(), pending(payment_id="p-2")],
            """DEBT_UNKNOWN ONLY_CHARGES_LEFT PRICE_CHANGE_NOT_NOTIFIED PAYMENT_PENDING SNAPSHOT_UNCERTAIN
            CURRENCY_MISMATCH""",
        ),
    ],
    ids=["all but charges", "only charges", "settled"],
)
def test_all_reasons_that_apply_are_listed_in_order(events: list[Event | Recorded], missing: str) -> None:
    """A debt with everything against it gets every reason, in the contract's order, but those that exclude it."""
    actual = Row("", "", events, STRICT, quarantined=True, behind=BEHIND).answer()

    expected = [code for code in Code if code not in missing.split()]
    assert expected == [reason.code for reason in actual.reasons]


def test_an_unknown_debt_gets_no_reason_that_needs_it() -> None:
    """What holds the account stands before an unknown debt, and nothing after it."""
    actual = Row("", "", [*AGAINST], STRICT, debt_id="d-7", quarantined=True, behind=BEHIND).answer()

    expected = [Code.ACCOUNT_QUARANTINED, Code.STREAM_BEHIND, Code.DEBT_UNKNOWN]
    assert expected == [reason.code for reason in actual.reasons]


REFUSED = {
    Code.DEBT_UNKNOWN,
    Code.DEBT_WITHDRAWN,
    Code.ALREADY_PLACED,
    Code.DEBT_SETTLED,
    Code.DEBT_TIME_BARRED,
    Code.PROTECTED_CUSTOMER,
    Code.BELOW_MINIMUM,
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_first_reason_decides(row: Row) -> None:
    """The decision is that of the first reason: refuse for what will not change, hold for what may."""
    actual = row.answer()

    first = next(iter(actual.reasons), None)
    expected = Decision.CLEAR if first is None else Decision.REFUSE if first.code in REFUSED else Decision.HOLD
    assert expected == actual.decision


def test_what_holds_the_account_comes_before_a_refusal() -> None:
    """While an event is in quarantine a settled debt is held, since the event may be its return."""
    actual = Row("", "", [referred(), paid()], quarantined=True).answer()

    assert actual.decision is Decision.HOLD


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row("", "", [referred(), paid(30_00)]), Answer(Decision.CLEAR, (), 70_00, "RUB")),
        (
            Row("", "", [], debt_id="d-1"),
            Answer(
                Decision.REFUSE,
                (Reason(Code.DEBT_UNKNOWN, "No such debt was referred on this account."),),
                0,
                "",
            ),
        ),
    ],
    ids=["clear", "unknown"],
)
def test_an_answer_says_what_may_be_placed(row: Row, expected: Answer) -> None:
    """The answer gives what is owed in the debt's currency, and nothing where the debt is unknown."""
    assert expected == row.answer()
