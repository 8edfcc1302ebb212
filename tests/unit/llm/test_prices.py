"""llm/prices.py: known prices are right, unknown ones are None and never 0."""

from __future__ import annotations

from typing import Any

import pytest

from hocket.llm.catalogue import Entry, load_catalogue
from hocket.llm.prices import Tokens, cost_usd, usage_of

AT = 1_795_000_000_000  # November 2026


def entry(**fields: Any) -> Entry:
    return Entry.model_validate({"provider": "openai", "id": "gpt-6-luna", "alias": "small"} | fields)


def shipped(provider: str, alias: str) -> Entry:
    return next(e for e in load_catalogue() if (e.provider, e.alias) == (provider, alias))


@pytest.mark.parametrize(
    ("provider", "tokens", "cost"),
    [
        # Claude Sonnet 5.5: $2 in, $0.10 cached, $10 out per million.
        ("anthropic", Tokens(input=1_000, output=100), 0.003),
        ("anthropic", Tokens(input=1_000, cached=1_000, output=0), 0.0001),
        # GPT-6.1 Terra: $1 in, $0.05 cached, $5 out per million.
        ("openai", Tokens(input=1_000, output=100), 0.0015),
        ("openai", Tokens(input=2_000, cached=1_000, output=0), 0.00105),
        ("openai", Tokens(), 0.0),
    ],
)
def test_shipped_models_cost_what_the_list_says(provider: str, tokens: Tokens, cost: float) -> None:
    assert cost_usd(shipped(provider, "middle"), tokens, at_ms=AT) == pytest.approx(cost)


def test_a_model_of_ones_own_has_no_price_even_under_a_known_name() -> None:
    assert cost_usd(entry(), Tokens(input=10, output=10), at_ms=AT) is None


def test_a_shipped_model_that_the_list_does_not_know_has_no_price() -> None:
    assert cost_usd(entry(id="nobody-knows-me", shipped=True), Tokens(input=10), at_ms=AT) is None


def test_own_prices_come_first() -> None:
    own = entry(input_usd=1.0, output_usd=10.0, shipped=True)
    assert cost_usd(own, Tokens(input=1_000, cached=500, output=100), at_ms=AT) == pytest.approx(0.002)
    cheaper = entry(input_usd=1.0, cached_usd=0.0, output_usd=10.0)
    assert cost_usd(cheaper, Tokens(input=1_000, cached=500, output=100), at_ms=AT) == pytest.approx(0.0015)


def test_counts_that_contradict_each_other_have_no_price() -> None:
    assert cost_usd(shipped("openai", "small"), Tokens(input=10, cached=20), at_ms=AT) is None


def test_the_usage_record_carries_all_of_it() -> None:
    used = usage_of(entry(), Tokens(input=10, cached=4, output=3), started_ms=AT, ended_ms=AT + 25)
    assert used.model_dump() == {
        "provider": "openai",
        "model": "gpt-6-luna",
        "input_tokens": 10,
        "cached_tokens": 4,
        "output_tokens": 3,
        "cost_usd": None,
        "millis": 25,
        "cache_write_tokens": 0,
        "estimated": False,
    }
