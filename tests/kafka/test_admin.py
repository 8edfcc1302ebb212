"""Topics on a real broker."""

from typing import Any

import pytest

from hocket.kafka.admin import (
    KafkaUnreachable,
    TopicsError,
    admin,
    apply_topics,
    check_joined,
    list_topics,
    topic_configs,
)
from hocket.kafka.client import topics_of
from hocket.runtime.settings import Settings

pytestmark = pytest.mark.kafka


async def configs_of(settings: Settings, topic: str) -> dict[str, str]:
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    async with admin(settings) as client:
        (response,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {entry[0]: entry[1] for entry in response.resources[0][4]}


async def create(settings: Settings, name: str, partitions: int, **configs: str) -> None:
    from aiokafka.admin import NewTopic

    async with admin(settings) as client:
        topic_config = {k.replace("_", "."): v for k, v in configs.items()}
        await client.create_topics([NewTopic(settings.prefix + name, partitions, 1, topic_configs=topic_config)])


async def test_applying_twice_changes_nothing(broker: Any, settings: Settings) -> None:
    first = await apply_topics(settings, ["extraction"])
    assert {c.topic: c.partitions for c in first if c.action == "created"} == {
        t.name: t.partitions for t in await list_topics(settings)
    }
    assert await apply_topics(settings, ["extraction"]) == []
    assert await check_joined(settings) == 4


async def test_topics_have_their_declared_settings(broker: Any, settings: Settings) -> None:
    await apply_topics(settings, ["extraction"])
    for name, spec in topics_of(settings).all(["extraction"]).items():
        wanted = topic_configs(spec)
        found = await configs_of(settings, name)
        assert {k: found[k] for k in wanted} == wanted


async def test_a_new_specialty_adds_its_topic_and_tasks_may_grow(broker: Any, settings: Settings) -> None:
    await apply_topics(settings, ["extraction"])
    changes = await apply_topics(settings, ["extraction", "translation"], task_partitions=6)
    assert {(c.topic.removeprefix(settings.prefix), c.action, c.partitions) for c in changes} == {
        ("tasks-extraction", "grown", 6),
        ("tasks-planning", "grown", 6),
        ("tasks-translation", "created", 6),
    }
    assert await apply_topics(settings, ["extraction", "translation"]) == [], "nothing shrinks"


async def test_another_joined_count_is_refused_and_nothing_is_made(broker: Any, settings: Settings) -> None:
    await apply_topics(settings, ["extraction"])
    more = settings.model_copy(update={"partitions": 8})
    before = await list_topics(settings)
    with pytest.raises(TopicsError, match="never change"):
        await apply_topics(more, ["extraction", "translation"])
    assert await list_topics(settings) == before


async def test_uneven_joined_topics_are_told(broker: Any, settings: Settings) -> None:
    with pytest.raises(TopicsError, match="missing"):
        await check_joined(settings)
    await create(settings, "requests", 2)
    with pytest.raises(TopicsError, match="requests has 2"):
        await apply_topics(settings, [])


async def test_a_topic_made_by_others_is_reported_not_changed(broker: Any, settings: Settings) -> None:
    await create(settings, "requests", 4, message_timestamp_type="CreateTime")
    differing = [c for c in await apply_topics(settings, []) if c.action == "differs"]
    assert [c.topic for c in differing] == [settings.prefix + "requests"]
    assert "message.timestamp.type=LogAppendTime" in differing[0].detail
    assert (await configs_of(settings, settings.prefix + "requests"))["message.timestamp.type"] == "CreateTime"


async def test_no_broker_is_one_sentence(settings: Settings) -> None:
    with pytest.raises(KafkaUnreachable, match=r"127\.0\.0\.1:1\. .*hocket dev"):
        await check_joined(settings, wait_seconds=0.2)
