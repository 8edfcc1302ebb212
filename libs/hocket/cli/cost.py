"""`hocket cost`: what so many requests a day will cost in a month, per specialty and model.

The measure is what was really used (results and plans of the latest requests in Kafka), or a workload file that says
how many calls of which size a request makes. What has no known price is told as unknown, never counted as nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hocket.cli.base import CliError, Output, console, print_json, printable, usage
from hocket.cli.records import latest
from hocket.cli.render import dollars, lost
from hocket.contracts.records import Plan, Result, Usage
from hocket.kafka.client import topics_of
from hocket.runtime.settings import Settings

DAYS = 30.4
"""Of a month: 365 / 12, rounded."""
PLANNING = "planning"


@dataclass(frozen=True, kw_only=True)
class Used:
    """One call of a specialty (from a workload file: `calls` like it); `cost_usd` is None for an unknown price."""

    specialty: str
    model: str
    calls: float
    input_tokens: float
    output_tokens: float
    cost_usd: float | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A specialty with a model, for a month. `usd` is what is known; `unknown_calls` come on top of it."""

    specialty: str
    model: str
    calls: float
    input_tokens: float
    output_tokens: float
    usd: float
    unknown_calls: float


@dataclass(frozen=True, kw_only=True)
class Bill:
    """A month's bill. `requests` is how many were measured, `tasks_without` how many of their tasks called no model,
    `lost_runs` how many of their runs were lost with a worker, so that nobody knows what they cost."""

    per_day: int
    requests: float
    tasks_without: int
    lost_runs: int
    lines: tuple[Line, ...]

    @property
    def usd(self) -> float:
        """The sum of what is known."""
        return sum(x.usd for x in self.lines)

    @property
    def unknown_calls(self) -> float:
        """Calls a month whose price nobody knows."""
        return sum(x.unknown_calls for x in self.lines)


def bill_of(used: Iterable[Used], *, requests: float, per_day: int, tasks_without: int = 0, lost_runs: int = 0) -> Bill:
    """The bill if the coming requests are like the measured ones; dearest lines first. Pure."""
    by: dict[tuple[str, str], list[Used]] = {}
    for u in used:
        by.setdefault((u.specialty, u.model), []).append(u)
    month = per_day * DAYS / requests
    lines = [
        Line(
            specialty=specialty,
            model=model,
            calls=month * sum(u.calls for u in all_of),
            input_tokens=month * sum(u.input_tokens for u in all_of),
            output_tokens=month * sum(u.output_tokens for u in all_of),
            usd=month * sum(u.cost_usd or 0.0 for u in all_of),
            unknown_calls=month * sum(u.calls for u in all_of if u.cost_usd is None),
        )
        for (specialty, model), all_of in by.items()
    ]
    ordered = tuple(sorted(lines, key=lambda x: (-x.usd, x.specialty, x.model)))
    return Bill(per_day=per_day, requests=requests, tasks_without=tasks_without, lost_runs=lost_runs, lines=ordered)


def run_cost(settings: Settings, *, per_day: int, last: int, workload: Path | None, output: Output) -> None:
    """Prints the bill. Raises CliError for a wrong workload file, or when there is nothing to measure."""
    bill = from_file(workload, per_day) if workload is not None else asyncio.run(_measured(settings, per_day, last))
    if output is Output.json:
        print_json(_document(bill))
    else:
        _print(bill, measured=workload is None)


async def _measured(settings: Settings, per_day: int, last: int) -> Bill:
    topics = topics_of(settings)
    results = await latest(settings, topics.results, Result, last)
    plans = await latest(settings, topics.plans, Plan, last)
    return measured(results, plans, per_day=per_day, last=last)


def measured(results: Sequence[Result], plans: Sequence[Plan], *, per_day: int, last: int) -> Bill:
    """The bill from the `last` requests that have results, oldest first in both. Raises CliError without any."""
    seen = list(dict.fromkeys(r.request_id for r in reversed(results)))[:last]
    wanted = set(seen)
    mine = [r for r in results if r.request_id in wanted]
    if not mine:
        raise CliError("there are no results to measure: ask something first, or give --workload FILE", kind="nothing")
    used = [_used(r.specialty, u) for r in mine for u in r.usage]
    planned = [p for p in plans if p.request_id in wanted]
    used += [_used(PLANNING, u) for p in planned for u in p.usage]
    lost_runs = sum(r.lost_runs for r in mine) + sum(p.lost_runs for p in planned)
    without = sum(not r.usage for r in mine)
    return bill_of(used, requests=len(seen), per_day=per_day, tasks_without=without, lost_runs=lost_runs)


def _used(specialty: str, usage_: Usage) -> Used:
    return Used(
        specialty=specialty,
        model=f"{usage_.provider}/{usage_.model}",
        calls=1,
        input_tokens=usage_.input_tokens,
        output_tokens=usage_.output_tokens,
        cost_usd=usage_.cost_usd,
    )


class _Calls(BaseModel):
    model_config = ConfigDict(extra="forbid")
    specialty: str
    model: str
    per_request: Annotated[float, Field(ge=0)] = 1.0
    input_tokens: Annotated[int, Field(ge=0)]
    cached_tokens: Annotated[int, Field(ge=0)] = 0
    output_tokens: Annotated[int, Field(ge=0)]


class _Workload(BaseModel):
    model_config = ConfigDict(extra="forbid")
    calls: tuple[_Calls, ...]


def from_file(path: Path, per_day: int) -> Bill:
    """The bill of a workload file (YAML: `calls`, each with specialty, model as provider/model, per_request,
    input_tokens, cached_tokens, output_tokens), at the catalogue's list prices. Raises CliError (usage)."""
    try:
        said = _Workload.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except OSError as e:
        usage(f"cannot read {path}: {e.strerror}")
    except (yaml.YAMLError, ValidationError, ValueError) as e:
        usage(f"{path} is no workload: {' '.join(str(e).split())[:400]}")
    used = [_priced(c) for c in said.calls]
    return bill_of(used, requests=1, per_day=per_day)


def _priced(calls: _Calls) -> Used:
    from hocket.llm.models import Models
    from hocket.llm.prices import Tokens, cost_usd
    from hocket.runtime.clock import now_ms

    entries = {e.engine: e for e in Models.from_env().entries}
    tokens = Tokens(input=calls.input_tokens, cached=calls.cached_tokens, output=calls.output_tokens)
    cost = cost_usd(entries[calls.model], tokens, at_ms=now_ms()) if calls.model in entries else None
    return Used(
        specialty=calls.specialty,
        model=calls.model,
        calls=calls.per_request,
        input_tokens=calls.per_request * calls.input_tokens,
        output_tokens=calls.per_request * calls.output_tokens,
        cost_usd=None if cost is None else calls.per_request * cost,
    )


def _document(bill: Bill) -> dict[str, Any]:
    return {
        "requests_per_day": bill.per_day,
        "days": DAYS,
        "measured_requests": bill.requests,
        "tasks_without_a_call": bill.tasks_without,
        "lost_runs": bill.lost_runs,
        "usd_per_month": bill.usd,
        "unknown_calls_per_month": bill.unknown_calls,
        "lines": [x.__dict__ for x in bill.lines],
    }


def _print(bill: Bill, *, measured: bool) -> None:
    from rich.table import Table

    out = console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("specialty", "model", "calls", "input tokens", "output tokens", "a month"):
        table.add_column(name, justify="left" if name in ("specialty", "model") else "right")
    for x in bill.lines:
        price = "unknown" if x.unknown_calls and not x.usd else _dollars(x.usd) + (" + unknown" * bool(x.unknown_calls))
        counts = (f"{x.calls:,.0f}", f"{x.input_tokens:,.0f}", f"{x.output_tokens:,.0f}")
        table.add_row(printable(x.specialty), printable(x.model), *counts, price)
    out.print(table)
    least = "at least " if bill.unknown_calls else ""
    out.print(f"{bill.per_day:,} requests a day: {least}{_dollars(bill.usd)} a month ({DAYS} days)", markup=False)
    if bill.unknown_calls:
        said = f"{bill.unknown_calls:,.0f} calls a month have no known price: name it in HOCKET_PRICES"
        out.print(said, markup=False)
    if measured:
        said = f"measured on {bill.requests:,.0f} requests; {bill.tasks_without:,} of their tasks called no model"
        out.print(said, markup=False)
    if bill.lost_runs:
        out.print(f"not in it: {lost(bill.lost_runs)}", markup=False)


def _dollars(usd: float) -> str:
    return f"${usd:,.2f}" if usd >= 1 else dollars(usd)
