"""`hocket dlq`: names and options only; `hocket.cli.letters` does the work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from hocket.cli.base import Output, guarded, settings_of, usage

if TYPE_CHECKING:
    from hocket.kafka.letters import Wanted

dlq_app = typer.Typer(
    help="Records that could not be processed: see, mend, replay.", no_args_is_help=True, rich_markup_mode=None
)

_ID = "partition:offset of the dead letter, as `hocket dlq ls` shows it."
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text, or exactly one JSON document on stdout.")]
TopicOption = Annotated[str | None, typer.Option("--topic", help="Read from this topic, with or without the prefix.")]
KindOption = Annotated[str | None, typer.Option("--kind", help="Such as undecodable, invalid, crashed.")]
ServiceOption = Annotated[str | None, typer.Option("--service", help="Given up by this service, such as worker.")]
RequestOption = Annotated[str | None, typer.Option("--request", help="Of this request id.")]
SinceOption = Annotated[str | None, typer.Option("--since", help="Given up since then: 30m, 2h, 7d.")]


@dlq_app.command("ls")
@guarded
def ls(
    ctx: typer.Context,
    *,
    topic: TopicOption = None,
    kind: KindOption = None,
    service: ServiceOption = None,
    request: RequestOption = None,
    since: SinceOption = None,
    number: Annotated[int, typer.Option("-n", min=1, help="At most so many, the newest.")] = 100,
    output: OutputOption = Output.text,
) -> None:
    """List dead letters, the newest last."""
    from hocket.cli.letters import list_letters

    settings = settings_of(ctx)
    wanted = _wanted(settings.prefix, topic=topic, kind=kind, service=service, request_id=request, since=since)
    asyncio.run(list_letters(settings, wanted, limit=number, output=output))


@dlq_app.command("show")
@guarded
def show(
    ctx: typer.Context,
    letter_id: Annotated[str, typer.Argument(metavar="ID", help=_ID)],
    output: OutputOption = Output.text,
) -> None:
    """Everything about one dead letter; its value decoded, or else as it is."""
    from hocket.cli.letters import show_letter

    asyncio.run(show_letter(settings_of(ctx), letter_id, output))


@dlq_app.command("replay")
@guarded
def replay(
    ctx: typer.Context,
    *,
    letter_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help=_ID)] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that the filters leave.")] = False,
    topic: TopicOption = None,
    kind: KindOption = None,
    service: ServiceOption = None,
    request: RequestOption = None,
    since: SinceOption = None,
    edit: Annotated[bool, typer.Option("--edit", help="Mend the record in $EDITOR first, as JSON.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Write the records to their topics again, under their keys, byte for byte unless edited.

    --all takes them 1,000 at a time, the oldest first, and asks for each thousand. Exit code 1 when you say no. The
    dead letters stay where they are until retention takes them.
    """
    from hocket.cli.letters import run_replay

    ids = letter_ids or []
    settings = settings_of(ctx)
    wanted = _wanted(settings.prefix, topic=topic, kind=kind, service=service, request_id=request, since=since)
    if bool(ids) == everything:
        usage("name the dead letters to replay, or say --all (with filters)")
    if edit and len(ids) != 1:
        usage("--edit takes exactly one dead letter")
    code = asyncio.run(run_replay(settings, ids, wanted, edit=edit, yes=yes, output=output))
    if code:
        raise typer.Exit(code)


def _wanted(prefix: str, *, topic: str | None, since: str | None, **more: str | None) -> Wanted:
    from hocket.cli.letters import span_ms
    from hocket.kafka.letters import Wanted
    from hocket.runtime.clock import now_ms

    full = topic if topic is None or topic.startswith(prefix) else prefix + topic
    after = 0 if since is None else now_ms() - span_ms(since)
    return Wanted(topic=full, since_ms=after, **more)
