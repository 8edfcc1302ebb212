"""A seeded world around the pure join: one request's life, with everything that may go wrong on its way.

Records arrive in any order, twice, late; transactions abort; the process restarts after every step (the row is what its
serialised form says); workers fail, vanish, come back late; planners revise; people decide or forget; sessions are busy
or taken away; clients cancel and send again; the alarm clock is early, late and repeats itself. Time is a number here.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hocket.contracts.records import (
    AccountCommand,
    BundledResult,
    Control,
    Error,
    Grant,
    Output,
    Plan,
    PlannedTask,
    Policy,
    Request,
    Result,
    Task,
    Usage,
    Wakeup,
)
from hocket.contracts.workflows import Step, Workflow
from services.aggregator.admission import World
from services.aggregator.fleet import Fleet, SpecialtyView
from services.aggregator.join import Arrival, Ask, Dispatch, Drop, Order, Remind, Reply, step
from services.aggregator.row import Row
from tests.support.join_oracle import TASK_MS, Oracle, Verdict

WEEK = 7 * 86_400_000
SPECIALTIES = ("s", "synthesis", "approval")
VIEW = SpecialtyView(p50_millis=float(TASK_MS), p95_millis=2.0 * TASK_MS, workers=1)
FLEET = Fleet(specialties=dict.fromkeys(("planning", *SPECIALTIES), VIEW))


class WrongAnswer(AssertionError):  # noqa: N818 - said as it is meant
    """The join and the recomputation disagree, or something was sent twice, or a row is left."""


@dataclass
class Life:
    """One request from its submission until its row is gone."""

    seed: int
    now: int = 1_000
    row: Row | None = None
    timer: int | None = None
    inbox: list[tuple[int, int, Any]] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    dispatches: Counter[str] = field(default_factory=Counter)
    commands: list[AccountCommand] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)
    orders: int = 0
    bundled: int = 0
    steps: int = 0
    cost: float = 0.0

    def __post_init__(self) -> None:
        rng = self.rng = random.Random(self.seed)
        self.rid = f"r{self.seed}"
        self.with_fleet = rng.random() < 0.3
        self.capped = rng.random() < 0.2
        plan = self.draw_plan(optional=not self.with_fleet)
        self.plan = plan
        declared = rng.random() < 0.3 and all(t.kind == "work" and t.condition is None for t in plan.tasks)
        self.pressed = not self.with_fleet and rng.random() < 0.4
        self.world = World(
            pressed=self.pressed,
            local={"balanced": frozenset({"s", "synthesis"})},
            specialties=set(SPECIALTIES),
            workflows={"flow": _workflow(plan)} if declared else {},
            fleet=FLEET if self.with_fleet else Fleet(),
            tenant_caps={"default": 10.0} if self.capped else {},
        )
        self.deadline = self.now + rng.randint(1, 20_000) if rng.random() < 0.4 else None
        self.request = Request(
            request_id=self.rid,
            text="x",
            session_id="chat" if rng.random() < 0.3 else None,
            workflow="flow" if declared else None,
            policy=Policy(deadline=self.deadline),
            submitted_at=0,
        )
        flow = list(plan.tasks) if declared else None
        self.oracle = Oracle(fleet=self.with_fleet, tenant_cap=self.capped, flow=flow)
        self.verdict: Verdict | None = None
        self.put(self.request)
        if rng.random() < 0.2:
            self.put(self.request, later=rng.choice((10, 5_000, WEEK)))
        if rng.random() < 0.12:
            self.put(Control(request_id=self.rid, action="cancel", at=0), later=rng.choice((1, 500, 20_000)))

    def draw_plan(self, *, optional: bool) -> Plan:
        rng = self.rng
        names = [f"t{i}" for i in range(rng.randint(1, 7))]
        tasks: list[PlannedTask] = []
        for i, name in enumerate(names):
            needs = tuple(rng.sample(names[:i], rng.randint(0, min(i, 3))))
            last = i == len(names) - 1
            approval = not last and rng.random() < 0.08
            condition = None
            if needs and not last and rng.random() < 0.25:
                read = rng.choice(needs)
                kind = next(t.kind for t in tasks if t.task_id == read)
                wanted = (
                    {"field": "decision", "equals": "rejected"} if kind == "approval" else {"field": "v", "equals": 1}
                )
                condition = json.dumps({"task": read, **wanted})
            limit = {"timeout_ms": rng.randint(1, 50_000), "on_timeout": rng.choice(("approve", "reject"))}
            tasks.append(
                PlannedTask(
                    task_id=name,
                    specialty="approval" if approval else "synthesis" if last and rng.random() < 0.4 else "s",
                    instruction="-",
                    depends_on=needs,
                    optional=optional and not last and rng.random() < 0.3,
                    kind="approval" if approval else "work",
                    options=json.dumps(limit) if approval and rng.random() < 0.5 else "{}",
                    condition=condition,
                )
            )
        return Plan(
            request_id=self.rid,
            source=rng.choice(("llm", "llm", "local")),
            tasks=tuple(tasks),
            output_task=names[-1],
            usage=(Usage(provider="p", model="m", cost_usd=0.5),),
            worker="p",
            started_at=0,
            ended_at=0,
        )

    def put(self, record: Any, later: int = 0, born: int | None = None) -> None:
        """A record on its way; it arrives once it is ready, in no order among those that are. No topic keeps a record
        for longer than a week after its birth."""
        born = self.now if born is None else born
        self.inbox.append((min(self.now + later, born + WEEK), born, record))

    def run(self) -> Life:
        """Until nothing is on its way and no timer is set. Raises WrongAnswer."""
        while self.inbox or self.timer is not None:
            self.steps += 1
            if self.steps > 3_000:
                raise self.wrong("it never ends")
            self.take(*self.next_record())
        self.judge()
        return self

    def next_record(self) -> tuple[Any, int]:
        rng = self.rng
        times = [at for at, _, _ in self.inbox] + ([] if self.timer is None else [self.timer])
        self.now = max(self.now + rng.randint(0, 40), min(times))
        # The clock often rings late: what arrives meanwhile is joined first.
        rings = self.timer is not None and self.now >= self.timer and (not self.inbox or rng.random() < 0.6)
        if self.timer is not None and (rings or rng.random() < 0.01):
            due = self.timer
            if self.now >= due and rng.random() < 0.8:  # else the alarm clock rings now and will ring again
                self.now += rng.choice((0, 0, 5, 3_000))
                self.timer = None
            return Wakeup(request_id=self.rid, due_at=due, at=self.now), self.now
        ready = [n for n, (at, _, _) in enumerate(self.inbox) if at <= self.now] or range(len(self.inbox))
        at, born, record = self.inbox.pop(rng.choice(list(ready)))
        self.now = max(self.now, at)
        return record, born

    def take(self, record: Any, born: int) -> None:
        """One record through the join; what it did counts only when its transaction commits."""
        row, effects = step(self.row, Arrival(key=self.rid, record=record, trace=""), self.now, self.world)
        if self.rng.random() < 0.1:
            self.put(record, born=born)
            return
        if self.rng.random() < 0.1 and not isinstance(record, Wakeup):
            self.put(record, later=self.rng.choice((0, 100, 60_000, WEEK // 2)), born=born)
        was_ended = self.row is not None and self.row.phase == "ended"
        self.row = Row.model_validate_json(row.model_dump_json(exclude_defaults=True)) if row is not None else None
        verdict = self.oracle.see(self.now, record)
        self.verdict = self.verdict or verdict
        for effect in effects:
            if was_ended and not isinstance(effect, (Drop, Remind)):
                raise self.wrong(f"an ended request sent {effect}")
            self.perform(effect)
        if (self.verdict is None) != (not self.replies):
            raise self.wrong(f"after {record}: answered {self.replies}, expected {self.verdict}")

    def perform(self, effect: Any) -> None:
        match effect:
            case Reply():
                self.replies.append(effect)
            case Dispatch(task=task):
                self.dispatches[f"{task.task_id}/{task.revision}.{task.attempt}"] += 1
                self.work(task)
            case Ask(command=command):
                self.commands.append(command)
                self.answer_command(command)
            case Remind(timer=timer):
                self.timer = timer.due_at
            case Order(control=control):
                self.orders += 1
                self.put(control)
            case Drop(reason=reason):
                self.drops[reason] += 1
            case _:
                self.person(effect.progress)

    def work(self, task: Task) -> None:
        rng = self.rng
        planned = self.oracle.tasks.get(task.task_id)
        given = {i.task_id for i in task.inputs}
        for need in planned.depends_on if planned is not None else ():
            if self.oracle.how.get(need) != "passed" and need not in given and not self.oracle.tasks[need].optional:
                raise self.wrong(f"{task.task_id} was dispatched without the output of {need}")
        if self.with_fleet and rng.random() < 0.1:  # the worker (or the planner) hangs; some come back much later
            if rng.random() < 0.5:
                return
            late = rng.randint(20_000, 180_000)
        else:
            late = rng.choice((0, 0, 10, 400, 9_000))
        self.put(self.draw_answer(task) if task.specialty == "planning" else self.draw_result(task), later=late)

    def draw_answer(self, task: Task) -> Plan:
        rng = self.rng
        if task.revision == 0:
            bad = rng.random() < 0.03
            return self.plan.model_copy(
                update={"error": Error(kind="invalid", message="no"), "tasks": ()} if bad else {}
            )
        part = json.loads(task.options)["replan"]
        base = Plan(
            request_id=self.rid, source="llm", worker="p", revision=task.revision, started_at=0, ended_at=0,
            usage=(Usage(provider="p", model="m", cost_usd=0.25),), output_task="",
        )  # fmt: skip
        if rng.random() < 0.15:
            return base.model_copy(update={"error": Error(kind="needs_model", message="no")})
        names = {f["task_id"]: f"{f['task_id']}r{task.revision}" for f in part["failed"]}
        tasks = [PlannedTask.model_validate(t) for t in part["plan"]]
        old_output = self.row.plan.output_task if self.row is not None and self.row.plan is not None else ""
        if rng.random() < 0.1:  # the dependants are forgotten: unsound when there are any
            kept = [t for t in tasks if t.task_id in names]
        else:
            kept = [t for t in tasks if t.task_id in names or set(t.depends_on) & set(names)]
        mended = tuple(_renamed(t, names) for t in kept)
        return base.model_copy(update={"tasks": mended, "output_task": names.get(old_output, old_output)})

    def draw_result(self, task: Task) -> Result:
        good = self.rng.random() < 0.8
        v = self.rng.randint(0, 1)
        kind = self.rng.choice(("broke", "broke", "broke", "needs_model"))
        error = Error(kind=kind, message="-", retryable=self.rng.random() < 0.4)
        price = self.rng.randint(0, 8) / 8
        self.cost += price
        return Result(
            bundle=tuple(self.draw_bundle(task)) if good else (),
            request_id=self.rid,
            task_id=task.task_id,
            specialty=task.specialty,
            status="completed" if good else "failed",
            output=Output(specialty="s", text=f"{task.task_id}={v}", data=json.dumps({"v": v})) if good else None,
            error=None if good else error,
            usage=(Usage(provider="p", model="m", cost_usd=price),),
            worker=f"w{self.rng.randint(0, 10**9)}",
            attempt=task.attempt,
            revision=task.revision,
            started_at=self.now,
            ended_at=self.now,
        )

    def draw_bundle(self, task: Task) -> Iterator[BundledResult]:
        """What the worker does of the steps behind a task: some, and each only with what it was given."""
        there = {task.task_id}
        for behind in task.bundle:
            planned = self.oracle.tasks[behind.task_id]
            given = {i.task_id for i in behind.inputs} | there
            for need in planned.depends_on:
                if self.oracle.how.get(need) != "passed" and need not in given and not self.oracle.tasks[need].optional:
                    raise self.wrong(f"{behind.task_id} was bundled without the output of {need}")
            if self.rng.random() < 0.3:
                return
            there.add(behind.task_id)
            self.bundled += 1
            output = Output(specialty="s", text=f"{behind.task_id}=2", data=json.dumps({"v": 2}))
            yield BundledResult(
                task_id=behind.task_id, specialty=behind.specialty, output=output, attempt=behind.attempt,
                revision=behind.revision, started_at=self.now, ended_at=self.now,
            )  # fmt: skip

    def person(self, progress: Any) -> None:
        if progress.kind != "other":
            return
        action = self.rng.choice(("approve", "reject"))
        named = progress.task_id if self.rng.random() < 0.9 else "another"
        late = self.rng.choice((10, 3_000, WEEK // 4))
        self.put(Control(request_id=self.rid, action=action, task_id=named, by="me", at=0), later=late)
        if named == "another":
            self.put(Control(request_id=self.rid, action=action, task_id=progress.task_id, at=0), later=2 * late)

    def answer_command(self, command: AccountCommand) -> None:
        if command.action in ("close", "settle"):
            return
        rng = self.rng
        grant = Grant(
            asker=self.rid,
            account_id=command.account_id,
            command_id=command.command_id,
            granted=rng.random() < 0.85,
            amount=1_000.0 if command.action == "reserve" else 0.0,
            detail=json.dumps({"context": {"results": {"s": "before"}, "constants": {"k": "v"}}, "reason": "busy"}),
            at=self.now,
        )
        self.put(grant, later=rng.choice((0, 10, 5_000)))
        if command.action == "open" and rng.random() < 0.1:
            revoked = grant.model_copy(update={"granted": False, "detail": json.dumps({"revoked": True})})
            self.put(revoked, later=rng.randint(0, 10_000))

    def judge(self) -> None:
        """What must hold of every life, whatever happened in it."""
        if len(self.replies) != 1 or self.verdict is None:
            raise self.wrong(f"{len(self.replies)} answers")
        if self.row is not None:
            raise self.wrong("the row is left")
        twice = [key for key, n in self.dispatches.items() if n > 1]
        if twice:
            raise self.wrong(f"dispatched twice: {twice}")
        answer, expected = self.replies[0].answer, self.verdict
        outputs = {o.task_id: o.output.text for o in answer.outputs if o.output.specialty != "approval"}
        wanted = {i: x for i, x in expected.outputs.items() if self.kind_of(i) == "work"}
        if (answer.status, answer.content, outputs) != (expected.status, expected.content, wanted):
            raise self.wrong(f"answered {answer.status} {answer.content!r} {outputs}, expected {expected}")
        if answer.receipt.cost_usd != sum(self.oracle.paid.values()):
            raise self.wrong(f"the receipt says {answer.receipt.cost_usd}, paid were {self.oracle.paid}")
        if expected.kind is not None and (answer.error is None or answer.error.kind != expected.kind):
            raise self.wrong(f"error {answer.error}, expected {expected.kind}")
        self.judge_accounts()

    def kind_of(self, task_id: str) -> str:
        return next((t.kind for t in self.oracle.tasks.values() if t.task_id == task_id), "work")

    def judge_accounts(self) -> None:
        """What was opened and not refused is closed once; what was reserved is settled once, at the receipt's cost."""
        said = Counter(c.action for c in self.commands)
        error = self.replies[0].answer.error
        refused = error.kind if error is not None else ""
        closed = said["open"] - (refused == "session_busy")
        settled = said["reserve"] - (refused == "over_budget")
        if (said["close"], said["settle"]) != (closed, settled):
            raise self.wrong(f"accounts: {said}, error {refused}")
        spent = [c.amount for c in self.commands if c.action == "settle"]
        if spent and spent != [self.replies[0].answer.receipt.cost_usd]:
            raise self.wrong(f"settled {spent}, the receipt says {self.replies[0].answer.receipt.cost_usd}")

    def wrong(self, what: str) -> WrongAnswer:
        return WrongAnswer(f"seed {self.seed}, step {self.steps}: {what}")


def _renamed(task: PlannedTask, names: dict[str, str]) -> PlannedTask:
    condition = json.loads(task.condition) if task.condition is not None else None
    if condition is not None:
        condition["task"] = names.get(condition["task"], condition["task"])
    return task.model_copy(
        update={
            "task_id": names.get(task.task_id, task.task_id),
            "depends_on": tuple(names.get(d, d) for d in task.depends_on),
            "condition": None if condition is None else json.dumps(condition),
        }
    )


def _workflow(plan: Plan) -> Workflow:
    steps = tuple(
        Step(id=t.task_id, specialty=t.specialty, instruction="-", needs=t.depends_on, optional=t.optional)
        for t in plan.tasks
    )
    return Workflow(name="flow", description="-", tasks=steps, output=plan.output_task)
