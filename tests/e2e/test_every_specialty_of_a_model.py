"""All ten specialties through both SDKs: schema-valid output; a wrong reply is repaired once, or fails clearly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hocket.contracts.specialties import STRATEGIES, load_specialties
from hocket.core.work import Document, Input, Work
from hocket.llm.asking import FALLBACK_TOKENS
from hocket.llm.models import Models
from hocket.llm.schemas import faults
from hocket.runtime.clock import now_ms
from services.planner.decompose import MAX_OUTPUT_TOKENS as PLANNING_TOKENS
from services.workers.engine import Engines, Outcome
from tests.support.simulated import Reply, SimulatedProvider
from tests.support.tree import ROOT

SPECIALTIES = load_specialties()
REPLIES: dict[str, dict[str, Any]] = {
    "research": {"text": "Three months.", "missing": ["the rent"]},
    "code": {"text": "Run it.", "files": [{"path": "a.py", "language": "python", "content": "print(1)\n"}]},
    "analysis": {"text": "Sales rise.", "notes": ["One month is missing."]},
    "writing": {"text": "Dear [name],", "title": "Your order", "language": "en", "gaps": ["name"]},
    "translation": {"text": "Guten Tag", "source_language": "en", "target_language": "de"},
    "extraction": {"kind": "other", "text": "Three vendors.", "language": "en"},
    "summarisation": {"summary": "A is cheap."},
    "sentiment": {"label": "neutral", "score": 0.0, "intensity": "low", "language": "en"},
    "decision": {"decision": "pay", "because": "It is due."},
    "synthesis": {"text": "Take A.", "sources": ["a"]},
}

WHOLE = {"extraction", "summarisation"}
"""Their local engines do all of the work, and so this task's too, when every model has failed."""


async def asked(api: str, name: str, *replies: Reply) -> tuple[Outcome, SimulatedProvider]:
    left = list(replies)
    # "best" of decision and the like begins with a model; where the local engine is first, it finds nothing to do.
    work = Work(task_id="t", specialty=name, instruction="Do it.", text="A text without any table.")
    async with SimulatedProvider(lambda _: left.pop(0) if len(left) > 1 else left[0]) as provider:
        engines = Engines(Models.from_env(provider.env(api)), now_ms)
        outcome = await engines.run(SPECIALTIES[name], work, strategy="best", deadline_ms=now_ms() + 20_000)
        await engines.close()
    return outcome, provider


def test_there_are_ten() -> None:
    assert set(SPECIALTIES) == set(REPLIES)
    limits = {n: SPECIALTIES[n].max_output_tokens for n in ("code", "research", "analysis", "writing", "synthesis")}
    assert limits == {"code": 4096, "research": 2048, "analysis": 2048, "writing": 3000, "synthesis": 2048}
    assert (PLANNING_TOKENS, FALLBACK_TOKENS) == (1_024, 1_024)
    assert [n for n, s in SPECIALTIES.items() if not (s.prompt.strip() and set(s.ladder) == set(STRATEGIES))] == []


def _within(said: Any, kept: Any) -> bool:
    """Whether all that was said was kept; defaults may have been filled in."""
    if isinstance(said, dict):
        return all(key in kept and _within(value, kept[key]) for key, value in said.items())
    if isinstance(said, list):
        return len(said) == len(kept) and all(_within(a, b) for a, b in zip(said, kept, strict=True))
    return bool(said == kept)


@pytest.mark.parametrize("api", ["anthropic", "openai"])
@pytest.mark.parametrize("name", sorted(REPLIES))
async def test_a_model_fills_in_the_same_record_as_the_local_engine(api: str, name: str) -> None:
    outcome, provider = await asked(api, name, Reply(data=REPLIES[name]))
    assert outcome.error is None
    assert (outcome.engine or "").startswith(f"{api}/")
    assert faults(SPECIALTIES[name].output_schema, outcome.output) == []
    kept = {key: outcome.output[key] for key in REPLIES[name]} if outcome.output else {}
    assert _within(REPLIES[name], kept)
    assert len(provider.log) == 1


@pytest.mark.parametrize("api", ["anthropic", "openai"])
@pytest.mark.parametrize("name", sorted(REPLIES))
async def test_a_reply_that_does_not_fit_is_repaired_once(api: str, name: str) -> None:
    outcome, provider = await asked(api, name, Reply(data={"nothing": 1}), Reply(data=REPLIES[name]))
    assert outcome.error is None
    assert faults(SPECIALTIES[name].output_schema, outcome.output) == []
    assert [a.outcome for a in outcome.attempts if a.engine != "local"] == ["malformed", "completed"]
    assert len(provider.log) == 2


@pytest.mark.parametrize("api", ["anthropic", "openai"])
@pytest.mark.parametrize("name", sorted(set(REPLIES) - WHOLE))
async def test_a_reply_that_never_fits_fails_clearly(api: str, name: str) -> None:
    """Also where there is a local engine: this task leaves it nothing that it could do."""
    outcome, provider = await asked(api, name, Reply(data={"nothing": 1}))
    assert outcome.output is None
    assert outcome.error is not None
    assert outcome.error.kind == "malformed"
    assert "does not fit, even after one repair: the reply: there is no field 'nothing'" in outcome.error.message
    models = {logged.model for logged in provider.log}
    assert len(provider.log) == 2 * len(models), "one repair for each rung, no more"


@pytest.mark.parametrize("api", ["anthropic", "openai"])
@pytest.mark.parametrize("name", sorted(WHOLE))
async def test_a_reply_that_never_fits_gives_way_to_the_local_engine_and_the_receipt_says_so(
    api: str, name: str
) -> None:
    outcome, provider = await asked(api, name, Reply(data={"nothing": 1}))
    assert (outcome.engine, faults(SPECIALTIES[name].output_schema, outcome.output)) == ("local", [])
    assert "(malformed)" in (outcome.why or "")
    assert len(provider.log) == 2 * len({logged.model for logged in provider.log}), "one repair for each rung, no more"


@pytest.mark.parametrize("name", ["code", "writing"])
async def test_without_any_model_they_say_in_one_sentence_what_is_missing(name: str) -> None:
    engines = Engines(None, now_ms)
    work = Work(task_id="t", specialty=name, instruction="Do it.", text="x")
    outcome = await engines.run(SPECIALTIES[name], work, strategy="balanced", deadline_ms=None)
    await engines.close()
    assert outcome.error is not None
    assert outcome.error.kind == "needs_model"
    assert outcome.error.message.startswith(f"The specialty {name} needs a model (")
    assert "ANTHROPIC_API_KEY" in outcome.error.message


TUNED = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/howto/fine-tuning-data.md").read_text("utf-8"), re.DOTALL)


async def test_a_model_of_ones_own_is_one_entry_with_its_own_price(tmp_path: Path) -> None:
    """The entry of docs/howto/fine-tuning-data.md, as it stands there."""
    [entry] = TUNED
    catalogue = tmp_path / "models.toml"
    catalogue.write_text(entry, "utf-8")
    work = Work(task_id="t", specialty="writing", instruction="Do it.", text="x")
    reply = Reply(data=REPLIES["writing"], input_tokens=2_000, output_tokens=500)
    async with SimulatedProvider(lambda _: reply) as provider:
        engines = Engines(Models.from_env(provider.env("openai") | {"HOCKET_MODELS": str(catalogue)}), now_ms)
        outcome = await engines.run(SPECIALTIES["writing"], work, strategy="fast", deadline_ms=now_ms() + 20_000)
        await engines.close()
    assert outcome.engine == "openai/ft:gpt-6-luna:your-house::abc123"
    assert [logged.model for logged in provider.log] == ["ft:gpt-6-luna:your-house::abc123"]
    [used] = outcome.usage
    assert used.cost_usd == pytest.approx(2_000 * 0.9e-6 + 500 * 3.6e-6)


@pytest.mark.parametrize("api", ["anthropic", "openai"])
async def test_a_quote_that_no_document_holds_is_sent_back_and_the_mended_one_delivered(api: str) -> None:
    lease = Document(name="lease.txt", media_type="text/plain", data=b"The notice period is three months.")
    said = [
        {"text": "It is so.", "passages": [{"quote": q, "document": "lease.txt"}]}
        for q in ("six months", "three months")
    ]
    left = [Reply(data=data) for data in said]
    work = Work(task_id="t", specialty="research", instruction="What is the notice period?", documents=(lease,))
    async with SimulatedProvider(lambda _: left.pop(0)) as provider:
        engines = Engines(Models.from_env(provider.env(api)), now_ms)
        outcome = await engines.run(SPECIALTIES["research"], work, strategy="best", deadline_ms=now_ms() + 20_000)
        await engines.close()
    assert outcome.output is not None, outcome.error
    assert [passage["quote"] for passage in outcome.output["passages"]] == ["three months"]
    assert len(provider.log) == 2
    assert "word for word" in str(provider.log[1])


async def ran(name: str, strategy: str, *replies: Reply, **work: Any) -> tuple[Outcome, SimulatedProvider]:
    """One task with Anthropic's models behind it."""
    left = list(replies)
    task = Work(task_id="t", specialty=name, instruction="Do it.", **work)
    async with SimulatedProvider(lambda _: left.pop(0) if len(left) > 1 else left[0]) as provider:
        engines = Engines(Models.from_env(provider.env("anthropic")), now_ms)
        outcome = await engines.run(SPECIALTIES[name], task, strategy=strategy, deadline_ms=now_ms() + 20_000)
        await engines.close()
    return outcome, provider


NEGATIVE = {"label": "negative", "score": -0.6, "intensity": "medium", "language": "en"}


async def test_a_sentiment_that_the_engine_doubts_goes_to_a_model_and_a_plain_one_does_not() -> None:
    facts = "The box has been standing on the ramp since Monday."
    doubted, provider = await ran("sentiment", "balanced", Reply(data=NEGATIVE | {"confidence": 0.9}), text=facts)
    assert (doubted.text, len(provider.log)) == ("negative", 1)
    assert [a.outcome for a in doubted.attempts] == ["doubted", "completed"]
    assert "after local (doubted)" in (doubted.why or "")
    plain, provider = await ran("sentiment", "balanced", Reply(data=NEGATIVE), text="I love it, it is excellent!")
    assert (plain.text, plain.engine, provider.log) == ("positive", "local", [])


async def test_a_sentiment_that_the_small_model_doubts_goes_to_the_next_rung() -> None:
    facts = "The box has been standing on the ramp since Monday."
    unsure, sure = (Reply(data=NEGATIVE | {"confidence": c}) for c in (0.2, 0.9))
    found, provider = await ran("sentiment", "balanced", unsure, sure, text=facts)
    assert (found.text, len(provider.log)) == ("negative", 2)
    assert len({a.engine for a in found.attempts}) == 3
    alone, _ = await ran("sentiment", "balanced", Reply(data={"label": 7}), text=facts)
    assert (alone.text, alone.engine) == ("neutral", "local"), "a doubted one is better than none"


async def test_a_synthesis_of_several_texts_is_written_by_a_model_and_joined_only_without_one() -> None:
    parts = tuple(Input(task_id=n, specialty="writing", output={"text": f"Part {n}."}) for n in "ab")
    written, provider = await ran("synthesis", "balanced", Reply(data={"text": "Both."}), inputs=parts)
    assert (written.text, len(provider.log)) == ("Both.", 1)
    joined, _ = await ran("synthesis", "balanced", Reply(data={"txt": "?"}), inputs=parts)
    assert joined.text == "## a\n\nPart a.\n\n## b\n\nPart b."
    assert "a lesser result" in (joined.why or "")
