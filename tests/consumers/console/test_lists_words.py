"""The texts of the console: each is there in every language, with the same values and all the forms it needs."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter

import pytest
from babel import Locale

from consumers.console.recalls import MOODS
from consumers.console.replies import Told
from consumers.console.words import Text, Tongue, texts
from domain.agency import ChannelKind
from domain.holdings import Kind
from domain.policy import RecallReason
from domain.recall import Cause, RecallStage
from infra.postgres.records import Act


def values_of(text: Text) -> set[str]:
    """The values that a text names, in any of its forms; `n` may be left out where a form says it in a word."""
    forms = text.values() if isinstance(text, Mapping) else [text]
    return {name for form in forms for _, name, _, _ in Formatter().parse(form) if name is not None} | {"n"}


@pytest.mark.parametrize("tongue", Tongue)
def test_each_language_has_every_text_with_its_values(tongue: Tongue) -> None:
    """What one language says the others say too."""
    ours, english = texts(tongue), texts(Tongue.EN)

    assert ours.keys() == english.keys()
    assert {name for name in ours if values_of(ours[name]) != values_of(english[name])} == set()


@pytest.mark.parametrize("tongue", Tongue)
def test_a_text_with_forms_has_those_of_its_language(tongue: Tongue) -> None:
    """No number is without its form."""
    needed = {*Locale.parse(tongue).plural_form.tags, "other"}
    forms = {name: set(text) for name, text in texts(tongue).items() if isinstance(text, Mapping)}

    assert {name for name, has in forms.items() if has != needed} == set()


def test_every_code_has_its_words() -> None:
    """Reasons, causes, states, channels, kinds of finding, acts and replies are told in words, none as a code."""
    codes = {
        "recalls.state_": RecallStage,
        "recalls.reason_": RecallReason,
        "recalls.cause_": Cause,
        "agencies.channel_": ChannelKind,
        "agencies.kind_": Kind,
        "record.act_": Act,
        "replies.": Told,
    }
    wanted = {prefix + one.value.lower().replace(".", "_") for prefix, kinds in codes.items() for one in kinds}

    assert wanted - texts(Tongue.EN).keys() == set()
    assert set(MOODS) == set(RecallStage)
