"""core/route.py: whom to ask next, and why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.core.route import Candidate, Limits, in_order, pick


def model(engine: str, rung: str = "small", **given: Any) -> Candidate:
    fields: dict[str, Any] = {"quality": 5, "typical_ms": 1_000.0, "free_at_ms": 0}
    return Candidate(engine=engine, rung=rung, **(fields | given))


def limits(**given: Any) -> Limits:
    return Limits(**({"now_ms": 0} | given))


A, B = model("a/small"), model("b/small")
MIDDLE, TOP = model("a/middle", "middle", quality=8), model("a/top", "frontier", quality=9)
LADDER = ("local", "small", "middle", "frontier")


def chosen(*candidates: Candidate, ladder: tuple[str, ...] = LADDER, by: Limits | None = None, **given: Any) -> Any:
    return pick(candidates, ladder, by or limits(), **given).engine


@pytest.mark.parametrize(
    ("ladder", "rejected", "order"),
    [
        (LADDER, (), ("small", "middle", "frontier")),
        (LADDER, ("small",), ("middle", "frontier")),
        (("frontier", "middle"), (), ("frontier", "middle")),
        (("middle", "small", "frontier"), (), ("middle", "small", "frontier")),
        (("middle", "frontier", "small"), (), ("middle", "small", "frontier")),
        (("frontier", "small", "middle"), (), ("frontier", "middle", "small")),
        (("local",), (), ()),
        (("small",), ("small",), ()),
    ],
)
def test_sideways_then_down_then_up(ladder: tuple[str, ...], rejected: Any, order: tuple[str, ...]) -> None:
    assert in_order(ladder, rejected) == order


def test_the_preferred_provider_of_the_first_rung_comes_first() -> None:
    assert chosen(MIDDLE, A, B) == "a/small"


def test_a_model_whose_context_is_too_small_is_passed_over_and_told() -> None:
    small = model("a/small", holds=False)
    assert chosen(small, B) == "b/small"
    found = pick([small], LADDER, limits())
    assert (found.engine, found.long, found.passed) == (
        None,
        True,
        ("a/small (the input is longer than its context)",),
    )


def test_a_lost_model_is_replaced_sideways_and_a_rejected_rung_by_the_next() -> None:
    assert chosen(A, B, MIDDLE, lost={"a/small"}) == "b/small"
    assert chosen(A, B, MIDDLE, rejected={"small"}) == "a/middle"
    assert chosen(A, B, MIDDLE, lost={"a/small", "b/small"}) == "a/middle"
    assert chosen(A, lost={"a/small"}) is None


def test_a_model_that_is_left_alone_is_passed_over_and_the_pick_says_when_it_is_free() -> None:
    away = model("a/small", free_at_ms=700)
    assert chosen(away, B) == "b/small"
    found = pick([away, model("b/small", free_at_ms=None)], LADDER, limits())
    assert (found.engine, found.free_at_ms) == (None, 100)
    assert found.passed == ("a/small (left alone after failures)", "b/small (left alone after failures)")


def test_below_the_quality_floor_nothing_is_asked() -> None:
    assert chosen(A, MIDDLE, by=limits(floor=6)) == "a/middle"
    found = pick([A], LADDER, limits(floor=6))
    assert (found.engine, found.free_at_ms, found.passed) == (None, None, ("a/small (quality 5 is below 6)",))


def test_what_costs_more_than_is_left_or_nobody_knows_what_is_passed_over() -> None:
    dear, cheap = model("a/small", cost_usd=0.02), model("b/small", cost_usd=0.01)
    assert chosen(dear, cheap, by=limits(left_usd=0.015)) == "b/small"
    assert chosen(model("a/small"), cheap, by=limits(left_usd=1.0)) == "b/small"
    assert chosen(model("a/small"), cheap) == "a/small"


def test_time_that_runs_short_moves_to_what_still_fits_and_refuses_only_the_hopeless() -> None:
    slow = model("a/small", typical_ms=5_000.0)
    assert chosen(slow, B, by=limits(deadline_ms=2_000)) == "b/small"
    assert chosen(slow, by=limits(deadline_ms=2_000)) == "a/small", "a guess refuses nothing"
    learned = model("a/small", typical_ms=5_000.0, fast_ms=3_000.0)
    assert chosen(learned, by=limits(deadline_ms=2_000)) is None
    down = pick(
        [model("a/top", "frontier", typical_ms=9_000.0), MIDDLE], ("frontier", "middle"), limits(deadline_ms=5_000)
    )
    assert down.engine == "a/middle"
    assert "the rung before would be too slow" in down.why


def test_fast_takes_the_clearly_faster_and_best_the_better_one() -> None:
    slower, faster = model("a/small", typical_ms=2_000.0, fast_ms=1.0), model("b/small", typical_ms=900.0, fast_ms=1.0)
    assert chosen(slower, faster, by=limits(strategy="fast")) == "b/small"
    assert chosen(slower, faster) == "a/small"
    near = model("b/small", typical_ms=1_900.0, fast_ms=1.0)
    assert chosen(slower, near, by=limits(strategy="fast")) == "a/small"
    assert chosen(A, model("b/small", quality=6), by=limits(strategy="best")) == "b/small"


def test_the_choice_is_explained() -> None:
    said = pick([model("a/small", cost_usd=0.01, fast_ms=5.0)], LADDER, limits(left_usd=1.0)).why
    assert said == "small model, learned 1.0 s, at most $0.0100"
    assert pick([A], LADDER, limits()).why == "small model, expected 1.0 s"


CANDIDATES = st.lists(
    st.builds(
        model,
        st.sampled_from(["p/1", "p/2", "q/1", "q/2", "q/3"]),
        st.sampled_from(["small", "middle", "frontier"]),
        quality=st.integers(1, 10),
        typical_ms=st.floats(1, 10_000),
        fast_ms=st.none() | st.floats(1, 10_000),
        free_at_ms=st.none() | st.integers(0, 500),
        cost_usd=st.none() | st.floats(0, 1),
    ),
    max_size=5,
    unique_by=lambda c: c.engine,
)


@given(
    CANDIDATES,
    st.lists(st.sampled_from(["local", "small", "middle", "frontier"]), unique=True),
    st.sets(st.sampled_from(["small", "middle"])),
    st.none() | st.floats(0, 1),
    st.sampled_from(["fast", "balanced", "best"]),
)
def test_whatever_there_is_the_choice_keeps_to_ladder_budget_and_rest(
    candidates: list[Candidate], ladder: list[str], rejected: set[str], left: float | None, strategy: str
) -> None:
    by = limits(strategy=strategy, left_usd=left, floor=3)
    found = pick(candidates, ladder, by, rejected=rejected)
    allowed = [
        c
        for c in candidates
        if c.rung in ladder
        and c.rung not in rejected
        and c.free_at_ms == 0
        and c.quality >= 3
        and (left is None or (c.cost_usd is not None and c.cost_usd <= left))
    ]
    assert (found.engine is None) == (not allowed)
    assert found.engine is None or found.engine in {c.engine for c in allowed}


@pytest.mark.parametrize(
    ("given", "by", "fallback"),
    [
        ({}, {}, ""),
        ({"lost": {"a/small"}}, {}, ""),
        ({"lost": {"a/small", "b/small"}}, {}, ""),
        ({"lost": {"a/small", "b/small", "a/middle"}}, {}, "the last models that are left"),
        ({"rejected": {"small", "middle"}}, {}, ""),
        ({"rejected": {"small"}, "lost": {"a/middle"}}, {}, "the last models that are left"),
        ({}, {"deadline_ms": 900}, "little time is left"),
        ({}, {"deadline_ms": 1_100}, ""),
    ],
)
def test_a_fallback_is_the_last_rung_after_lost_models_or_a_call_that_is_probably_late(
    given: dict[str, Any], by: dict[str, Any], fallback: str
) -> None:
    assert pick([A, B, MIDDLE, TOP], LADDER, limits(**by), **given).fallback == fallback


def test_a_rung_below_the_floor_was_never_there_and_one_left_alone_is_away() -> None:
    assert pick([A, MIDDLE], ("small", "middle"), limits(floor=8)).fallback == ""
    resting = model("a/small", free_at_ms=5_000)
    assert pick([resting, MIDDLE], ("small", "middle"), limits()).fallback == "the last models that are left"
    assert pick([A, B], ("small",), limits(), lost={"a/small"}).fallback == "", "a ladder of one rung has no last one"
