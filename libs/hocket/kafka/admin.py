"""Topics on the broker: create what is missing, grow what may grow, refuse what would break the join.

Decisions are pure (`decide`, and `topic_configs.differences`); the rest asks the broker and acts. Nothing is ever
shrunk or deleted, and nothing reconfigured unless that is asked for: where an existing topic differs in a way that only
its owner may change, that is reported with the command that mends it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from hocket.contracts.topics import Topics, TopicSpec
from hocket.kafka.client import aiokafka_options, topics_of
from hocket.kafka.log import KafkaRefused
from hocket.kafka.login import look
from hocket.kafka.topic_configs import Difference, differences, set_configs, topic_configs
from hocket.runtime.settings import Settings

WAIT_SECONDS = 30.0
"""How long a broker may take to come up before it counts as out of reach."""
_PAUSE_SECONDS = 0.3
_REQUEST_SECONDS = 20.0

Action = Literal["created", "grown", "set", "differs"]


class KafkaUnreachable(Exception):  # noqa: N818 - the name says what is the case
    """No broker answers at the bootstrap address, or none lets us in; the message names it and what to do."""


class TopicsError(Exception):
    """The topics are not as the join needs them, or the broker refuses; the message says who must change what."""


@dataclass(frozen=True, kw_only=True)
class TopicState:
    """A topic as it stands on the broker."""

    name: str
    partitions: int
    replication: int
    ready: bool = True


@dataclass(frozen=True, kw_only=True)
class Change:
    """What was done to a topic; `differs` means nothing was done, and `detail` says what its owner should do."""

    topic: str
    action: Action
    partitions: int
    detail: str = ""


async def apply_topics(
    settings: Settings,
    specialties: Iterable[str],
    *,
    task_partitions: int | None = None,
    alter_configs: bool = False,
    wait_seconds: float = WAIT_SECONDS,
) -> list[Change]:
    """Makes the topics of an installation; doing it again changes nothing and returns nothing.

    `task_partitions` lets task topics have another (larger) count than `settings.partitions`; they may grow later,
    joined topics may not. `alter_configs` sets the settings of existing topics that differ, except where that could
    drop records. Returns once every topic has a leader. Retries while the broker comes up. Raises
    KafkaUnreachable after `wait_seconds` without one, TopicsError when the existing joined topics cannot serve these
    settings or Kafka refuses.
    """
    wanted = topics_of(settings).all(specialties)
    counts = {n: _count(s, settings.partitions, task_partitions) for n, s in wanted.items()}
    async with admin(settings, wait_seconds=wait_seconds) as client:
        existing = await _states(client)
        changes = decide(wanted, counts, existing)
        replication = settings.replication if settings.replication > 0 else await _default_replication(client)
        await _create(client, wanted, [c for c in changes if c.action == "created"], replication)
        await _grow(client, [c for c in changes if c.action == "grown"])
        found = await _settled(client, wanted, counts)
        differing = await _config_differences(client, wanted)
        if alter_configs:
            await _set(client, settings, wanted, [d for d in differing if not d.loses])
    return changes + [_of(d, found[d.topic].partitions, done=alter_configs and not d.loses) for d in differing]


async def list_topics(settings: Settings, *, wait_seconds: float = WAIT_SECONDS) -> list[TopicState]:
    """The installation's topics that stand on the broker, by name. Raises KafkaUnreachable."""
    topics = topics_of(settings)
    async with admin(settings, wait_seconds=wait_seconds) as client:
        found = await _states(client)
    return [found[n] for n in sorted(found) if topics.spec(n) is not None]


async def check_joined(settings: Settings, *, wait_seconds: float = WAIT_SECONDS) -> int:
    """The partition count that all joined topics have. Raises TopicsError when one is missing or they differ."""
    found = {t.name: t.partitions for t in await list_topics(settings, wait_seconds=wait_seconds)}
    return joined_count(topics_of(settings), found)


def joined_count(topics: Topics, found: Mapping[str, int]) -> int:
    """The one partition count of the joined topics among `found` (full name to count). Raises TopicsError."""
    joined = [n for n, spec in topics.all(()).items() if spec.joined]
    missing = [n for n in joined if n not in found]
    if missing:
        raise TopicsError(f"these topics are missing: {', '.join(missing)}. Run `hocket topics apply`")
    counts = {n: found[n] for n in joined}
    if len(set(counts.values())) > 1:
        raise TopicsError(f"{_uneven(counts)}; {_NEW_TOPICS}")
    return next(iter(counts.values()))


_NEW_TOPICS = (
    "a request's row lives in the partition of its key, so the count is fixed when the topics are made. "
    "Move to a new HOCKET_PREFIX with the other count, as UPGRADING.md shows"
)


def _uneven(counts: Mapping[str, int]) -> str:
    return "the joined topics must have one partition count, and have " + ", ".join(
        f"{n}: {c}" for n, c in sorted(counts.items())
    )


def _count(spec: TopicSpec, partitions: int, task_partitions: int | None) -> int:
    if isinstance(spec.partitions, int):
        return spec.partitions
    return partitions if spec.joined or task_partitions is None else task_partitions


def decide(
    wanted: Mapping[str, TopicSpec], counts: Mapping[str, int], existing: Mapping[str, TopicState]
) -> list[Change]:
    """What has to be done, by topic name. Raises TopicsError when a joined topic would have to change its count."""
    wrong = {n: existing[n].partitions for n, s in wanted.items() if s.joined and n in existing}
    wrong = {n: c for n, c in wrong.items() if c != counts[n]}
    if wrong:
        have = ", ".join(f"{n} has {c}" for n, c in sorted(wrong.items()))
        kept = sorted(set(wrong.values()))
        advice = f"set HOCKET_PARTITIONS={kept[0]}" if len(kept) == 1 else "they are not even equal"
        raise TopicsError(
            f"joined topics never change their partition count: {counts[next(iter(wrong))]} are wanted, but {have}. "
            f"Keep the count ({advice}): {_NEW_TOPICS}"
        )
    changes = []
    for name in sorted(wanted):
        found, count, spec = existing.get(name), counts[name], wanted[name]
        if found is None:
            changes.append(Change(topic=name, action="created", partitions=count))
        elif spec.partitions == "tasks" and found.partitions < count:
            detail = f"from {found.partitions}"
            changes.append(Change(topic=name, action="grown", partitions=count, detail=detail))
        elif isinstance(spec.partitions, int) and found.partitions != count:
            detail = f"should have {count} partitions; left as it is"
            changes.append(Change(topic=name, action="differs", partitions=found.partitions, detail=detail))
    return changes


@asynccontextmanager
async def admin(settings: Settings, *, wait_seconds: float = WAIT_SECONDS) -> AsyncIterator[Any]:
    """A connected aiokafka admin client; tries again until `wait_seconds` are over, then raises KafkaUnreachable.

    Raises KafkaRefused at once when a broker answers and lets this client in under no circumstances.
    """
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    give_up = time.monotonic() + wait_seconds
    while True:
        client = AIOKafkaAdminClient(
            **aiokafka_options(settings), client_id="hocket-admin", request_timeout_ms=int(_REQUEST_SECONDS * 1000)
        )
        try:
            await client.start()
            await client.describe_cluster()
            break
        except (KafkaError, OSError, TimeoutError) as e:
            await client.close()
            await raise_closed(settings, e, give_up=time.monotonic() >= give_up)
            await asyncio.sleep(_PAUSE_SECONDS)
        except BaseException:
            await client.close()
            raise
    try:
        yield client
    finally:
        await client.close()


async def raise_closed(settings: Settings, cause: BaseException, *, give_up: bool) -> None:
    """After a failure to connect. Raises KafkaRefused when trying again cannot help, KafkaUnreachable at the end."""
    found = await look(settings) if give_up or settings.security_protocol != "PLAINTEXT" else None
    if found is not None and found.final:
        raise KafkaRefused(found.sentence) from cause
    if give_up:
        raise KafkaUnreachable(found.sentence if found else unreachable(settings, cause)) from cause


def unreachable(settings: Settings, cause: BaseException) -> str:
    """What to tell a person when no broker answers."""
    # "Unable to bootstrap from [...]" only says the same again, less well.
    why = "" if type(cause).__name__ == "KafkaConnectionError" else f" ({cause})"
    return (
        f"no Kafka broker answers at {settings.bootstrap}{why}. "
        "Start one with `hocket dev`, or name yours with --bootstrap HOST:PORT (HOCKET_BOOTSTRAP)"
    )


async def _states(client: Any) -> dict[str, TopicState]:
    """All topics of the cluster. Asks for all of them: asking by name would create missing ones on many brokers."""
    found = {}
    for t in await client.describe_topics(None):
        parts = t["partitions"]
        if not parts:
            continue
        found[t["topic"]] = TopicState(
            name=t["topic"],
            partitions=len(parts),
            replication=len(parts[0]["replicas"]),
            ready=all(p["leader"] >= 0 for p in parts),
        )
    return found


async def _default_replication(client: Any) -> int:
    """The broker's default: aiokafka's CreateTopics (version 3) cannot leave the choice to the broker."""
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    node = (await client.describe_cluster())["brokers"][0]["node_id"]
    resource = ConfigResource(ConfigResourceType.BROKER, str(node), {"default.replication.factor": None})
    values = _configs(await client.describe_configs([resource])).get(str(node), {})
    try:
        return int(values["default.replication.factor"])
    except (KeyError, ValueError) as e:
        raise TopicsError(
            "the broker does not tell its default.replication.factor (a managed cluster may hide it): "
            "set HOCKET_REPLICATION, such as 3"
        ) from e


def _configs(responses: Iterable[Any]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for response in responses:
        for resource in response.resources:
            code, _message, _kind, name, entries = resource[:5]
            if code == 0:
                found[name] = {entry[0]: entry[1] for entry in entries}
    return found


async def _create(client: Any, wanted: Mapping[str, TopicSpec], changes: Collection[Change], replication: int) -> None:
    from aiokafka.admin import NewTopic
    from aiokafka.errors import TopicAlreadyExistsError, for_code

    if not changes:
        return
    new = [NewTopic(c.topic, c.partitions, replication, topic_configs=topic_configs(wanted[c.topic])) for c in changes]
    response = await client.create_topics(new, timeout_ms=int(_REQUEST_SECONDS * 1000))
    refused = []
    for name, code, *message in response.topic_errors:
        # Two of us may apply at once: what the other has just created is checked by _settled.
        if code and code != TopicAlreadyExistsError.errno:
            said = message[0] if message and message[0] else for_code(code).description
            refused.append(f"{name}: {said}")
    if refused:
        raise TopicsError(f"Kafka refuses to create topics: {'; '.join(refused)}")


async def _grow(client: Any, changes: Collection[Change]) -> None:
    from aiokafka.admin import NewPartitions
    from aiokafka.errors import KafkaError

    if not changes:
        return
    try:
        await client.create_partitions({c.topic: NewPartitions(c.partitions) for c in changes})
    except KafkaError as e:
        raise TopicsError(f"Kafka refuses to grow task topics: {e}") from e


async def _settled(client: Any, wanted: Mapping[str, TopicSpec], counts: Mapping[str, int]) -> dict[str, TopicState]:
    """Waits until every topic has all its partitions with a leader. Another one may have made topics meanwhile."""
    give_up = time.monotonic() + _REQUEST_SECONDS
    while True:
        found = await _states(client)
        waiting = [c.topic for c in decide(wanted, counts, found) if c.action != "differs"]
        waiting += [n for n in wanted if n in found and not found[n].ready]
        if not waiting:
            return found
        if time.monotonic() > give_up:
            raise TopicsError(f"after {_REQUEST_SECONDS:.0f} s these topics have no leader yet: {', '.join(waiting)}")
        await asyncio.sleep(0.05)


async def _config_differences(client: Any, wanted: Mapping[str, TopicSpec]) -> list[Difference]:
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    resources = [ConfigResource(ConfigResourceType.TOPIC, n, topic_configs(s)) for n, s in wanted.items()]
    return differences(wanted, _configs(await client.describe_configs(resources)))


async def _set(client: Any, settings: Settings, wanted: Mapping[str, TopicSpec], changes: Sequence[Difference]) -> None:
    """Returns once the broker tells the new settings: it takes them a moment after it has agreed."""
    refused = await asyncio.to_thread(set_configs, settings, changes)
    if refused:
        raise TopicsError(f"Kafka refuses to set topic settings: {'; '.join(refused)}")
    give_up = time.monotonic() + _REQUEST_SECONDS
    while left := set(changes) & set(await _config_differences(client, wanted)):
        if time.monotonic() > give_up:
            names = ", ".join(sorted(d.topic for d in left))
            raise TopicsError(f"after {_REQUEST_SECONDS:.0f} s these topics do not have their settings yet: {names}")
        await asyncio.sleep(0.05)


def _of(difference: Difference, partitions: int, *, done: bool) -> Change:
    d = difference
    detail = f"{d.setting}={d.wanted}, was {d.found}" if done else d.sentence()
    return Change(topic=d.topic, action="set" if done else "differs", partitions=partitions, detail=detail)
