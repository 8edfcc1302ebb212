"""What each service may do on the broker, and nothing more. Pure: derived from `schemas/topics.yaml`.

Kafka's own implications are used: Read, Write and Alter include Describe, AlterConfigs includes DescribeConfigs.
Readers without a group need nothing on a group. An idempotent producer needs no right of its own since Kafka 3.0
(KIP-679): Write on a topic is enough.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hocket.contracts.topics import PER_SPECIALTY, Topics, TopicSpec

CLIENT, TOPICS_JOB = "client", "topics"
AGGREGATOR, PLANNER, MONITOR = "aggregator", "planner", "monitor"
PLANNING = "planning"
_WORKER = "worker"
_BESIDE = ("fleet", "alarm")
"""Readers inside the aggregator whose client library asks for a group's coordinator, without ever joining it."""

Resource = Literal["topic", "group", "transactional-id", "cluster"]
Pattern = Literal["literal", "prefixed"]


@dataclass(frozen=True, kw_only=True)
class Acl:
    """Operations that are allowed on one resource, or on all whose name begins so."""

    resource: Resource
    name: str
    operations: tuple[str, ...]
    pattern: Pattern = "literal"


def services_of(specialties: Iterable[str]) -> list[str]:
    """Everyone who gets rights of their own: each service, whoever asks (`client`) and `hocket topics apply`."""
    workers = [f"{_WORKER}-{s}" for s in sorted(specialties)]
    return [AGGREGATOR, PLANNER, *workers, MONITOR, CLIENT, TOPICS_JOB]


def acls(
    topics: Topics,
    specialties: Sequence[str],
    group: Callable[[str], str],
    reply_topics: Iterable[str] = (),
    *,
    replay: bool = False,
) -> dict[str, list[Acl]]:
    """The rights of each service. `group` names a role's consumer group, `reply_topics` are the patterns of topics that
    a request may name for its answer (without the prefix). `replay`: the monitor may send dead letters again."""
    wanted = topics.all(specialties)
    replies = [_reply(topics.prefix + p) for p in reply_topics]
    found = {name: _flow(topics, wanted, name) for name in services_of(specialties)}
    found[AGGREGATOR] += _aggregator(wanted, group, replies)
    found[PLANNER].append(_group(group(PLANNER)))
    for name in specialties:
        found[f"{_WORKER}-{name}"].append(_group(group(f"{_WORKER}-{name}")))
    found[MONITOR] += _monitor(wanted, specialties, group)
    if replay:  # wherever a record can be given up; it is looked there, too, whether it was sent again before
        givers = {AGGREGATOR, PLANNER, _WORKER}
        origins = [n for n, s in wanted.items() if givers & (set(s.consumers) - set(s.groupless))]
        found[MONITOR] += [Acl(resource="topic", name=n, operations=("Read", "Write")) for n in origins]
    found[CLIENT] += [Acl(resource="topic", name=n, pattern=p, operations=("Read",)) for n, p in replies]
    # The command line looks whether the joined topics stand as the join needs them before it asks.
    found[CLIENT] += [Acl(resource="topic", name=n, operations=("Describe",)) for n, s in wanted.items() if s.joined]
    # Broker settings, for the replication factor of new topics.
    found[TOPICS_JOB] = [Acl(resource="cluster", name="kafka-cluster", operations=("DescribeConfigs",))]
    found[TOPICS_JOB] += [
        Acl(resource="topic", name=n, operations=("AlterConfigs", "Alter", "Create")) for n in sorted(wanted)
    ]
    return {name: _merged(rights) for name, rights in found.items()}


def _flow(topics: Topics, wanted: Mapping[str, TopicSpec], service: str) -> list[Acl]:
    """What the declared flow of records asks for."""
    role = _WORKER if service.startswith(f"{_WORKER}-") else service
    rights = []
    for name, spec in wanted.items():
        own = spec is not topics.specs[PER_SPECIALTY] or service == f"{_WORKER}-{topics.plain(name)[len('tasks-') :]}"
        if role in spec.consumers and own:
            rights.append(Acl(resource="topic", name=name, operations=("Read",)))
        if role in spec.producers:
            rights.append(Acl(resource="topic", name=name, operations=("Write",)))
    return rights


def _aggregator(
    wanted: Mapping[str, TopicSpec], group: Callable[[str], str], replies: Iterable[tuple[str, Pattern]]
) -> list[Acl]:
    own = group(AGGREGATOR)
    mine = [n for n, s in wanted.items() if AGGREGATOR in s.producers or AGGREGATOR in s.consumers]
    # A record in the wrong partition of an input is written again, to the right one.
    inputs = [n for n, s in wanted.items() if s.joined and AGGREGATOR in set(s.consumers) - set(s.groupless)]
    everything = ("Create", "DescribeConfigs", "Read", "Write")
    return [
        # At its start it waits until every topic of the installation stands.
        *(Acl(resource="topic", name=n, operations=("Describe",)) for n in wanted),
        *(Acl(resource="topic", name=n, operations=("DescribeConfigs",)) for n in mine),
        *(Acl(resource="topic", name=n, operations=("Write",)) for n in inputs),
        *(Acl(resource="topic", name=n, pattern=p, operations=("DescribeConfigs", "Write")) for n, p in replies),
        # Quix Streams keeps the tables here; it makes these topics itself.
        Acl(resource="topic", name=f"changelog__{own}--", pattern="prefixed", operations=everything),
        _group(own),
        *(_group(group(name), "Describe") for name in _BESIDE),
        # One id for each instance: the name of the pod.
        Acl(resource="transactional-id", name=f"{own}-", pattern="prefixed", operations=("Describe", "Write")),
    ]


def _monitor(wanted: Mapping[str, TopicSpec], specialties: Iterable[str], group: Callable[[str], str]) -> list[Acl]:
    own = group(MONITOR)
    watched = [
        n
        for n, s in wanted.items()
        if s.partitions == "tasks" or (s.joined and AGGREGATOR in set(s.consumers) - set(s.groupless))
    ]
    others = [group(AGGREGATOR), group(PLANNER), *(group(f"{_WORKER}-{s}") for s in specialties)]
    return [
        _group(own),
        # To tell how far behind the others are: their committed offsets, the ends of what they read, and, for its age,
        # the first record that each has still to read.
        *(_group(name, "Describe") for name in others),
        *(Acl(resource="topic", name=n, operations=("Read",)) for n in watched),
        # Faust's tables; the monitor makes these topics itself.
        Acl(resource="topic", name=f"{own}-", pattern="prefixed", operations=("Create", "Read", "Write")),
    ]


def _group(name: str, operation: str = "Read") -> Acl:
    return Acl(resource="group", name=name, operations=(operation,))


def _reply(pattern: str) -> tuple[str, Pattern]:
    """A file-name pattern as Kafka can say it: what stands before the first wildcard."""
    fixed = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    if fixed == pattern:
        return fixed, "literal"
    return (fixed, "prefixed") if fixed else ("*", "literal")


def _merged(rights: Iterable[Acl]) -> list[Acl]:
    """One entry for each resource, without what another operation includes."""
    found: dict[tuple[Resource, str, Pattern], set[str]] = {}
    for right in rights:
        found.setdefault((right.resource, right.name, right.pattern), set()).update(right.operations)
    merged = []
    for (resource, name, pattern), operations in sorted(found.items()):
        kept = operations - ({"Describe"} if resource == "topic" and operations & {"Read", "Write", "Alter"} else set())
        merged.append(Acl(resource=resource, name=name, pattern=pattern, operations=tuple(sorted(kept))))
    return merged


def commands(principal: str, rights: Iterable[Acl], *, bootstrap: str, command_config: str | None = None) -> list[str]:
    """The rights of one principal as `kafka-acls.sh` commands; running them again changes nothing."""
    together: dict[tuple[Resource, Pattern, tuple[str, ...]], list[str]] = {}
    for right in rights:
        together.setdefault((right.resource, right.pattern, right.operations), []).append(right.name)
    lines = []
    for (resource, pattern, operations), names in together.items():
        words = ["kafka-acls.sh", "--bootstrap-server", bootstrap]
        words += ["--command-config", command_config] if command_config else []
        words += ["--add", "--allow-principal", principal]
        words += [w for o in operations for w in ("--operation", o)]
        words += ["--cluster"] if resource == "cluster" else [w for n in names for w in (f"--{resource}", n)]
        words += ["--resource-pattern-type", pattern] if pattern == "prefixed" else []
        lines.append(shlex.join(words))
    return lines
