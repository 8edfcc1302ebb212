"""What a request asks of accounts (its session, its tenant's budget), and what it gives back at its end. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import orjson

from hocket.contracts.records import AccountCommand, Grant, Request
from hocket.core.context import fit
from services.aggregator.admission import World
from services.aggregator.budget import known_cost
from services.aggregator.events import Ask
from services.aggregator.row import APPROVAL, Row

SESSION_BYTES = 32 * 1024
"""What a session remembers at most: earlier results and constants together, as JSON."""
CONSTANTS_BYTES = 8 * 1024
REQUEST_PART = 0.01
"""Part of its tenant's daily budget that a request without a cap of its own may spend."""


def due(row: Row, world: World, now: int) -> AccountCommand | None:
    """The next account command that the request needs before it is planned; None when it has all."""
    request = row.asked_for
    done = {c.action for c in row.asked}
    if request.session_id is not None and "open" not in done:
        detail: dict[str, Any] = {"on_busy": request.policy.on_busy, "ttl_seconds": world.session_ttl_s}
        if request.policy.deadline is not None:
            detail["deadline"] = request.policy.deadline
        return _command(request, f"session/{request.tenant}/{request.session_id}", "open", now, detail=detail)
    cap = world.tenant_cap(request.tenant)
    if cap is not None and "reserve" not in done:
        amount, limit = reservation(request, world, cap)
        return _command(request, f"tenant/{request.tenant}", "reserve", now, amount=amount, detail=limit)
    return None


def reservation(request: Request, world: World, daily_usd: float) -> tuple[float, dict[str, Any]]:
    """What is asked of the tenant's day. A request without a cap of its own takes a part, or what is left of the day,
    and that becomes its cap: otherwise many at once would each see the same rest."""
    limit: dict[str, Any] = {"limit_usd": daily_usd}
    if request.policy.max_cost_usd is not None:
        return request.policy.max_cost_usd, limit
    return max(estimate(request, world), daily_usd * REQUEST_PART), limit | {"at_most": True}


def estimate(request: Request, world: World) -> float:
    """What the request may cost, in US dollars: its cap, else what the tasks of its declared plan usually cost (of an
    open request only the planning is known)."""
    if request.policy.max_cost_usd is not None:
        return request.policy.max_cost_usd
    workflow = world.workflows.get(request.workflow or "")
    wanted = [s.specialty for s in workflow.tasks] if workflow is not None else ["planning"]
    return sum(world.task_cost_usd.get(s, 0.0) for s in wanted)


def given_back(row: Row, now: int) -> list[Ask]:
    """The commands that end what was asked for. Nothing for what was refused: that is no longer in `asked`.

    They stand behind their openings in the account's partition, so they also end what was not granted yet.
    """
    return [Ask(command=_closing(row, opened, now)) for opened in row.asked]


def _closing(row: Row, opened: AccountCommand, now: int) -> AccountCommand:
    request = row.asked_for
    if opened.action == "open":
        return _command(request, opened.account_id, "close", now, detail=_remembered(row))
    usage = [u for t in row.all_tasks for u in t.usage] + list(row.plan.usage if row.plan else ())
    cost = known_cost(usage)
    if any(u.cost_usd is None for u in usage):
        cost = max(cost, opened.amount)  # an unknown price is not nothing: what was set aside is taken
    return _command(request, opened.account_id, "settle", now, amount=cost)


def _command(
    request: Request,
    account: str,
    action: str,
    now: int,
    *,
    amount: float = 0.0,
    detail: Mapping[str, Any] | None = None,
) -> AccountCommand:
    return AccountCommand(
        account_id=account,
        asker=request.request_id,
        command_id=f"{request.request_id}/{action}",
        action=action,
        amount=amount,
        detail=orjson.dumps(detail or {}).decode(),
        at=now,
    )


def _remembered(row: Row) -> dict[str, Any]:
    """What the session keeps of this request, over what it has from earlier ones; bounded."""
    constants = fit(row.asked_for.constants, CONSTANTS_BYTES)
    results = by_specialty(row, row.tasks)
    return {"results": fit(results, SESSION_BYTES - CONSTANTS_BYTES - 64), "constants": constants}


def by_specialty(row: Row, task_ids: Collection[str]) -> dict[str, str]:
    """The texts of these tasks by specialty; of two with one specialty the later one in the plan counts."""
    tasks = [row.tasks[i] for i in row.tasks if i in task_ids]
    return {t.planned.specialty: t.output.text for t in tasks if t.output is not None and t.planned.kind != APPROVAL}


def told(grant: Grant) -> dict[str, Any]:
    """The grant's detail; empty when it is not a JSON object."""
    try:
        found = orjson.loads(grant.detail)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def texts(found: object) -> dict[str, str]:
    """The texts by name in a part of a grant's detail; what is none is left out."""
    return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}
