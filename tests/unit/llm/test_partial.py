"""llm/partial.py: the readable field of an object, however it is cut into pieces."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from hocket.llm.partial import PartialField

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(), st.dictionaries(st.text(max_size=5), JSON, max_size=3), st.data(), st.booleans())
def test_in_whatever_pieces_the_text_comes_out_whole(
    wanted: str, others: dict[str, object], data: st.DataObject, ascii_: bool
) -> None:
    wanted = wanted.encode("utf-8", "ignore").decode()
    whole = json.dumps({"a": 1} | others | {"text": wanted} | {"z": {"text": "inner"}}, ensure_ascii=ascii_)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    partial = PartialField("text")
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert "".join(partial.feed(p) for p in pieces) == wanted


def test_text_comes_as_soon_as_it_is_written() -> None:
    partial = PartialField("text")
    assert [partial.feed(p) for p in ('```json\n{"te', 'xt": "Hel', "lo\\", 'n you"', ', "text": "twice"}')] == [
        "",
        "Hel",
        "lo",
        "\n you",
        "",
    ]


@given(st.text())
def test_what_is_no_json_is_no_error(text: str) -> None:
    assert isinstance(PartialField("text").feed(text), str)
