"""The page's sections as JSON documents, from the board, the lag and the workers. Pure; times are milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.monitor.board import PLANNING, Asked, Board, Step, quantile, tree
from services.monitor.lag import GroupLag, Worker
from services.monitor.scaling import Signal
from services.monitor.verdicts import CODES, Standing

_TEXT_SHOWN = 140
_STEPS_SHOWN = 12


def summary(board: Board, groups: Iterable[GroupLag], workers: Sequence[Worker], now_ms: int) -> dict[str, Any]:
    """The figures at the top."""
    lately = [s for at, s in board.seconds if now_ms - at <= 300_000]
    minute = board.history.get(now_ms // 60_000 - 1, [0.0, 0.0, 0.0])
    return {
        "open": len(board.open),
        "answers_per_minute": board.rates.sum("answers", now_ms),
        "failed_per_minute": sum(board.rates.sum(f"answers/{s}", now_ms) for s in ("failed", "expired", "cancelled")),
        "p50": quantile(lately, 0.5),
        "p95": quantile(lately, 0.95),
        "p99": quantile(lately, 0.99),
        "tokens_per_minute": round(minute[0]),
        "usd_per_minute": round(minute[1], 6),
        "net": sum(g.net for g in groups),
        "workers": sum(w.verdict == "alive" for w in workers),
        "dead": len(board.dead),
    }


def specialties(
    groups: Mapping[str, tuple[GroupLag, Mapping[tuple[str, int], Standing], float | None]],
    signals: Mapping[str, Signal],
    workers: Sequence[Worker],
    board: Board,
    now_ms: int,
) -> list[dict[str, Any]]:
    """One row for each task topic: depth, lag, verdict, workers and times. `groups` are by specialty."""
    rows = []
    for name, (group, verdicts, drain) in groups.items():
        here = [w.heartbeat for w in workers if _specialty(w) == name and w.verdict in ("alive", "late")]
        found = signals.get(name)
        p50 = [b.p50_millis for b in here if b.p50_millis is not None]
        p95 = [b.p95_millis for b in here if b.p95_millis is not None]
        rows.append(
            {
                "specialty": name,
                "lag": group.lag,
                "net": group.net,
                "age_ms": group.age_ms,
                "drain_s": None if drain is None else round(drain, 1),
                "status": max(verdicts.values(), key=lambda v: CODES[v], default="ok"),
                "workers": len(here),
                "desired": None if found is None else found.desired_workers,
                "reason": None if found is None else found.reason,
                "in_flight": sum(b.in_flight for b in here),
                "queued": sum(b.queued for b in here),
                "limited": any(b.rate_limited for b in here),
                "tasks_per_minute": board.rates.sum(f"tasks/{name}", now_ms),
                "results_per_minute": board.rates.sum(f"results/{name}", now_ms),
                "p50": max(p50) / 1000 if p50 else None,
                "p95": max(p95) / 1000 if p95 else None,
            }
        )
    return rows


def _specialty(w: Worker) -> str | None:
    return PLANNING if w.heartbeat.service == "planner" else w.heartbeat.specialty


def flow(board: Board, requests_per_minute: float, now_ms: int) -> dict[str, Any]:
    """Rates per minute on the edges that belong to no specialty."""
    return {
        "requests": round(requests_per_minute),
        "plans": board.rates.sum("plans", now_ms),
        "answers": board.rates.sum("answers", now_ms),
    }


def workers_view(workers: Iterable[Worker]) -> list[dict[str, Any]]:
    """Each process with its health."""
    return [
        {
            "worker": w.heartbeat.worker,
            "service": w.service,
            "verdict": w.verdict,
            "state": w.heartbeat.state,
            "age_s": round(w.age_ms / 1000),
            "in_flight": w.heartbeat.in_flight,
            "queued": w.heartbeat.queued,
            "concurrency": w.heartbeat.concurrency,
            "completed": w.heartbeat.completed,
            "failed": w.heartbeat.failed,
            "per_second": round(w.heartbeat.per_second, 2),
            "limited": w.heartbeat.rate_limited,
            "partitions": list(w.heartbeat.partitions),
            "paused": len(w.heartbeat.paused),
        }
        for w in workers
        if w.verdict != "left"
    ]


def row(asked: Asked) -> dict[str, Any]:
    """A request in the list: its steps in short, and the end of what is written now."""
    steps = [s for s in asked.steps.values() if s.task_id != PLANNING or s.state == "assigned"]
    told = next((s for s in asked.running if s.text), None)
    return {
        "id": asked.request_id,
        "at": asked.first_at,
        "steps": [[s.task_id, s.specialty, s.state] for s in steps[:_STEPS_SHOWN]],
        "more": max(0, len(steps) - _STEPS_SHOWN),
        "text": "" if told is None else told.text[-_TEXT_SHOWN:],
    }


def answered_row(asked: Asked) -> dict[str, Any]:
    """An answered request in the list."""
    answer = asked.answer
    if answer is None:
        return {"id": asked.request_id}
    receipt = answer.receipt
    began = receipt.admitted_at if receipt.submitted_at is None else receipt.submitted_at
    return {
        "id": asked.request_id,
        "status": answer.status,
        "answered_at": receipt.answered_at,
        "seconds": max(0, receipt.answered_at - began) / 1000,
        "cost_usd": receipt.cost_usd,
        "tasks": len(receipt.tasks),
        "calls": receipt.calls,
    }


def request_view(asked: Asked) -> dict[str, Any]:
    """One request in full: its tree with times, and its receipt once it is answered."""
    found: dict[str, Any] = {
        "id": asked.request_id,
        "first_at": asked.first_at,
        "last_at": asked.last_at,
        "tasks": [_task(n["step"], n["level"], n["also"]) for n in tree(list(asked.steps.values()))],
    }
    if asked.answer is None:
        return found | {"status": "in progress"}
    answer, receipt = asked.answer, asked.answer.receipt
    costs = {t.task_id: t for t in receipt.tasks}
    for task in found["tasks"]:
        own = costs.get(task["id"])
        if own is not None:
            task |= {"cost_usd": own.cost_usd, "engine": own.engine, "calls": own.calls, "why": own.why}
            task |= {"dispatched_at": own.dispatched_at, "retries": own.retries}
    return found | {
        "status": answer.status,
        "first_at": receipt.submitted_at or receipt.admitted_at,
        "last_at": receipt.answered_at,
        "content": answer.content,
        "error": None if answer.error is None else answer.error.message,
        "cost_usd": receipt.cost_usd,
        "calls": receipt.calls,
        "lost_runs": receipt.lost_runs,
        "tokens": [receipt.input_tokens, receipt.output_tokens],
        "source": receipt.source,
        "workflow": receipt.workflow,
        "planner": receipt.planner,
        "plan_millis": receipt.plan_millis,
        "critical_path": list(receipt.critical_path),
        "left_out": [[x.what, x.why] for x in receipt.left_out],
    }


def _task(step: Step, level: int, also: Sequence[str]) -> dict[str, Any]:
    return {
        "id": step.task_id,
        "level": level,
        "specialty": step.specialty,
        "also_after": list(also),
        "state": step.state,
        "worker": step.worker,
        "note": step.note,
        "started_at": step.started_at,
        "ended_at": step.ended_at,
        "text": step.text,
    }


def latencies(board: Board) -> list[dict[str, Any]]:
    """Times of the latest tasks by specialty and engine."""
    return [
        {
            "specialty": specialty,
            "engine": engine,
            "tasks": len(times),
            "p50": quantile(times, 0.5),
            "p95": quantile(times, 0.95),
            "p99": quantile(times, 0.99),
        }
        for (specialty, engine), times in sorted(board.engines.items())
    ]


def cost(board: Board, now_ms: int) -> list[list[float]]:
    """Tokens, dollars and answers of each minute of the last hour, the oldest first."""
    last = now_ms // 60_000
    return [[round(x, 6) for x in board.history.get(m, [0.0, 0.0, 0.0])] for m in range(last - 59, last + 1)]


def dead_letters(board: Board, *, replay: bool = False) -> list[dict[str, Any]]:
    """The latest dead letters, the newest first. `replay`: they may be sent again, where their bytes are kept."""
    return [
        {
            "id": d.id,
            "topic": d.letter.topic,
            "partition": d.letter.partition,
            "offset": d.letter.offset,
            "key": None if d.letter.key is None else d.letter.key.decode(errors="replace"),
            "kind": d.letter.kind,
            "reason": d.letter.reason[:300],
            "service": d.letter.service,
            "at": d.letter.at,
            "again": d.again,
            "replay": replay and d.letter.value is not None,
        }
        for d in reversed(board.dead)
    ]
