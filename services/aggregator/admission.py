"""Admission: may this request come in? Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from hocket.contracts.records import Error, Request
from hocket.contracts.workflows import Workflow
from hocket.core.plan import PlanLimits
from services.aggregator.fleet import Fleet

DAY_MS = 86_400_000
MAX_ID_CHARS = 100


@dataclass(frozen=True, kw_only=True)
class World:
    """What the join may know beside the row: what is installed, how the fleet is, and the limits of admission.

    `tenant_caps` are daily budgets in US dollars of those tenants that have one; `task_cost_usd` is what a task of a
    specialty usually costs (nothing when not named); `done_marker_ms` is how long an ended request is remembered:
    longer than any record is kept. `pressed` says that this aggregator is behind; `local` names, for each strategy, the
    specialties whose ladder begins with a local engine.
    """

    specialties: Collection[str]
    workflows: Mapping[str, Workflow]
    reply_topics: Collection[str] = ()
    plan_limits: PlanLimits = field(default_factory=PlanLimits)
    max_attachment_bytes: int = 20 * 1024 * 1024
    max_attachments: int = 32
    max_text_bytes: int = 128 * 1024
    fleet: Fleet = field(default_factory=Fleet)
    tenant_caps: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    task_cost_usd: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    session_ttl_s: int = 3_600
    done_marker_ms: int = 8 * DAY_MS
    pressed: bool = False
    local: Mapping[str, Collection[str]] = field(default_factory=lambda: MappingProxyType({}))

    def tenant_cap(self, tenant: str) -> float | None:
        """The tenant's daily budget in US dollars; None without one."""
        return self.tenant_caps.get(tenant)


def refusal(request: Request, world: World) -> Error | None:
    """Why the request cannot be admitted, in words its client can act on; None when it may come in."""
    wrong = _invalid(request, world)
    if wrong:
        return Error(kind="invalid_request", message=wrong)
    large = _too_large(request, world)
    if large:
        return Error(kind="too_large", message=large)
    if request.workflow is not None and request.workflow not in world.workflows:
        known = ", ".join(sorted(world.workflows))
        return Error(kind="unknown_workflow", message=f"there is no workflow {request.workflow!r} (there are: {known})")
    return None


def _invalid(request: Request, world: World) -> str | None:
    return _wrong_policy(request) or _wrong_name(request) or _wrong_content(request, world)


def _wrong_policy(request: Request) -> str | None:
    if not 0 <= request.policy.priority <= 9:
        return f"policy.priority is {request.policy.priority}, allowed are 0 to 9"
    cap = request.policy.max_cost_usd
    if cap is not None and not 0 < cap < float("inf"):
        return f"policy.max_cost_usd is {cap}, it must be more than 0"
    return None


def _wrong_name(request: Request) -> str | None:
    if request.session_id is not None and not 0 < len(request.session_id) <= MAX_ID_CHARS:
        return f"session_id must have 1 to {MAX_ID_CHARS} characters"
    if len(request.tenant) > MAX_ID_CHARS:
        return f"tenant must have at most {MAX_ID_CHARS} characters"
    return None


def _wrong_content(request: Request, world: World) -> str | None:
    if not request.text and not request.attachments:
        return "the request has neither text nor attachments"
    if len(request.attachments) > world.max_attachments:
        return f"{len(request.attachments)} attachments, at most {world.max_attachments} are accepted"
    if request.reply_topic is not None and request.reply_topic not in world.reply_topics:
        return f"reply_topic {request.reply_topic!r} does not exist with the partition count of the answers topic"
    return None


def _too_large(request: Request, world: World) -> str | None:
    words = len(request.text.encode()) + sum(len(k) + len(v.encode()) for k, v in request.constants.items())
    if words > world.max_text_bytes:
        limit = f"the limit is {world.max_text_bytes}: send long text as an attachment"
        return f"text and constants have {words} bytes together, {limit}"
    for a in request.attachments:
        size = max(a.size, len(a.data or b""))
        if size > world.max_attachment_bytes:
            limit = f"the limit is {world.max_attachment_bytes} (HOCKET_MAX_ATTACHMENT_BYTES)"
            return f"attachment {a.name!r} has {size} bytes, {limit}"
    return None
