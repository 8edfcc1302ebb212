"""What headers and settings say of limits."""

from __future__ import annotations

import pytest

from hocket.llm.catalogue import CatalogueError, Entry
from hocket.llm.limits import Heard, Rates, heard_in, limits_of

NOW = 1_800_000_000_000
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "1000",
    "anthropic-ratelimit-requests-remaining": "400",
    "anthropic-ratelimit-requests-reset": "2027-01-15T08:00:02Z",
    "anthropic-ratelimit-tokens-limit": "80000",
    "anthropic-ratelimit-tokens-remaining": "79000",
    "anthropic-ratelimit-tokens-reset": "2027-01-15T08:00:30Z",
}


def test_both_providers_words_are_understood() -> None:
    said = heard_in(ANTHROPIC, now_ms=NOW)
    assert said == Heard(limit=Rates(rpm=1000, tpm=80_000), left=Rates(rpm=400, tpm=79_000), reset_ms=30_000)
    assert said.pressed
    openai = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-limit-tokens": "30000",
        "x-ratelimit-remaining-tokens": "20000",
        "x-ratelimit-reset-tokens": "1m0.5s",
    }
    said = heard_in(openai, now_ms=NOW)
    assert said == Heard(limit=Rates(rpm=500, tpm=30_000), left=Rates(rpm=499, tpm=20_000), reset_ms=60_500)
    assert not said.pressed


def test_a_limit_of_a_day_is_not_taken_for_a_minutes() -> None:
    day = {
        "x-ratelimit-limit-requests": "200",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "7m12s",
    }
    assert heard_in(day, now_ms=NOW) is None


@pytest.mark.parametrize("headers", [{}, {"x-ratelimit-limit-requests": "many"}, {"retry-after": "1"}])
def test_what_says_nothing_of_limits_is_nothing(headers: dict[str, str]) -> None:
    assert heard_in(headers, now_ms=NOW) is None


def test_settings_come_from_the_catalogue_and_over_it_from_the_environment() -> None:
    entry = Entry.model_validate({"provider": "openai", "id": "m", "alias": "small", "rpm": 10, "tpm": 20})
    assert limits_of({}, [entry]) == {"openai/m": Rates(rpm=10, tpm=20)}
    env = {"HOCKET_LIMITS": '{"anthropic": {"rpm": 600}, "openai/m": {"tpm": 5}}'}
    assert limits_of(env, [entry]) == {"anthropic": Rates(rpm=600), "openai/m": Rates(tpm=5)}


@pytest.mark.parametrize("said", ["600", "[]x", '{"a": 1}', '{"a": {"rpm": 0}}', '{"a": {"rps": 1}}', '{"a": {}}'])
def test_a_wrong_setting_is_named_with_an_example(said: str) -> None:
    with pytest.raises(CatalogueError, match=r"HOCKET_LIMITS.*give a JSON object"):
        limits_of({"HOCKET_LIMITS": said}, [])
