"""The paper that a customer gets when a collector has stopped: one page, in the customer's language and words.

Called by `consumers.confirmation`; what may be said is decided in `domain.confirmation`. It loads nothing from
anywhere and holds no word of ours: whoever reads it never heard of a placement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import StrEnum
from html import escape

from domain.confirmation import Confirmed, Ending
from domain.words import amount_in_words


class Language(StrEnum):
    """The languages of the page."""

    RU = "ru"
    EN = "en"


@dataclass(frozen=True, slots=True)
class Words:
    """The page's words in one language; `{agency}` is filled in."""

    settled_title: str
    stopped_title: str
    settled: str
    taken_back: str
    account: str
    contract: str
    creditor: str
    agency: str
    paid: str
    paid_on: str
    credited: str
    credited_on: str
    told: str
    stopped: str
    closed: str
    if_called: str
    as_of: str
    months: tuple[str, ...]


WORDS = {
    Language.RU: Words(
        settled_title="Долг погашен, взыскание прекращено",
        stopped_title="Взыскание прекращено",
        settled="Подтверждаем, что ваш долг погашен. Агентство «{agency}» больше не занимается его взысканием.",
        taken_back="Подтверждаем, что это требование отозвано. Агентство «{agency}» больше им не занимается.",
        account="Лицевой счёт",
        contract="Договор",
        creditor="Кредитор",
        agency="Агентство",
        paid="Оплачено",
        paid_on="Дата оплаты",
        credited="Погашено",
        credited_on="Дата погашения",
        told="Мы сообщили агентству, что взыскание нужно прекратить",
        stopped="Агентство подтвердило, что прекратило взыскание",
        closed="Агентство закончило работу с долгом",
        if_called="Если с вами всё же свяжутся по этому долгу, сообщите нам и покажите этот документ.",
        as_of="Составлено {at}. Время указано по поясу {zone}.",
        months=(
            "января", "февраля", "марта", "апреля", "мая", "июня",
            "июля", "августа", "сентября", "октября", "ноября", "декабря",
        ),
    ),
    Language.EN: Words(
        settled_title="The debt is settled, and collection has stopped",
        stopped_title="Collection has stopped",
        settled="We confirm that your debt is settled. {agency} no longer collects it.",
        taken_back="We confirm that this claim was taken back. {agency} no longer collects it.",
        account="Your account",
        contract="Contract",
        creditor="Creditor",
        agency="Collection agency",
        paid="Paid",
        paid_on="Date of payment",
        credited="Settled",
        credited_on="Settled on",
        told="We told the agency to stop",
        stopped="The agency confirmed that it has stopped",
        closed="The agency ended its work on the debt",
        if_called="If anybody contacts you about this debt all the same, tell us, and show them this page.",
        as_of="Written on {at}. Times are {zone}.",
        months=(
            "January", "February", "March", "April", "May", "June",
            "July", "August", "September", "October", "November", "December",
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Paper:
    """What a page is of, who writes it, and when."""

    confirmed: Confirmed
    creditor: str
    agency_name: str
    at: datetime
    timezone: tzinfo
    language: Language

    def html(self) -> str:
        """The page."""
        words = WORDS[self.language]
        settled = self.confirmed.ending is not Ending.TAKEN_BACK
        sentence = words.settled if settled else words.taken_back
        rows = "\n".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in self._rows()
        )
        return PAGE.format(
            language=self.language,
            title=escape(words.settled_title if settled else words.stopped_title),
            creditor=escape(_printable(self.creditor)),
            sentence=escape(sentence.format(agency=_printable(self.agency_name))),
            rows=rows,
            print_pt=PRINT_PT if self._names() <= NAMES_MAX_CHARACTERS else SMALL_PRINT_PT,
            if_called=escape(words.if_called),
            as_of=escape(words.as_of.format(at=self._instant(self.at), zone=self._zone())),
        )

    def _names(self) -> int:
        """How long the names on it are, which others chose."""
        said = self.confirmed
        return sum(map(len, (self.creditor, self.agency_name, said.account_id, said.contract_id or "")))

    def _rows(self) -> Iterator[tuple[str, str]]:
        words, said = WORDS[self.language], self.confirmed
        paid = said.ending is Ending.PAID
        yield words.account, _printable(said.account_id)
        if said.contract_id is not None:
            yield words.contract, _printable(said.contract_id)
        yield words.creditor, _printable(self.creditor)
        yield words.agency, _printable(self.agency_name)
        if said.amount:
            yield words.paid if paid else words.credited, self._amount(said.amount, said.currency)
        if said.settled_at is not None:
            yield words.paid_on if paid else words.credited_on, self._day(said.settled_at)
        for name, at in (
            (words.told, said.told_at),
            (words.stopped, said.stopped_at),
            (words.closed, said.closed_at),
        ):
            if at is not None:
                yield name, self._instant(at)

    def _amount(self, amount_minor: int, currency: str) -> str:
        """An amount as people of the language write it, its thousands apart."""
        number, code = amount_in_words(amount_minor, currency).split(" ")
        whole, point, part = number.partition(".")
        grouped = f"{int(whole):,}"
        if self.language is Language.EN:
            return f"{grouped}{point}{part} {code}"
        name = "руб." if code == "RUB" else code
        return f"{grouped.replace(',', NO_BREAK)}{',' if point else ''}{part}{NO_BREAK}{name}"

    def _day(self, at: datetime) -> str:
        local = at.astimezone(self.timezone)
        month = WORDS[self.language].months[local.month - 1]
        year = f"{local.year} г." if self.language is Language.RU else f"{local.year}"
        return f"{local.day} {month} {year}"

    def _instant(self, at: datetime) -> str:
        return f"{self._day(at)}, {at.astimezone(self.timezone):%H:%M}"

    def _zone(self) -> str:
        offset = self.at.astimezone(self.timezone).strftime("%z")
        return f"UTC{offset[:3]}:{offset[3:5]}"


NO_BREAK = "\u00a0"

PRINT_PT = 11.5
SMALL_PRINT_PT = 9
NAMES_MAX_CHARACTERS = 300
"""More than anybody has; with the longest that are taken, 656 wide letters, it is one page in small print."""

PAGE = """<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 16px/1.5 "Liberation Sans", Arial, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 40rem; margin: 2.5rem auto; padding: 0 1.25rem; overflow-wrap: anywhere; }}
header {{ border-bottom: 2px solid #1a1a1a; padding-bottom: .5rem; font-weight: bold; }}
h1 {{ font-size: 1.5rem; line-height: 1.25; margin: 2rem 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; margin: 1.5rem 0; }}
th, td {{ text-align: left; vertical-align: top; padding: .6rem 0; border-bottom: 1px solid #bbb; }}
th {{ font-weight: normal; color: #444; width: 45%; padding-right: 1.5rem; }}
footer {{ margin-top: 2rem; font-size: .875rem; color: #444; }}
@page {{ size: A4; margin: 18mm; }}
@media print {{
  body {{ font-size: {print_pt}pt; max-width: none; margin: 0; padding: 0; }}
  h1 {{ font-size: 16pt; margin: 1rem 0; }}
  table {{ margin: 1rem 0; }}
  th, td {{ padding: .4rem 0; }}
  footer {{ font-size: 10pt; margin-top: 1rem; }}
}}
</style>
</head>
<body>
<header>{creditor}</header>
<main>
<h1>{title}</h1>
<p>{sentence}</p>
<table>
{rows}
</table>
<p>{if_called}</p>
</main>
<footer>{as_of}</footer>
</body>
</html>
"""


def _printable(text: str) -> str:
    """A name as it may stand on paper: nothing in it turns or hides what stands beside it."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
