"""What a request's answer must be, recomputed from the records that were committed, without the join's code.

It knows the rules as the documentation states them, in the plainest form: one dictionary of how each task ended.
`see` is told every committed record, and says at which one the request ends, and how.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from hocket.contracts.records import Control, Grant, Plan, PlannedTask, Request, Result, Wakeup

STUCK_MS = 60_000
TASK_MS = 100
"""Half-time of every specialty in a world with a fleet."""
DEAD = ("failed", "skipped")


@dataclass
class Verdict:
    """How a request ends."""

    status: str
    content: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    kind: str | None = None


@dataclass
class Oracle:
    """One request. `llm` says whether failed tasks may be replanned; `fleet` whether service times are known."""

    fleet: bool = False
    tenant_cap: bool = False
    flow: list[PlannedTask] | None = None
    request: Request | None = None
    admitted: int = 0
    phase: str = "absent"
    early_cancel: bool = False
    needs: list[str] = field(default_factory=list)
    llm: bool = False
    output: str = ""
    tasks: dict[str, PlannedTask] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    begun: dict[str, tuple[int, int]] = field(default_factory=dict)
    failures: set[tuple[str, int]] = field(default_factory=set)
    kinds: dict[str, str] = field(default_factory=dict)
    asked: tuple[int, int, list[str], int] | None = None  # revision, since, failed tasks, attempt
    paid: dict[tuple[str, str], float] = field(default_factory=dict)
    revisions: int = 0
    hopeless: bool = False

    @property
    def deadline(self) -> float:
        limit = self.request.policy.deadline if self.request else None
        return float("inf") if limit is None else limit

    def see(self, now: int, record: Any) -> Verdict | None:
        """The request's end, if this record ends it."""
        verdict = self._see(now, record)
        if verdict is not None:
            self.phase = "ended"
        return verdict

    def _see(self, now: int, record: Any) -> Verdict | None:
        match record:
            case Control(action="cancel"):
                return self._cancel()
            case Request() if self.phase == "absent":
                self.request, self.admitted = record, now
                self.needs = ["open"] * (record.session_id is not None) + ["reserve"] * self.tenant_cap
                return Verdict("cancelled") if self.early_cancel else self._go_on(now)
            case Grant() if self.phase in ("waiting", "planning", "running"):
                return self._grant(now, record)
            case Plan() if self.phase in ("planning", "running") and self.asked and self.asked[0] == record.revision:
                return self._plan(now, record)
            case Result() if self.phase == "running":
                return self._with_bundle(now, record)
            case Control() if self.phase == "running":
                waiting = [
                    i for i, t in self.tasks.items() if i in self.begun and t.kind == "approval" and i not in self.how
                ]
                meant = [i for i in waiting if record.task_id in (i, None)]
                if len(meant) == 1:
                    self._decide(meant[0], record.action == "approve")
                    return self._advance(now)
            case Wakeup() if self.phase in ("waiting", "planning", "running"):
                return self._wake(now)
        return None

    def _cancel(self) -> Verdict | None:
        if self.phase == "absent":
            self.early_cancel = True
            return None
        return None if self.phase == "ended" else self._ended("cancelled")

    def _go_on(self, now: int) -> Verdict | None:
        if now >= self.deadline:
            return Verdict("expired")
        if self.needs:
            self.phase = "waiting"
            return None
        if self.flow is not None:
            self.phase, self.output = "running", self.flow[-1].task_id
            self.tasks = {t.task_id: t for t in self.flow}
            return self._advance(now)
        self.phase, self.asked = "planning", (0, now, [], 1)
        return None

    def _grant(self, now: int, grant: Grant) -> Verdict | None:
        if json.loads(grant.detail).get("revoked"):
            return self._ended("cancelled")
        if self.phase != "waiting" or not grant.command_id.endswith("/" + self.needs[0]):
            return None
        if not grant.granted:
            return Verdict("failed", kind="session_busy" if self.needs[0] == "open" else "over_budget")
        self.needs.pop(0)
        return self._go_on(now)

    def _plan(self, now: int, plan: Plan) -> Verdict | None:
        assert self.asked is not None
        revision, _, failed, _ = self.asked
        self.paid["planning", str(revision)] = sum(u.cost_usd or 0 for u in plan.usage)
        self.asked = None
        if revision == 0:
            if plan.error is not None:
                return Verdict("expired") if now >= self.deadline else Verdict("failed", kind=plan.error.kind)
            self.phase, self.llm, self.output = "running", plan.source == "llm", plan.output_task
            self.tasks = {t.task_id: t for t in plan.tasks}
            return self._advance(now)
        self.revisions += 1
        merged = {i: t for i, t in self.tasks.items() if i not in failed}
        merged |= {t.task_id: t for t in plan.tasks if t.task_id not in self.begun and t.task_id not in self.how}
        if plan.error is not None or any(d not in merged for t in merged.values() for d in t.depends_on):
            self.hopeless = True
        else:
            self.tasks, self.output = merged, plan.output_task
            for i in failed:
                del self.how[i]
        return self._advance(now)

    def _with_bundle(self, now: int, result: Result) -> Verdict | None:
        """A bundle is its results one after the other: at once, and only with the first one's first coming."""
        news = result.task_id not in self.how
        verdict = self._result(now, result)
        for part in result.bundle if news else ():
            if verdict is None and self.phase == "running":
                alone = result.model_copy(update={"task_id": part.task_id, "output": part.output, "usage": ()})
                verdict = self._result(now, alone)
        return verdict

    def _result(self, now: int, result: Result) -> Verdict | None:
        i = result.task_id
        if i not in self.tasks or i not in self.begun or self.tasks[i].kind == "approval":
            return None
        self.paid[i, result.worker] = sum(u.cost_usd or 0 for u in result.usage)
        if i in self.how:
            return None
        attempt = self.begun[i][1]
        if result.status == "completed":
            assert result.output is not None
            self.how[i], self.texts[i] = "done", result.output.text
            self.data[i] = json.loads(result.output.data or "{}")
            return self._advance(now)
        assert result.error is not None
        if (i, result.attempt) in self.failures or result.attempt < attempt:
            return None
        self.failures.add((i, result.attempt))
        if result.error.retryable and attempt < 2 and now < self.deadline:
            self.begun[i] = (now, attempt + 1)
            return None
        self.how[i], self.kinds[i] = "failed", result.error.kind
        return self._advance(now)

    def _decide(self, i: str, approved: bool) -> None:
        self.data[i] = {"decision": "approved" if approved else "rejected"}
        read = any(f'"{i}"' in (t.condition or "") for t in self.tasks.values())
        self.how[i] = "done" if approved or read else "failed"
        self.kinds[i] = "rejected"

    def _wake(self, now: int) -> Verdict | None:
        if now >= self.deadline:
            return self._expired()
        before = dict(self.how), self.asked, self.hopeless
        if self.fleet and self.phase != "waiting":
            verdict = self._hurry(now)
            if verdict is not None:
                return verdict
        if self.phase != "running":
            return None
        for i in [i for i, t in self.tasks.items() if i in self.begun and i not in self.how and t.kind == "approval"]:
            options = json.loads(self.tasks[i].options)
            if "timeout_ms" in options and now >= self.begun[i][0] + options["timeout_ms"]:
                self._decide(i, options.get("on_timeout") == "approve")
        limit = self.request.policy.deadline if self.request else None
        if limit is not None and not self.fleet and now >= limit - int(0.25 * (limit - self.admitted)):
            self._do_without()
        return self._advance(now) if before != (self.how, self.asked, self.hopeless) else None

    def _hurry(self, now: int) -> Verdict | None:
        out = [i for i in self.tasks if i in self.begun and i not in self.how and self.tasks[i].kind == "work"]
        asked = self.asked
        for i in out:
            since, attempt = self.begun[i]
            if now - since >= STUCK_MS and attempt < 2:
                self.begun[i] = (now, attempt + 1)
            elif now - since >= STUCK_MS:
                self.how[i], self.kinds[i] = "failed", "stuck"
        if asked is not None and now - asked[1] >= STUCK_MS:
            if asked[3] < 2:
                self.asked = (asked[0], now, asked[2], asked[3] + 1)
            elif self.phase == "planning":
                return Verdict("failed", kind="stuck")
            else:
                self.asked, self.hopeless, self.revisions = None, True, self.revisions + 1
        return None

    def _do_without(self) -> None:
        lagging = set()
        for i, t in self.tasks.items():
            missing = [d for d in t.depends_on if d not in self.how]
            if i not in self.begun and i not in self.how and missing and all(self.tasks[d].optional for d in missing):
                lagging |= set(missing)
        self.how |= dict.fromkeys(lagging, "skipped")

    def _advance(self, now: int) -> Verdict | None:
        lost = [i for i, t in self.tasks.items() if self.how.get(i) == "failed" and not t.optional]
        mend = self.llm and self.asked is None and self.revisions < 2 and not self.hopeless and now < self.deadline
        if mend and lost and all(self.kinds[i] not in ("rejected", "needs_model") for i in lost):
            self.asked = (self.revisions + 1, now, lost, 1)
        while found := next(((i, h) for i in self.tasks if (h := self._fate(i, now))), None):
            self.how[found[0]] = found[1]
        if self.asked is None and all(i in self.how for i in self.tasks):
            return self._concluded(now)
        if now >= self.deadline:
            return self._expired()
        awaited = self._awaited()
        for i, t in self.tasks.items():
            there = all(d in self.how and d not in awaited for d in t.depends_on)
            if i not in self.begun and i not in self.how and there:
                self.begun[i] = (now, 1)
        return None

    def _awaited(self) -> list[str]:
        if self.asked is None:
            return []
        lost = [i for i, t in self.tasks.items() if self.how.get(i) == "failed" and not t.optional]
        again = self.revisions == 0 and all(self.kinds[i] not in ("rejected", "needs_model") for i in lost)
        return lost if again else self.asked[2]

    def _fate(self, i: str, now: int) -> str | None:
        t = self.tasks[i]
        if i in self.how or i in self.begun:
            return None
        awaited = self._awaited()
        dead = {d for d, h in self.how.items() if h in DEAD and d not in awaited}
        for d in t.depends_on:
            refused = self.data.get(d, {}).get("decision") == "rejected" and self.how.get(d) == "done"
            if refused and f'"{d}"' not in (t.condition or "") and not self.tasks[d].optional:
                return "passed"
        if any(d in dead and not self.tasks[d].optional for d in t.depends_on) or self.output in dead:
            return "skipped"
        users = [u for u, other in self.tasks.items() if i in other.depends_on]
        if t.optional and users and all(self.how.get(u) in ("skipped", "passed", "same") for u in users):
            return "skipped"
        if any(d not in self.how or d in awaited for d in t.depends_on):
            return None
        if t.condition is not None:
            c = json.loads(t.condition)
            if self.data.get(c["task"], {}).get(c["field"]) != c["equals"]:
                return "passed"
        there = [d for d in t.depends_on if self.how[d] == "done" and self.tasks[d].kind == "work"]
        if i == self.output and t.specialty == "synthesis" and len(there) == 1:
            self.texts[i] = self.texts[there[0]]
            return "same"
        probe = self.request is not None and crc32(self.request.request_id.encode()) % 16 == 0
        tight = self.fleet and not probe and now < self.deadline < now + TASK_MS / 2
        return "skipped" if tight and t.kind == "work" else None

    def _whole(self) -> bool:
        good = ("done", "same", "passed")
        return self.how.get(self.output) in good and all(
            self.how.get(i) in good or t.optional for i, t in self.tasks.items()
        )

    def _concluded(self, now: int) -> Verdict:
        if self._whole():
            return self._ended("completed")
        if now >= self.deadline:
            return self._expired()
        some = any(self.how[i] in ("done", "same") and t.kind == "work" for i, t in self.tasks.items())
        return self._ended("partial" if some else "failed")

    def _expired(self) -> Verdict:
        return self._ended("completed" if self.phase == "running" and self._whole() else "expired")

    def _ended(self, status: str) -> Verdict:
        done = {i: self.texts.get(i, "") for i in self.tasks if self.how.get(i) == "done"}
        worked = {i: x for i, x in done.items() if self.tasks[i].kind == "work"}
        if self.how.get(self.output) in ("done", "same") and self.output in self.texts:
            return Verdict(status, self.texts[self.output], done)
        if status in ("cancelled", "failed"):
            return Verdict(status, "", done)
        used = {d for i in done for d in self.tasks[i].depends_on}
        return Verdict(status, "\n\n".join(f"{i}:\n{x}" for i, x in worked.items() if i not in used), done)
