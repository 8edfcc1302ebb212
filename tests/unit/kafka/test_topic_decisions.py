"""What `topics apply` decides, without a broker."""

import pytest

from hocket.contracts.topics import Topics
from hocket.kafka.admin import TopicsError, TopicState, decide, joined_count, topic_configs
from hocket.kafka.topic_configs import differences

TOPICS = Topics("p-")
WANTED = TOPICS.all(["extraction"])


def counts(partitions: int = 4, **other: int) -> dict[str, int]:
    found = {n: s.partitions if isinstance(s.partitions, int) else partitions for n, s in WANTED.items()}
    return found | {f"p-{n.replace('_', '-')}": c for n, c in other.items()}


def standing(**other: int) -> dict[str, TopicState]:
    return {n: TopicState(name=n, partitions=c, replication=1) for n, c in counts(**other).items()}


def test_everything_is_made_where_nothing_is() -> None:
    changes = decide(WANTED, counts(), {})
    assert {c.topic for c in changes} == set(WANTED)
    assert {c.action for c in changes} == {"created"}
    assert {c.topic: c.partitions for c in changes} == counts()


def test_nothing_is_done_twice() -> None:
    assert decide(WANTED, counts(), standing()) == []


def test_task_topics_grow_and_never_shrink() -> None:
    grown = decide(WANTED, counts(tasks_extraction=8), standing())
    assert [(c.topic, c.action, c.partitions) for c in grown] == [("p-tasks-extraction", "grown", 8)]
    assert decide(WANTED, counts(), standing(tasks_extraction=8)) == []


def test_joined_topics_never_change_their_count() -> None:
    with pytest.raises(TopicsError, match="HOCKET_PARTITIONS=4") as refused:
        decide(WANTED, counts(8), standing())
    assert "p-requests has 4" in str(refused.value)


def test_one_uneven_joined_topic_is_named() -> None:
    with pytest.raises(TopicsError, match="p-results has 3"):
        decide(WANTED, counts(), standing(results=3))


def test_a_fixed_count_is_reported_and_left() -> None:
    (change,) = decide(WANTED, counts(), standing(heartbeats=3))
    assert (change.topic, change.action, change.partitions) == ("p-heartbeats", "differs", 3)


def test_the_joined_count_needs_all_joined_topics() -> None:
    found = counts()
    assert joined_count(TOPICS, found) == 4
    with pytest.raises(TopicsError, match="p-plans: 5"):
        joined_count(TOPICS, found | {"p-plans": 5})
    del found["p-plans"]
    with pytest.raises(TopicsError, match=r"missing: p-plans.*hocket topics apply"):
        joined_count(TOPICS, found)


def test_every_topic_is_ordered_by_the_brokers_clock() -> None:
    assert {topic_configs(s)["message.timestamp.type"] for s in WANTED.values()} == {"LogAppendTime"}
    assert topic_configs(WANTED["p-dead-letters"])["max.message.bytes"] == "2097152"
    assert topic_configs(WANTED["p-heartbeats"])["retention.ms"] == "3600000"
    timers = topic_configs(WANTED["p-timers"])
    assert timers["cleanup.policy"] == "compact"
    assert "retention.ms" not in timers


def found(**changed: dict[str, str]) -> dict[str, dict[str, str]]:
    """Settings as the broker tells them: as declared, but for these."""
    stands = {n: topic_configs(s) | {"segment.bytes": "1073741824"} for n, s in WANTED.items()}
    return stands | {f"p-{n.replace('_', '-')}": stands[f"p-{n.replace('_', '-')}"] | c for n, c in changed.items()}


def test_topics_as_declared_do_not_differ() -> None:
    assert differences(WANTED, found()) == []
    swapped = found(handovers={"cleanup.policy": "delete,compact"})
    assert differences(WANTED, swapped) == [], "the order of the policies says nothing"


@pytest.mark.parametrize("topic", ["timers", "account-timers", "handovers"])
def test_a_topic_that_should_be_compacted_and_is_not_may_be_set_right(topic: str) -> None:
    (difference,) = differences(WANTED, found(**{topic.replace("-", "_"): {"cleanup.policy": "delete"}}))
    assert (difference.topic, difference.setting, difference.loses) == (f"p-{topic}", "cleanup.policy", False)
    assert "hocket topics apply --alter-configs" in difference.sentence()


@pytest.mark.parametrize(
    ("topic", "setting", "value", "drops"),
    [
        ("requests", "cleanup.policy", "compact", True),
        ("timers", "cleanup.policy", "compact,delete", False),
        ("handovers", "cleanup.policy", "compact", True),
        ("requests", "retention.ms", "-1", True),
        ("requests", "retention.ms", str(30 * 86_400_000), True),
        ("requests", "retention.ms", "3600000", False),
        ("dead-letters", "max.message.bytes", "1048588", False),
        ("dead-letters", "max.message.bytes", "4194304", True),
        ("plans", "message.timestamp.type", "CreateTime", False),
    ],
)
def test_only_what_drops_no_record_is_set(topic: str, setting: str, value: str, drops: bool) -> None:
    (difference,) = differences(WANTED, found(**{topic.replace("-", "_"): {setting: value}}))
    assert (difference.setting, difference.found, difference.loses) == (setting, value, drops)
    assert f"--entity-name p-{topic} --add-config {setting}=" in difference.sentence()
    assert ("drops records" in difference.sentence()) == drops


def test_a_list_of_policies_is_quoted_as_kafkas_tool_wants_it() -> None:
    (difference,) = differences(WANTED, found(handovers={"cleanup.policy": "delete"}))
    assert "--add-config cleanup.policy=[compact,delete]" in difference.sentence()


def test_a_setting_that_the_broker_hides_is_no_difference() -> None:
    assert differences(WANTED, {}) == []
