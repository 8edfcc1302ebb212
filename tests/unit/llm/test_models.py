"""llm/models.py: which providers the environment names, and what an alias means then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hocket.llm.base import ModelCall
from hocket.llm.catalogue import CatalogueError
from hocket.llm.models import PLACEHOLDER_KEY, Models, _endpoint
from hocket.llm.prices import Tokens, cost_usd
from hocket.llm.wire import deprecation, is_loopback
from hocket.runtime.redaction import mask_event
from tests.support.scripted import ScriptedProvider, in_turn, models_of

CALL = ModelCall(
    model="", system="s", prompt="p", tool_name="t", tool_description="d", tool_schema={}, max_output_tokens=100
)
BOTH = {"ANTHROPIC_API_KEY": "a-key", "OPENAI_API_KEY": "o-key"}


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ({}, []),
        ({"ANTHROPIC_API_KEY": " "}, []),
        (BOTH, ["anthropic", "openai"]),
        ({"OPENAI_API_KEY": "k"}, ["openai"]),
        ({"OPENAI_BASE_URL": "http://localhost:11434/v1"}, ["openai"]),
        (BOTH | {"HOCKET_PROVIDERS": "openai, anthropic"}, ["openai", "anthropic"]),
        (BOTH | {"HOCKET_PROVIDERS": "OpenAI"}, ["openai"]),
    ],
)
def test_providers_are_those_with_a_key_or_an_address_in_the_order_wanted(
    env: dict[str, str], names: list[str]
) -> None:
    models = Models.from_env(env)
    assert list(models.providers) == names
    assert bool(models) == bool(names)
    assert [e.provider for e in models.choices("small")] == names


def test_an_alias_is_the_preferred_providers_model() -> None:
    found = Models.from_env(BOTH | {"HOCKET_PROVIDERS": "openai,anthropic"}).resolve("frontier")
    assert found is not None
    assert (found[0].name, found[1]) == ("openai", "gpt-6.1-sol")
    assert Models.from_env({}).resolve("frontier") is None
    assert Models.from_env(BOTH).resolve("enormous") is None


def test_an_unknown_provider_is_told() -> None:
    with pytest.raises(CatalogueError, match="HOCKET_PROVIDERS: unknown gemini; there are anthropic, openai"):
        Models.from_env({"HOCKET_PROVIDERS": "gemini"})


def test_a_server_without_key_gets_a_placeholder_and_no_key_is_ever_shown() -> None:
    local = _endpoint("openai", {"OPENAI_BASE_URL": "http://127.0.0.1:8000/v1"})
    assert local is not None
    assert local.key == PLACEHOLDER_KEY
    real = _endpoint("openai", {"OPENAI_API_KEY": "sk-secret"})
    assert real is not None
    assert "sk-secret" not in repr(real)
    assert real.base_url == "https://api.openai.com/v1"


@pytest.mark.parametrize(("value", "allowed"), [("0", False), ("false", False), ("1", True), ("", True)])
def test_real_models_can_be_switched_off(value: str, allowed: bool) -> None:
    found = _endpoint("anthropic", {"ANTHROPIC_API_KEY": "k", "HOCKET_ALLOW_REAL_MODELS": value})
    assert found is not None
    assert found.allow_real is allowed


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://[::1]:1", True),
        ("http://localhost", True),
        ("https://api.openai.com", False),
        ("http://localhost.evil.com", False),
        ("http://127.0.0.1.nip.io", False),
        ("http://user@10.0.0.1", False),
        ("nonsense", False),
    ],
)
def test_loopback_is_this_machine_only(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


async def test_a_call_takes_the_form_and_the_room_that_its_model_needs() -> None:
    provider = ScriptedProvider("anthropic", in_turn({}))
    models = models_of(provider)
    for alias in ("small", "frontier"):
        await models.call(models.choices(alias)[0], CALL)
    await models.call(models.choices("small")[0], replace(CALL, max_output_tokens=10**9))
    small, frontier, huge = provider.calls
    assert (small.model, small.form, small.thinking, small.max_output_tokens) == (
        "claude-haiku-5-5",
        "tool",
        "disabled",
        100,
    )
    assert (frontier.form, frontier.effort, frontier.max_output_tokens) == ("auto", "medium", 8_100)
    assert huge.max_output_tokens == 128_000


async def test_closing_closes_every_provider() -> None:
    providers = [ScriptedProvider(name, in_turn({})) for name in ("anthropic", "openai")]
    await models_of(*providers).close()
    assert all(p.closed for p in providers)


def test_a_catalogue_of_ones_own_is_named_by_a_variable(tmp_path: Path) -> None:
    own = tmp_path / "models.toml"
    own.write_text('[[models]]\nprovider = "openai"\nid = "qwen3:8b"\nalias = "frontier"\n')
    env = {"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1", "HOCKET_MODELS": str(own)}
    assert [e.engine for e in Models.from_env(env).choices("frontier")] == ["openai/qwen3:8b"]


def test_a_key_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-from-a-file\n")
    found = _endpoint("anthropic", {"ANTHROPIC_API_KEY_FILE": str(tmp_path / "key")})
    assert found is not None
    assert found.key == "sk-from-a-file"


def test_a_key_file_that_does_not_do_is_told_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" ")
    for path, said in ((tmp_path / "empty", "is empty"), (tmp_path / "none", "No such file")):
        with pytest.raises(CatalogueError, match=said):
            _endpoint("openai", {"OPENAI_API_KEY_FILE": str(path)})
    with pytest.raises(CatalogueError, match="both set") as caught:
        _endpoint("openai", {"OPENAI_API_KEY": "sk-secret", "OPENAI_API_KEY_FILE": "x"})
    assert "sk-secret" not in str(caught.value)


def test_known_keys_are_taken_out_of_log_lines() -> None:
    _endpoint("openai", {"OPENAI_API_KEY": "a-quite-unusual-secret"})
    line = mask_event(
        None, "info", {"event": "calling with a-quite-unusual-secret", "error": ValueError("sk-abcdef12")}
    )
    assert line == {"event": "calling with ***", "error": "***"}


def test_prices_of_ones_own_come_first_and_an_unknown_model_is_told(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('["openai/gpt-6-luna"]\ninput_usd = 1\noutput_usd = 2\ncache_write_usd = 4\n')
    models = Models.from_env(BOTH | {"HOCKET_PRICES": str(prices)})
    entry = models.entry("openai/gpt-6-luna")
    used = Tokens(input=1_000_000, cache_writes=500_000, output=1_000_000)
    assert cost_usd(entry, used, at_ms=0) == 0.5 + 2.0 + 2.0
    prices.write_text('["openai/gpt-0"]\ninput_usd = 1\noutput_usd = 2\n')
    with pytest.raises(CatalogueError, match="not in the catalogue: openai/gpt-0"):
        Models.from_env({"HOCKET_PRICES": str(prices)})


def test_a_deprecated_model_is_known_and_the_shipped_ones_are_not_deprecated() -> None:
    from anthropic.resources.messages.messages import DEPRECATED_MODELS

    old = next(iter(DEPRECATED_MODELS))
    assert f"ends on {DEPRECATED_MODELS[old]}" in (deprecation("anthropic", old) or "")
    for entry in models_of().entries:
        assert deprecation(entry.provider, entry.id) is None


@pytest.mark.parametrize(
    "env",
    [{"HOCKET_RETRY_MS": "soon"}, {"HOCKET_HEDGE": "2"}, {"HOCKET_BREAKER_FAILURES": "0"}, {"HOCKET_MAX_CALLS": "x"}],
)
def test_a_wrong_setting_is_named(env: dict[str, str]) -> None:
    with pytest.raises(CatalogueError, match=next(iter(env))):
        Models.from_env(env)


def test_settings_are_taken_from_the_environment() -> None:
    tuning = Models.from_env({"HOCKET_RETRY_MS": "exponential", "HOCKET_HEDGE": "0.95"}).tuning
    assert (tuning.schedule_ms, tuning.hedge) == ((1_000, 2_000, 4_000), 0.95)
    assert Models.from_env({}).tuning.hedge is None
