"""Admission: may this request come in? Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from hocket.contracts.records import Error, Request
from hocket.contracts.workflows import Workflow
from hocket.core.plan import PlanLimits


@dataclass(frozen=True, kw_only=True)
class World:
    """What the join may know beside the row: what is installed, and the limits of admission."""

    specialties: Collection[str]
    workflows: Mapping[str, Workflow]
    reply_topics: Collection[str] = ()
    plan_limits: PlanLimits = field(default_factory=PlanLimits)
    max_attachment_bytes: int = 20 * 1024 * 1024
    max_attachments: int = 32
    max_text_bytes: int = 128 * 1024


def refusal(request: Request, world: World) -> Error | None:
    """Why the request cannot be admitted, in words its client can act on; None when it may come in."""
    wrong = _invalid(request, world)
    if wrong:
        return Error(kind="invalid_request", message=wrong)
    large = _too_large(request, world)
    if large:
        return Error(kind="too_large", message=large)
    # A promise about money or memory that this version cannot keep is refused, not ignored.
    for what, wanted in (("policy.max_cost_usd", request.policy.max_cost_usd), ("session_id", request.session_id)):
        if wanted is not None:
            return Error(kind="not_supported", message=f"{what} is not supported by this version; leave it out")
    if request.workflow is not None and request.workflow not in world.workflows:
        known = ", ".join(sorted(world.workflows))
        return Error(kind="unknown_workflow", message=f"there is no workflow {request.workflow!r} (there are: {known})")
    return None


def _invalid(request: Request, world: World) -> str | None:
    if not 0 <= request.policy.priority <= 9:
        return f"policy.priority is {request.policy.priority}, allowed are 0 to 9"
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
