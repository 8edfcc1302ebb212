"""Settings of topics set right on a real broker, and only where nothing is lost."""

from typing import Any

import pytest

from hocket.kafka.admin import TopicsError, apply_topics, check_joined
from hocket.runtime.settings import Settings
from tests.kafka.test_admin import configs_of, create

pytestmark = pytest.mark.kafka


async def test_settings_that_differ_are_set_on_demand_and_others_stay(broker: Any, settings: Settings) -> None:
    await create(settings, "timers", 4, segment_bytes="1048576")  # as a broker makes topics by itself: not compacted
    await create(settings, "requests", 4, retention_ms="-1")
    reported = {c.topic: c.action for c in await apply_topics(settings, [], alter_configs=False)}
    assert reported[settings.prefix + "timers"] == "differs"

    changes = [c for c in await apply_topics(settings, [], alter_configs=True) if c.action in ("set", "differs")]
    set_now = {(c.topic.removeprefix(settings.prefix), c.action) for c in changes}
    assert set_now == {("timers", "set"), ("requests", "differs")}
    timers = await configs_of(settings, settings.prefix + "timers")
    assert (timers["cleanup.policy"], timers["segment.ms"]) == ("compact", "3600000")
    assert timers["segment.bytes"] == "1048576", "what is not declared stays as its owner set it"
    assert (await configs_of(settings, settings.prefix + "requests"))["retention.ms"] == "-1"

    left = await apply_topics(settings, [], alter_configs=True)
    assert [(c.topic, c.action) for c in left] == [(settings.prefix + "requests", "differs")]


async def test_another_count_is_had_under_another_prefix_as_upgrading_says(broker: Any, settings: Settings) -> None:
    await apply_topics(settings, ["extraction"])
    wider = settings.model_copy(update={"partitions": 6})
    with pytest.raises(TopicsError, match=r"HOCKET_PARTITIONS=4.*UPGRADING\.md"):
        await apply_topics(wider, ["extraction"])
    second = wider.model_copy(update={"prefix": f"v2-{settings.prefix}"})
    assert {c.action for c in await apply_topics(second, ["extraction"])} == {"created"}
    assert (await check_joined(settings), await check_joined(second)) == (4, 6)
