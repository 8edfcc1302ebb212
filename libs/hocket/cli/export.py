"""`hocket export`: a specialty's accepted work as training data, one JSON line per pair, personal data masked by rule.

A pair is a task and its first completed result. The input is the prompt that a model gets for the task, the output the
specialty's record, so that a model trained on it answers what Hocket asks.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, TypeVar

from hocket.cli.base import say, usage
from hocket.cli.exchange import CONNECT_SECONDS
from hocket.cli.masking import Rule, load_rules, masked
from hocket.cli.tail import messages, reader
from hocket.contracts.claims import Blobs, ClaimError
from hocket.contracts.codec import CodecError
from hocket.contracts.records import Record, Result, Task
from hocket.contracts.specialties import Specialty, load_specialties
from hocket.core.work import BadInput
from hocket.kafka.admin import admin
from hocket.kafka.client import codec_of, topics_of
from hocket.runtime.settings import Settings

Form = Literal["openai", "anthropic"]
R = TypeVar("R", bound=Record)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One accepted piece of work, masked."""

    system: str
    prompt: str
    output: str
    tool: str
    schema: dict[str, Any]


def export(settings: Settings, name: str, *, form: Form, out: Path, accepted_by: str | None, rules: Path | None) -> int:
    """Writes the pairs to `out` and says how many; waits for the broker and reads both topics to their ends.

    Raises CliError (usage) for a specialty that is not there, a file that is there already, or wrong rules.
    """
    specialty = load_specialties(settings.specialties).get(name)
    if specialty is None:
        usage(f"there is no specialty {name!r}; `hocket specialties` lists them")
    if out.exists():
        usage(f"{out} is there already: nothing was written")
    wanted = load_rules(rules)
    lines, left, count = list[str](), 0, 0
    blobs = Blobs(settings.blob_store, settings.allowed_uris)
    for task, result in asyncio.run(_chosen(settings, name, accepted_by)):
        try:
            pair, hidden = pair_of(specialty, task, result, blobs, wanted)
        except (BadInput, ClaimError) as e:
            left += 1
            say(f"left out {task.request_id}/{task.task_id}: {e}")
            continue
        count += hidden
        lines.append(json.dumps(line_of(pair, form), ensure_ascii=False))
    out.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    say(f"{len(lines)} pairs in {out}, {count} values masked, {left} left out; read it before you share it")
    return len(lines)


async def _chosen(settings: Settings, name: str, by: str | None) -> list[tuple[Task, Result]]:
    topics = topics_of(settings)
    tasks = {(t.request_id, t.task_id, t.revision): t async for t in _all(settings, topics.tasks(name), Task)}
    chosen: dict[tuple[str, str, int], tuple[Task, Result]] = {}
    async for result in _all(settings, topics.results, Result):
        key = (result.request_id, result.task_id, result.revision)
        if key in tasks and accepted(result, name, by):
            chosen.setdefault(key, (tasks[key], result))
    return list(chosen.values())


def accepted(result: Result, specialty: str, by: str | None) -> bool:
    """Whether a result is worth learning from: completed, and by an engine that fits the glob `by`, if there is one."""
    ended = result.status == "completed" and result.specialty == specialty and result.output is not None
    return ended and (by is None or fnmatch(result.engine or "", by))


def pair_of(specialty: Specialty, task: Task, result: Result, blobs: Blobs, rules: Sequence[Rule]) -> tuple[Pair, int]:
    """The pair, and how many values were masked in it. Reads documents. Raises BadInput, ClaimError.

    A picture is no text to learn from: a task with one is BadInput.
    """
    from services.workers.question import question_of
    from services.workers.service import work_of

    call = question_of(specialty, work_of(task, blobs)).call
    if call.images:
        raise BadInput("it has pictures, which the formats do not hold")
    assert result.output is not None  # noqa: S101 - accepted() saw it
    # Escaped line breaks would hide the beginnings of lines from the rules.
    hidden = masked([call.prompt, *_strings(json.loads(blobs.output(result.output)))], rules)
    output = _with(json.loads(blobs.output(result.output)), list(hidden.texts[1:]))
    pair = Pair(
        system=call.system,
        prompt=hidden.texts[0],
        output=json.dumps(output, ensure_ascii=False),
        tool=call.tool_name,
        schema=dict(call.tool_schema),
    )
    return pair, hidden.count


def _strings(value: Any) -> list[str]:
    """Every text in the output, in a fixed order; the names of fields stay."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in inner for text in _strings(item)]


def _with(value: Any, texts: list[str]) -> Any:
    """The output with its texts replaced, in the order of `_strings`; empties the list."""
    if isinstance(value, str):
        return texts.pop(0)
    if isinstance(value, dict):
        return {key: _with(item, texts) for key, item in value.items()}
    return [_with(item, texts) for item in value] if isinstance(value, list) else value


def line_of(pair: Pair, form: Form) -> dict[str, Any]:
    """The pair as the provider's fine-tuning takes it.

    openai: chat messages with the forced tool call. anthropic: system and messages with the record as JSON text, the
    form that Claude's fine-tuning (on Amazon Bedrock) takes, which knows no tools.
    """
    asked = {"role": "user", "content": pair.prompt}
    if form == "anthropic":
        return {"system": pair.system, "messages": [asked, {"role": "assistant", "content": pair.output}]}
    function = {"name": pair.tool, "arguments": pair.output}
    called = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    return {
        "messages": [{"role": "system", "content": pair.system}, asked, called],
        "tools": [{"type": "function", "function": {"name": pair.tool, "parameters": pair.schema}}],
        "parallel_tool_calls": False,
    }


async def _all(settings: Settings, topic: str, kind: type[R]) -> AsyncIterator[R]:
    """Every record of a topic that can be read, to its present end."""
    async with admin(settings, wait_seconds=CONNECT_SECONDS) as client:
        there = {t["topic"]: len(t["partitions"]) for t in await client.describe_topics(None)}
    if topic not in there:
        usage(f"there is no topic {topic!r}: run `hocket topics apply`")
    codec = codec_of(settings)
    async with reader(settings, topic, there[topic], beginning=True) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        async for message in messages(consumer, ends):
            try:
                yield codec.decode(message.value, kind)
            except CodecError:
                continue  # it stands in the dead letters
