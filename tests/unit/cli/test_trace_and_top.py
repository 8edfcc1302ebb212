import asyncio
import io
import json

import pytest
from rich.console import Console

from hocket.cli import top, trace
from hocket.cli.base import CliError
from hocket.cli.lag import age
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from services.monitor.board import Board
from services.monitor.views import request_view
from tests.support.board_parts import planned, progress
from tests.support.busy_board import busy_board


def printed(what):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(what)
    return console.export_text()


async def test_trace_prints_a_tree_with_times_cost_and_the_way_that_took_longest():
    async with busy_board(Settings()) as made:
        made.answer("r", at=now_ms(), cost=0.004)
        found = request_view(made.board.answered["r"])
    lines = printed(trace._tree(found)).splitlines()
    assert "r  completed  4.2 s  $0.0040  3 model calls  plan by workflow (complaint-triage)" in lines[0]
    assert "completed  read" in lines[1]
    facts = next(line for line in lines if " facts " in line)
    assert "+1.2 s, 1.7 s" in facts
    assert "$0.0020" in facts
    assert "critical path" in facts
    assert "━" in facts
    assert next(line for line in lines if " answer " in line).index("answer") > facts.index("facts")


def test_trace_of_a_request_under_way_shows_what_runs():
    board = Board()
    board.progress(planned("r", at=1_000))
    board.progress(progress("r", "read", "assigned", at=2_000, worker="w\x1b[31m"))
    text = printed(trace._tree(request_view(board.open["r"])))
    assert "in progress" in text
    assert "assigned   read  extraction" in text
    assert "\x1b" not in text


async def test_top_shows_what_the_monitor_serves_and_asks_for_its_token(capsys):
    settings = Settings(monitor_token="s3cret")
    async with busy_board(settings) as made:
        made.fill()
        await asyncio.to_thread(top.run_top, settings, monitor=made.address, once=True, output=top.Output.text)
        text = capsys.readouterr().out
        await asyncio.to_thread(top.run_top, settings, monitor=made.address, once=True, output=top.Output.json)
        document = json.loads(capsys.readouterr().out)
        with pytest.raises(CliError, match="HOCKET_MONITOR_TOKEN"):
            await asyncio.to_thread(top.fetch, made.address, Settings())
    assert "30 in progress" in text
    assert "worker-research" in text
    assert document["summary"]["open"] == 30
    with pytest.raises(CliError, match="does not answer"):
        top.fetch(made.address, settings)


def test_top_says_how_to_name_the_monitor():
    with pytest.raises(CliError, match="--monitor"):
        top.address(None)
    assert top.address("http://h:1/") == "http://h:1"


@pytest.mark.parametrize(
    ("millis", "text"),
    [(None, "-"), (0, "0s"), (1_500, "1.5s"), (30_000, "30s"), (600_000, "10m"), (7_200_000, "2.0h")],
)
def test_ages_are_short(millis, text):
    assert age(millis) == text
