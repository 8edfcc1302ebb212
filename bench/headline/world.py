"""The assumptions as values, and chance that is the same for every system: by name, not by order."""

from __future__ import annotations

import copy
import functools
import hashlib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

from hocket.llm.catalogue import Entry, load_catalogue
from hocket.llm.prices import Tokens, cost_usd

ASSUMPTIONS = Path(__file__).with_name("assumptions.toml")
_NORMAL = NormalDist()
_MILLION = 1_000_000
RUNGS = ("small", "middle", "frontier")


@dataclass(frozen=True)
class World:
    """What is assumed. `changed` makes another one; nothing in it changes while a system runs."""

    data: dict[str, Any]
    prices: Mapping[str, float] = field(default_factory=dict)
    """Factors on the list prices of a rung's models."""

    @classmethod
    def load(cls) -> World:
        return cls(tomllib.loads(ASSUMPTIONS.read_text("utf-8")))

    def __getitem__(self, name: str) -> Any:
        return self.data[name]

    def with_workload(self, **values: Any) -> World:
        """The world with other values in its section `workload`."""
        data = copy.deepcopy(self.data)
        data["workload"] |= values
        return replace(self, data=data)

    def changed(self, what: str, factor: float) -> World:
        """The world with one input times `factor`; the names are those of repeats.INPUTS."""
        data = copy.deepcopy(self.data)
        name, _, whose = what.partition(" of ")
        match name, whose:
            case "latency", "all models":
                data["latency_ms"] = {k: v * factor for k, v in data["latency_ms"].items()}
            case "latency", rung:
                data["latency_ms"][rung] *= factor
            case "price", rung:
                return replace(self, prices=self.prices | {rung: factor})
            case "errors", "local":
                data["local"] = _with_errors(data["local"], factor)
            case "errors", rung if rung:
                data["quality"][rung] = _with_errors(data["quality"][rung], factor)
            case "length", _:
                data["output_tokens"] = {k: round(v * factor) for k, v in data["output_tokens"].items()}
            case _:
                *sections, last = what.split(".")
                place = functools.reduce(lambda found, section: found[section], sections, data)
                place[last] *= factor
        return replace(self, data=data)

    def dice(self, *name: object) -> float:
        """A number in (0, 1) that belongs to the name: every system meets the same luck at the same place."""
        digest = hashlib.blake2b(repr((self["workload"]["seed"], *name)).encode(), digest_size=8).digest()
        return (int.from_bytes(digest, "big") + 0.5) / 2**64

    def is_right(self, case: str, kind: str, engine: str, rung: str, attempt: int) -> bool:
        """Whether the model's reply is right: a Gaussian copula joins all replies to the same task."""
        alike = self["quality"]["alike"]
        shared = _NORMAL.inv_cdf(self.dice("hard", case))
        own = _NORMAL.inv_cdf(self.dice("reply", case, engine, attempt))
        drawn = _NORMAL.cdf(math.sqrt(alike) * shared + math.sqrt(1 - alike) * own)
        return bool(drawn < self["quality"][rung][kind])

    def objects(self, case: str, source: str, *, right: bool) -> bool:
        """Whether the check rejects a reply."""
        drawn = self.dice("check", case, source)
        return bool(drawn < self["check"]["false_reject"] if right else drawn >= self["check"]["false_accept"])

    def millis(self, case: str, kind: str, engine: str, rung: str, attempt: int) -> float:
        """How long a good reply takes."""
        said = self["latency"]
        written = self["output_tokens"][kind] / said["reference_tokens"]
        median = self["latency_ms"][rung] * (said["fixed_share"] + (1 - said["fixed_share"]) * written)
        spread = math.exp(said["sigma"] * _NORMAL.inv_cdf(self.dice("slow", case, engine, attempt)))
        stalled = self.dice("stall", case, engine, attempt) < said["stall_share"]
        return float(median * spread * (said["stall_factor"] if stalled else 1))

    def failure(self, case: str, engine: str, attempt: int) -> str | None:
        """The kind of failure that this call ends with, if any."""
        drawn = self.dice("fails", case, engine, attempt) / max(self["errors"]["rate"], 1e-9)
        for kind, share in self["errors"]["kinds"].items():
            if drawn < share:
                return str(kind)
            drawn -= share
        return None

    def entries(self, at_ms: int) -> tuple[Entry, ...]:
        """The catalogue with today's public prices written in, as a user's price file would: looked up once."""
        found = []
        for entry in load_catalogue():
            each = {
                "input_usd": Tokens(input=_MILLION),
                "cached_usd": Tokens(input=_MILLION, cached=_MILLION),
                "cache_write_usd": Tokens(input=_MILLION, cache_writes=_MILLION),
                "output_usd": Tokens(output=_MILLION),
            }
            prices = {name: cost_usd(entry, tokens, at_ms=at_ms) for name, tokens in each.items()}
            if None in prices.values():
                raise SystemExit(f"genai-prices knows no price for {entry.engine}: name one in HOCKET_PRICES")
            factor = self.prices.get(entry.alias, 1.0)
            update = {name: factor * float(price or 0) for name, price in prices.items()}
            found.append(entry.model_copy(update=update))
        return tuple(found)


def _with_errors(right: Mapping[str, float], factor: float) -> dict[str, float]:
    return {k: max(0.0, 1 - (1 - v) * factor) for k, v in right.items()}
