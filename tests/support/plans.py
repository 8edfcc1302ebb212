"""Plans that scripted planners answer with, and the smallest workflow."""

from __future__ import annotations

from hocket.contracts.records import Plan, PlannedTask, Task

BRIEF = """
name: brief
description: One summary.
tasks:
  - id: summary
    specialty: summarisation
    instruction: Summarise the letter.
output: summary
"""


def diamond(task: Task) -> Plan:
    """Three parallel tasks and a synthesis."""
    tasks = [PlannedTask(task_id=f"t{i}", specialty="extraction", instruction="-") for i in range(3)]
    last = PlannedTask(task_id="z", specialty="synthesis", instruction="-", depends_on=("t0", "t1", "t2"))
    return Plan(
        request_id=task.request_id,
        source="llm",
        tasks=(*tasks, last),
        output_task="z",
        worker="scripted",
        started_at=task.dispatched_at,
        ended_at=task.dispatched_at,
    )
