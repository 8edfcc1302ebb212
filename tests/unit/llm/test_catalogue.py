"""llm/catalogue.py: the shipped models, and a user's own in their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from hocket.llm.catalogue import ALIASES, CatalogueError, load_catalogue, parse

OWN = """
[[models]]
provider = "openai"
id = "qwen3:8b"
alias = "small"
"""


def test_every_provider_has_every_alias_once() -> None:
    found = [(e.provider, e.alias) for e in load_catalogue()]
    assert sorted(found) == sorted((p, a) for p in ("anthropic", "openai") for a in ALIASES)


def test_better_aliases_have_better_models() -> None:
    by_place = {(e.provider, e.alias): e.quality for e in load_catalogue()}
    for provider in ("anthropic", "openai"):
        qualities = [by_place[provider, alias] for alias in ALIASES]
        assert qualities == sorted(set(qualities))


def test_every_shipped_model_has_a_public_price() -> None:
    from hocket.llm.prices import Tokens, cost_usd

    for entry in load_catalogue():
        cost = cost_usd(entry, Tokens(input=1000, output=100), at_ms=1_795_000_000_000)
        assert cost is not None, entry.engine
        assert cost > 0


def test_contexts_are_what_the_public_list_says() -> None:
    from genai_prices.data_snapshot import get_snapshot

    for entry in load_catalogue():
        _, model = get_snapshot().find_provider_model(entry.id, None, entry.provider, None)
        assert entry.context == model.context_window


def test_an_own_file_replaces_entry_by_entry(tmp_path: Path) -> None:
    own = tmp_path / "models.toml"
    own.write_text(OWN)
    found = {(e.provider, e.alias): e for e in load_catalogue(own)}
    assert found["openai", "small"].id == "qwen3:8b"
    assert not found["openai", "small"].shipped
    assert found["openai", "middle"].shipped
    assert len(found) == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models = 3", "models"),
        ("[[models]", "own.toml: "),
        (OWN.replace("small", "tiny"), "models.0.alias"),
        (OWN.replace("openai", "other"), "models.0.provider"),
        (OWN + "color = 1", "models.0.color"),
        (OWN + "input_usd = 1.0", "give input_usd and output_usd, or neither"),
        (OWN + "quality = 11", "models.0.quality"),
        (OWN.replace("openai", "anthropic") + 'form = "schema"', "form = 'schema' is for openai"),
        (OWN + OWN, "stands twice: openai small"),
    ],
)
def test_a_wrong_file_is_told_by_name_and_place(text: str, said: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        parse(text, "own.toml")
    assert str(caught.value).startswith("own.toml: ")
    assert said in str(caught.value)


def test_a_missing_file_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"HOCKET_MODELS: .*No such file"):
        load_catalogue(tmp_path / "none.toml")
