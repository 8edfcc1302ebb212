"""bench/headline: chance belongs to names, the provider bills, the check errs as stated, and time is virtual."""

import asyncio
import time
from dataclasses import replace

import pytest

from bench.headline import clock, report
from bench.headline.__main__ import FULL, MONOLITH
from bench.headline.provider import case_of, mark_of
from bench.headline.repeats import FACTORS, INPUTS
from bench.headline.simulate import simulate
from bench.headline.workload import KINDS, workload
from bench.headline.world import RUNGS, World
from hocket.llm.catalogue import load_catalogue

CASES = [f"c{n:05}.a.writing" for n in range(4_000)]


@pytest.fixture
def world():
    found = World.load()
    found.data["workload"] |= {"requests": 40, "open_share": 0.2}
    return found


@pytest.fixture
def entries():
    prices = {"small": 1.0, "middle": 4.0, "frontier": 10.0}
    return tuple(
        e.model_copy(update={"input_usd": prices[e.alias], "output_usd": prices[e.alias]}) for e in load_catalogue()
    )


def test_the_first_line_says_simulated():
    assert report.FIRST_LINE.startswith("simulated")


def test_virtual_time_jumps():
    async def main():
        await asyncio.sleep(3_600)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert clock.run(main()) == pytest.approx(3_600)
    assert time.monotonic() - began < 10


def test_virtual_time_that_stands_still_is_told():
    async def main():
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="stands still"):
        clock.run(main())


def test_the_whole_workload_is_large_enough_and_the_same_every_time():
    asked = workload(World.load())
    assert len(asked) >= 2_000
    assert {s.kind for a in asked for s in a.steps} == {*KINDS, "synthesis"}
    assert len(KINDS) == 7
    again = workload(World.load())
    # A Word file's bytes carry the time at which it was made; what it says is in `truth`.
    assert [_said(a.steps) for a in asked] == [_said(a.steps) for a in again]


def _said(steps):
    return [(s.case, s.instruction, s.text, s.needs, s.truth) for s in steps]


@pytest.mark.parametrize("rung", RUNGS)
def test_models_are_as_good_as_stated(world, rung):
    right = sum(world.is_right(case, "writing", "x/y", rung, 0) for case in CASES) / len(CASES)
    assert right == pytest.approx(world["quality"][rung]["writing"], abs=0.015)


def test_the_check_errs_both_ways_as_stated(world):
    rejected = sum(world.objects(case, "x", right=True) for case in CASES) / len(CASES)
    passed = sum(not world.objects(case, "x", right=False) for case in CASES) / len(CASES)
    assert rejected == pytest.approx(world["check"]["false_reject"], abs=0.015)
    assert passed == pytest.approx(world["check"]["false_accept"], abs=0.03)


def test_calls_fail_as_often_as_stated(world):
    failed = sum(world.failure(case, "x", 0) is not None for case in CASES) / len(CASES)
    assert failed == pytest.approx(world["errors"]["rate"], abs=0.01)


def test_a_mark_counts_for_its_own_case_only():
    said = {"text": "Simulated reply to c00001.a.writing by x/y#0: right. lorem"}
    assert mark_of("c00001.a.writing", said) == ("x/y#0", True)
    assert mark_of("c00001.b.synthesis", said) is None
    assert case_of("Your task:\nWrite. case=c00001.a.writing\n<result> case=c00002.b.code") == (
        "c00001.a.writing",
        "writing",
    )


def test_a_changed_world_leaves_the_first_one_alone(world):
    before = world["quality"]["small"]["code"]
    changed = world.changed("errors of small", 1.5)
    assert world["quality"]["small"]["code"] == before
    assert 1 - changed["quality"]["small"]["code"] == pytest.approx(1.5 * (1 - before))


@pytest.mark.parametrize("what", INPUTS)
def test_each_input_can_be_changed_and_stays_possible(world, what):
    for factor in FACTORS:
        changed = world.changed(what, factor)
        assert (changed.data, changed.prices) != (world.data, world.prices)
        shares = [*changed["check"].values(), *changed["local"].values(), changed["latency"]["fixed_share"]]
        shares += [v for rung in RUNGS for v in changed["quality"][rung].values()]
        assert all(0 <= share <= 1 for share in shares)


def test_every_assumption_is_among_the_inputs():
    with_others = {"latency_ms", "quality", "local", "output_tokens", "workload", "errors", "prompt_cache"}
    plain = {
        f"{section}.{name}"
        for section, values in World.load().data.items()
        for name, value in values.items()
        if section not in with_others and not isinstance(value, dict)
    }
    # Replies are written for so many tokens: the lengths change instead.
    assert plain - {"latency.reference_tokens"} <= set(INPUTS)


def test_a_row_says_which_levers_are_on():
    assert (MONOLITH.levers, FULL.levers) == ("--------", "pckhofls")
    assert replace(FULL, hedging=None, local=False).levers == "pck-of-s"


def test_the_monolith_asks_the_frontier_once_per_step_and_hocket_rarely(world, entries):
    world.data["errors"]["rate"] = 0.0
    asked = workload(world)
    base, full = (simulate(world, system, asked, entries) for system in (MONOLITH, FULL))
    assert base.figures.calls == sum(len(a.steps) for a in asked)
    assert {b.rung for b in base.log} == {"frontier"}
    assert full.figures.small_calls > 0.5
    assert full.figures.usd < base.figures.usd
    assert full.figures.p50 < base.figures.p50
    assert base.figures.unanswered == 0


def test_without_failures_and_hedges_the_ledgers_agree_with_the_providers_log(world, entries):
    world.data["errors"]["rate"] = 0.0
    asked = workload(world)
    for system in (MONOLITH, replace(FULL, hedging=None, second_opinion=False)):
        found = simulate(world, system, asked, entries).figures
        assert found.ledger_usd == pytest.approx(found.usd)
