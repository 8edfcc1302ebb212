# ruff: noqa: RUF001 - typographic dashes and quotation marks are what is read here
"""services/workers/extraction/values.py"""

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.workers.extraction.values import amounts, dates, ibans, is_iban, is_month_first, number, patterns

CENTS = st.integers(min_value=0, max_value=10**11)
DAYS = st.dates(min_value=dt.date(1950, 1, 1), max_value=dt.date(2099, 12, 31))
STYLES = ((",", "."), (".", ","), (" ", ","), ("\u202f", ","), ("'", "."), ("’", "."), ("", "."), ("", ","))
MONTHS = {
    "en": ("January", "Feb", "March", "Apr", "May", "June", "Jul", "August", "Sept", "October", "Nov", "December"),
    "de": ("Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "Sept", "Oktober", "Nov", "Dezember"),
    "fr": (
        "janvier",
        "février",
        "mars",
        "avr",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "oct",
        "novembre",
        "déc",
    ),
}


def written(cents: int, group: str, point: str) -> str:
    return f"{cents // 100:,}".replace(",", group) + f"{point}{cents % 100:02d}"


@given(CENTS, st.sampled_from(STYLES))
def test_a_number_survives_every_style_of_writing_it(cents, style):
    assert number(written(cents, *style)) == Decimal(cents) / 100


@given(CENTS, st.sampled_from(STYLES), st.sampled_from(("€{}", "{} EUR", "EUR {}", "CHF {}", "{} €", "$ {}", "£{}")))
def test_an_amount_is_found_in_a_sentence_with_its_currency(cents, style, frame):
    (money,) = amounts(f"We ask for {frame.format(written(cents, *style))} today.")
    assert money.value == Decimal(cents) / 100
    assert money.currency in ("EUR", "CHF", "USD", "GBP")


@pytest.mark.parametrize("text", ["INV-2026-0417", "19 %", "14.11.2026", "14/11/2026", "7,5%", "30;040.14x", "A12"])
def test_what_is_no_amount_is_none(text):
    assert not [money for money in amounts(text) if money.exact]


def test_a_number_that_fits_no_style_is_none():
    assert number("1.23.4") is None
    assert number("12,34,56") is None
    assert number("") is None


@given(
    DAYS,
    st.sampled_from(("en", "de", "fr")),
    st.sampled_from(("{d} {m} {y}", "{d}. {m} {y}", "{d}{m} {y}", "{m} {d}, {y}")),
)
def test_a_date_in_words_is_read_in_each_language(day, language, frame):
    text = frame.format(d=day.day, m=MONTHS[language][day.month - 1], y=day.year)
    assert [found.date for found in dates(f"Paid on {text} in full")] == [day]


@given(DAYS)
def test_a_date_in_figures_is_read(day):
    for text in (f"{day:%Y-%m-%d}", f"{day:%d.%m.%Y}", f"{day:%d/%m/%Y}", f"{day:%d-%m-%Y}"):
        assert [found.date for found in dates(text)] == [day], text
    assert [found.date for found in dates(f"{day:%m/%d/%Y}", month_first=True)] == [day]


def test_days_that_do_not_exist_are_none():
    assert dates("31.02.2026 and 2026-13-01 and 45/45/2026") == []


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("03/04/2026 and 25/04/2026", "en", False),
        ("03/04/2026 and 04/25/2026", "fr", True),
        ("03/04/2026, total $12.00", "en", True),
        ("03/04/2026, total £12.00 incl. VAT", "en", False),
        ("03/04/2026", "fr", False),
    ],
)
def test_the_order_of_day_and_month_is_taken_from_the_document(text, language, expected):
    assert is_month_first(text, language) is expected


@given(st.integers(min_value=0, max_value=10**18 - 1), st.integers(min_value=0, max_value=21), st.integers(1, 9))
def test_one_wrong_digit_makes_an_iban_invalid(account, place, shift):
    check = 98 - int(f"{account:018d}131400") % 97
    code = f"DE{check:02d}{account:018d}"
    assert is_iban(code)
    assert ibans(f"IBAN {' '.join(code[i : i + 4] for i in range(0, 22, 4))} BIC COBADEFFXXX") == [code]
    place = max(2, place)
    wrong = code[:place] + str((int(code[place]) + shift) % 10) + code[place + 1 :]
    assert not is_iban(wrong)


def test_every_label_and_pattern_of_the_data_file_can_be_used():
    assert {"labels", "ids", "columns", "terms", "months", "currencies", "kinds", "company"} <= set(patterns())
    assert len(patterns()["months"]) == 12
