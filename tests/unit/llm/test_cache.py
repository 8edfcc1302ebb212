"""llm/cache.py: the same input under the same prompt, bounded, and only for a while."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hocket.core.work import Document, Input, Work
from hocket.llm.cache import Cached, ResultCache, key_of

WORK = Work(task_id="t1", specialty="s", instruction="Do it.", text="x", constants={"a": "b"})


def cached(text: str = "x", until: int = 100) -> Cached:
    return Cached(engine="p/m", output={"text": text}, until_ms=until)


def test_an_entry_counts_until_its_end() -> None:
    cache = ResultCache()
    cache.put("k", cached())
    assert cache.get("k", 99) == cached()
    assert cache.get("k", 100) is None
    assert cache.get("other", 0) is None


def test_it_is_bounded_in_number_and_bytes_and_the_least_used_goes() -> None:
    cache = ResultCache(max_entries=2)
    cache.put("a", cached())
    cache.put("b", cached())
    cache.get("a", 0)
    cache.put("c", cached())
    assert [k for k in "abc" if cache.get(k, 0)] == ["a", "c"]
    small = ResultCache(max_bytes=100)
    small.put("a", cached("y" * 60))
    small.put("b", cached("y" * 60))
    assert [k for k in "ab" if small.get(k, 0)] == ["b"]


def test_a_folder_outlives_the_process_and_damage_is_a_miss(tmp_path: Path) -> None:
    ResultCache(folder=tmp_path / "new").put("k", cached())
    assert ResultCache(folder=tmp_path / "new").get("k", 0) == cached()
    for text in ("{", "[]", '{"engine": 1, "output": {}, "until_ms": 9}', "null"):
        (tmp_path / "new" / "k.json").write_text(text)
        assert ResultCache(folder=tmp_path / "new").get("k", 0) is None


def test_a_folder_is_bounded_too(tmp_path: Path) -> None:
    cache = ResultCache(folder=tmp_path, max_entries=3)
    for n in range(201):
        cache.put(f"k{n}", cached())
    assert len(list(tmp_path.glob("*.json"))) == 3


@pytest.mark.parametrize(
    "other",
    [
        {"text": "y"},
        {"instruction": "Do that."},
        {"constants": {"a": "c"}},
        {"options": {"n": 1}},
        {"documents": (Document(name="d", media_type="text/plain", data=b"1"),)},
        {"inputs": (Input(task_id="i", specialty="s", output={"n": 1}),)},
    ],
)
def test_the_key_covers_all_that_an_engine_is_handed(other: dict[str, Any]) -> None:
    assert key_of("v", "fast", replace(WORK, **other)) != key_of("v", "fast", WORK)


def test_the_key_covers_prompt_version_and_strategy_and_not_the_tasks_id() -> None:
    assert key_of("v2", "fast", WORK) != key_of("v", "fast", WORK) != key_of("v", "best", WORK)
    assert key_of("v", "fast", replace(WORK, task_id="t2")) == key_of("v", "fast", WORK)
