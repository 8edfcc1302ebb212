"""A month's bill: from what was measured, from a file, with what is unknown said as unknown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hocket.cli import cost
from hocket.cli.base import CliError, Output
from hocket.cli.cost import DAYS, from_file, measured, run_cost
from hocket.contracts.records import Plan, Result, Usage
from hocket.runtime.settings import Settings

HAIKU = "anthropic/claude-haiku-5-5"
FILE = f"""
calls:
  - {{specialty: extraction, model: {HAIKU}, per_request: 2, input_tokens: 1000, output_tokens: 200}}
  - {{specialty: writing, model: openai/my-own, input_tokens: 500, output_tokens: 500}}
"""


def result(request_id: str, specialty: str, *usage: Usage) -> Result:
    fields: dict[str, Any] = {"worker": "w", "started_at": 1, "ended_at": 2, "status": "completed", "task_id": "t"}
    return Result(request_id=request_id, specialty=specialty, usage=usage, **fields)


def used(cost: float | None, model: str = "m") -> Usage:
    return Usage(provider="p", model=model, input_tokens=100, output_tokens=10, cost_usd=cost)


def test_the_latest_requests_are_taken_for_all_to_come() -> None:
    results = [
        result("old", "writing", used(9.0)),
        result("a", "writing", used(0.01), used(0.03)),
        result("a", "sentiment"),
        result("b", "writing", used(0.02)),
    ]
    plans = [Plan(request_id="b", source="llm", usage=(used(0.1, "big"),), worker="p", started_at=1, ended_at=2)]
    bill = measured(results, plans, per_day=100, last=2)
    assert [(x.specialty, x.model) for x in bill.lines] == [("planning", "p/big"), ("writing", "p/m")]
    assert [x.usd for x in bill.lines] == pytest.approx([0.1 / 2 * 100 * DAYS, 0.06 / 2 * 100 * DAYS])
    assert bill.lines[1].calls == pytest.approx(1.5 * 100 * DAYS)
    assert (bill.requests, bill.tasks_without, bill.unknown_calls) == (2, 1, 0)


def test_unknown_prices_are_told_beside_what_is_known() -> None:
    bill = measured([result("a", "writing", used(0.5), used(None))], [], per_day=1, last=9)
    [line] = bill.lines
    assert (line.usd, line.unknown_calls) == (pytest.approx(0.5 * DAYS), pytest.approx(DAYS))


def test_runs_lost_with_their_workers_are_told_because_they_may_be_billed(capsys: pytest.CaptureFixture[str]) -> None:
    lost = result("a", "writing", used(0.5)).model_copy(update={"lost_runs": 1})
    plan = Plan(request_id="a", source="llm", lost_runs=2, worker="p", started_at=1, ended_at=2)
    bill = measured([lost], [plan], per_day=1, last=9)
    assert bill.lost_runs == 3
    cost._print(bill, measured=True)
    assert "not in it: 3 runs that were lost with their workers" in capsys.readouterr().out


def test_with_nothing_to_measure_it_says_what_to_do() -> None:
    with pytest.raises(CliError, match="--workload"):
        measured([], [], per_day=1, last=1)


def test_a_workload_file_is_priced_at_the_catalogues_list_prices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    file = tmp_path / "load.yaml"
    file.write_text(FILE)
    run_cost(settings, per_day=10_000, last=1, workload=file, output=Output.json)
    told = json.loads(capsys.readouterr().out)
    known, unknown = told["lines"]
    assert (known["calls"], known["input_tokens"]) == (2 * 10_000 * DAYS, 2_000 * 10_000 * DAYS)
    assert told["usd_per_month"] == known["usd"] > 0
    assert (unknown["usd"], unknown["unknown_calls"]) == (0.0, 10_000 * DAYS)
    run_cost(settings, per_day=10_000, last=1, workload=file, output=Output.text)
    shown = capsys.readouterr().out
    assert "10,000 requests a day: at least $" in shown
    assert "unknown" in shown and "HOCKET_PRICES" in shown


@pytest.mark.parametrize("text", ["calls: 3", "{", "calls: [{specialty: a}]", "- a"])
def test_a_file_that_is_no_workload_is_a_usage_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "load.yaml"
    file.write_text(text)
    with pytest.raises(CliError, match="no workload") as refused:
        from_file(file, 1)
    assert refused.value.code == 2
