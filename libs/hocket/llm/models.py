"""Which providers are there, which model an alias means, and one call to it. Keys come from the environment only."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hocket.contracts.records import Usage
from hocket.core.hedge import KNOWN
from hocket.core.route import Candidate
from hocket.llm.anthropic import BASE_URL as ANTHROPIC_URL
from hocket.llm.anthropic import Anthropic
from hocket.llm.base import ModelCall, ModelReply, OnText, Provider
from hocket.llm.catalogue import CatalogueError, Entry, load_catalogue, priced
from hocket.llm.gate import Bound, bound_of, frame_of, holds, within
from hocket.llm.limits import Rates, limits_of
from hocket.llm.openai import BASE_URL as OPENAI_URL
from hocket.llm.openai import OpenAI
from hocket.llm.prices import Tokens, usage_of
from hocket.llm.traced import traced
from hocket.llm.tuning import Tuning
from hocket.llm.vitals import Vitals
from hocket.llm.wire import Bill, Endpoint
from hocket.runtime import clock, redaction

SET_A_KEY = "Set ANTHROPIC_API_KEY or OPENAI_API_KEY."
"""Who must act, and how, when something needs a model and none is configured."""
PLACEHOLDER_KEY = "no-key-needed"
"""Local servers (vLLM, Ollama) want no key, but the SDKs want one to send."""
_DEFAULT_ORDER = ("anthropic", "openai")
_URLS = {"anthropic": ANTHROPIC_URL, "openai": OPENAI_URL}
_TYPES: Mapping[str, type[Anthropic | OpenAI]] = {"anthropic": Anthropic, "openai": OpenAI}


@dataclass(kw_only=True)
class Models:
    """The providers that can be called, in order of preference, and the catalogue. Nothing is loaded before a call."""

    providers: Mapping[str, Provider]
    entries: Sequence[Entry] = field(default_factory=load_catalogue)
    tuning: Tuning = field(default_factory=Tuning)
    vitals: Vitals = field(default_factory=Vitals)
    limits: Mapping[str, Rates] = field(default_factory=dict)
    """Requests and tokens a minute that are set, by provider or provider/model."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, *, now_ms: Callable[[], int] = clock.now_ms) -> Models:
        """The providers with a key (or a base URL, for servers that need none) in the environment.

        HOCKET_PROVIDERS sets the order, comma-separated; only what it names is used. HOCKET_MODELS names a catalogue
        file of one's own, HOCKET_PRICES a file of prices. Raises CatalogueError for a wrong value.
        """
        env = os.environ if env is None else env
        own, prices = env.get("HOCKET_MODELS"), env.get("HOCKET_PRICES")
        entries = load_catalogue(Path(own) if own else None)
        if prices:
            entries = priced(entries, Path(prices))
        tuning = Tuning.from_env(env)
        found: dict[str, Provider] = {}
        for name in _order(env):
            endpoint = _endpoint(name, env)
            if endpoint is not None:
                bill = _biller(name, entries)
                found[name] = _TYPES[name](endpoint, bill=bill, now_ms=now_ms, stall_ms=tuning.stall_ms)
        vitals = Vitals(rules=tuning.rules)
        limits = limits_of(env, entries)
        return cls(providers=found, entries=entries, tuning=tuning, vitals=vitals, limits=limits)

    def listen(self, heard: Callable[[str, Mapping[str, str]], None]) -> None:
        """Hands the headers of every reply, errors included, to `heard`, with provider/model. It must not block."""
        for provider in self.providers.values():
            provider.heard = heard

    def __bool__(self) -> bool:
        """Whether any provider can be called."""
        return bool(self.providers)

    def choices(self, alias: str) -> tuple[Entry, ...]:
        """The models an alias means, the preferred provider's first; empty when no provider with a key has one."""
        return tuple(e for name in self.providers for e in self.entries if e.provider == name and e.alias == alias)

    def entry(self, engine: str) -> Entry:
        """The entry of provider/model. Raises KeyError when the catalogue has none."""
        return {e.engine: e for e in self.entries}[engine]

    def candidates(
        self, alias: str, now_ms: int, call: ModelCall | None = None, left_usd: float | None = None
    ) -> tuple[Candidate, ...]:
        """The models an alias means, as the router wants to see them; with `call`, whether it fits into their context,
        and under a limit what it would cost at most when it keeps within `left_usd` as far as it can."""
        return tuple(self._candidate(e, now_ms, call, left_usd) for e in self.choices(alias))

    def _candidate(self, entry: Entry, now_ms: int, call: ModelCall | None, left_usd: float | None) -> Candidate:
        bound = None
        if call is not None and left_usd is not None:
            bound = self.bound(entry, self.within(entry, call, left_usd, now_ms), now_ms)
        pace = self.vitals.pace(entry.engine)
        known = pace.count >= KNOWN
        return Candidate(
            engine=entry.engine,
            rung=entry.alias,
            quality=entry.quality,
            typical_ms=(pace.quantile(0.5) if known else None) or entry.latency_ms,
            fast_ms=pace.quantile(0.1) if known else None,
            free_at_ms=self.vitals.free_at(entry.engine, now_ms),
            cost_usd=bound.cost_usd if bound is not None else None,
            holds=call is None or holds(entry, call),
        )

    def bound(self, entry: Entry, call: ModelCall, now_ms: int) -> Bound:
        """The most that the call can use, by what earlier ones with the same frame used; see gate.bound_of."""
        return bound_of(entry, call, at_ms=now_ms, seen=self.vitals.seen(entry.engine, frame_of(call)))

    def within(self, entry: Entry, call: ModelCall, left_usd: float | None, now_ms: int) -> ModelCall:
        """The call with its output limit lowered to what is left; see gate.within."""
        return within(entry, call, left_usd, at_ms=now_ms, seen=self.vitals.seen(entry.engine, frame_of(call)))

    def resolve(self, alias: str) -> tuple[Provider, str] | None:
        """Provider and model id for an alias, or None when no provider with a key has one."""
        found = self.choices(alias)
        return (self.providers[found[0].provider], found[0].id) if found else None

    async def call(self, entry: Entry, call: ModelCall, on_text: OnText | None = None) -> ModelReply:
        """Calls the entry's model, in the form it needs. Raises ModelError; see Provider.call."""
        fitted = replace(
            call,
            model=entry.id,
            form=entry.form,
            effort=entry.effort,
            thinking=entry.thinking,
            max_output_tokens=min(entry.output_limit, call.max_output_tokens + entry.thinking_tokens),
        )
        return await traced(entry.provider, fitted, self.providers[entry.provider].call(fitted, on_text))

    async def ready(self, entry: Entry) -> None:
        """Loads what the first call to the entry's provider needs; see Provider.ready."""
        await self.providers[entry.provider].ready(entry.id)

    async def close(self) -> None:
        """Closes all providers' connections."""
        for provider in self.providers.values():
            await provider.close()


def _order(env: Mapping[str, str]) -> tuple[str, ...]:
    given = tuple(p.strip().lower() for p in env.get("HOCKET_PROVIDERS", "").split(",") if p.strip())
    unknown = [p for p in given if p not in _TYPES]
    if unknown:
        raise CatalogueError(f"HOCKET_PROVIDERS: unknown {', '.join(unknown)}; there are {', '.join(_TYPES)}")
    return given or _DEFAULT_ORDER


def _endpoint(name: str, env: Mapping[str, str]) -> Endpoint | None:
    key = _secret(f"{name.upper()}_API_KEY", env)
    url = env.get(f"{name.upper()}_BASE_URL", "").strip()
    if not key and not url:
        return None
    allowed = env.get("HOCKET_ALLOW_REAL_MODELS", "1").strip().lower() not in ("0", "false", "no")
    return Endpoint(key=key or PLACEHOLDER_KEY, base_url=url or _URLS[name], allow_real=allowed)


def _secret(name: str, env: Mapping[str, str]) -> str:
    """The variable's value, or what stands in the file that <name>_FILE names. Raises CatalogueError."""
    value, path = env.get(name, "").strip(), env.get(f"{name}_FILE", "").strip()
    if value and path:
        raise CatalogueError(f"{name} and {name}_FILE are both set: keep one")
    if path:
        try:
            value = Path(path).read_text("utf-8").strip()
        except OSError as e:
            raise CatalogueError(f"{name}_FILE: {path}: {e.strerror}") from e
        except ValueError as e:
            raise CatalogueError(f"{name}_FILE: {path}: not a text file") from e
        if not value:
            raise CatalogueError(f"{name}_FILE: {path} is empty")
    if value:
        redaction.know(value)
    return value


def _biller(provider: str, entries: Sequence[Entry]) -> Bill:
    by_id = {e.id: e for e in entries if e.provider == provider}

    def bill(model: str, tokens: Tokens, started_ms: int, ended_ms: int) -> Usage:
        # A model that is not in the catalogue has no known price.
        entry = by_id.get(model) or Entry.model_validate({"provider": provider, "id": model, "alias": "small"})
        return usage_of(entry, tokens, started_ms=started_ms, ended_ms=ended_ms)

    return bill
