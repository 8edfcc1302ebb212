"""Bad plans of every kind: none passes unsound, and most are mended without another model call."""

from __future__ import annotations

from bench.plan_fuzz import FAULTS, KNOWN, run, unsound
from hocket.contracts.records import PlannedTask
from hocket.core.compile import Compiled


def test_no_bad_plan_passes_and_most_are_mended() -> None:
    tally = run(len(FAULTS) * 40, seed=7)
    assert tally.unsound.total() == 0
    assert tally.changed.total() == 0
    assert tally.share >= 0.6
    for kind in ("circle", "dangling", "no instruction", "too many", "too deep", "unknown specialty", "no plan"):
        assert tally.mended[kind] == 0, f"{kind}: nobody can know what was meant"


def test_the_oracle_sees_a_circle_by_itself() -> None:
    tasks = tuple(PlannedTask(task_id=i, specialty=KNOWN[0], instruction="x", depends_on=(j,)) for i, j in ("ab", "ba"))
    assert "circle" in unsound(Compiled(tasks=tasks, output_task="a"))
