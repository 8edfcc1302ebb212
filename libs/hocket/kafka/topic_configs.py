"""Settings of topics: what a declaration asks for, where a topic on the broker differs, and setting it right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hocket.contracts.topics import TopicSpec
from hocket.kafka.client import librdkafka_options
from hocket.runtime.settings import Settings

COMPACTED = {
    "cleanup.policy": "compact",
    # Whoever starts reads such a topic from its beginning: it is kept close to one record a key, at little cost.
    "segment.ms": "3600000",
    "min.cleanable.dirty.ratio": "0.2",
    "delete.retention.ms": "3600000",
}
"""Settings of a topic of which only the newest record of each key counts."""
_FOR_EVER = -1
_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One setting of one topic that is not as declared. `loses`: setting it right could delete records, or refuse ones
    that are taken now, so only the topic's owner may do it."""

    topic: str
    setting: str
    found: str
    wanted: str
    loses: bool

    def sentence(self) -> str:
        """What it is and how to mend it."""
        value = f"[{self.wanted}]" if "," in self.wanted else self.wanted
        fix = (
            f"kafka-configs.sh --alter --entity-type topics --entity-name {self.topic} "
            f"--add-config {self.setting}={value}"
        )
        if self.loses:
            return f"has {self.setting}={self.found}; setting it to {self.wanted} drops records: if you mean it, {fix}"
        return f"has {self.setting}={self.found}; run `hocket topics apply --alter-configs`, or {fix}"


def topic_configs(spec: TopicSpec) -> dict[str, str]:
    """The topic settings that a declaration asks for, as Kafka names them."""
    # The policy is always said: a broker's default may be another one, and requests must not be compacted.
    configs = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete"}
    if spec.compacted:
        configs |= COMPACTED
    if spec.compacted and spec.expires:
        configs["cleanup.policy"] = "compact,delete"
    if spec.expires:
        configs["retention.ms"] = str(spec.retention_ms)
    if spec.max_message_bytes is not None:
        configs["max.message.bytes"] = str(spec.max_message_bytes)
    return configs


def differences(wanted: Mapping[str, TopicSpec], found: Mapping[str, Mapping[str, str]]) -> list[Difference]:
    """Where topics (full name to settings, as the broker tells them) are not as declared, by topic and setting."""
    return [
        Difference(topic=name, setting=key, found=have[key], wanted=asked, loses=loses(key, have[key], asked))
        for name in sorted(wanted)
        for have in (found.get(name, {}),)
        for key, asked in sorted(topic_configs(wanted[name]).items())
        if key in have and not _same(key, have[key], asked)
    ]


def _same(key: str, one: str, other: str) -> bool:
    return _policies(one) == _policies(other) if key == "cleanup.policy" else one == other


def _policies(value: str) -> set[str]:
    return {part.strip() for part in value.split(",")}


def loses(key: str, found: str, wanted: str) -> bool:
    """Whether changing a setting may delete records that are kept now, or refuse ones that are taken now."""
    if key == "cleanup.policy":
        # Compaction drops what a newer record of its key has replaced: that is what the topic is for.
        return "delete" in _policies(wanted) - _policies(found)
    if key in ("retention.ms", "max.message.bytes"):
        return _limit(wanted) < _limit(found)
    return False


def _limit(value: str) -> float:
    return float("inf") if int(value) == _FOR_EVER else int(value)


def set_configs(settings: Settings, changes: Sequence[Difference]) -> list[str]:
    """Sets these settings, leaving all others of the topics as they are. Returns what Kafka refuses; blocks on it.

    Through librdkafka: aiokafka 0.14 knows only the older call, which resets every setting that is not named.
    """
    if not changes:
        return []
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

    resources: dict[str, list[ConfigEntry]] = {}
    for d in changes:
        entry = ConfigEntry(d.setting, d.wanted, incremental_operation=AlterConfigOpType.SET)
        resources.setdefault(d.topic, []).append(entry)
    asked = [ConfigResource(ResourceType.TOPIC, n, incremental_configs=entries) for n, entries in resources.items()]
    client = AdminClient(librdkafka_options(settings))
    refused = []
    for resource, future in client.incremental_alter_configs(asked, request_timeout=_SECONDS).items():
        try:
            future.result()
        except KafkaException as e:
            refused.append(f"{resource.name}: {e.args[0].str()}")
    return refused
