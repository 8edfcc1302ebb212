"""Dead letters sent again from the page, byte for byte like `hocket dlq replay`, where HOCKET_MONITOR_REPLAY allows it.

The guard has asked for the token before. A browser sends the header HEADER only from a script of this very page, so no
other site can make a visitor's browser replay anything.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from aiohttp import web

from hocket.kafka.admin import KafkaUnreachable
from hocket.kafka.letters import LetterError, open_desk, place_of, unchanged
from hocket.runtime.settings import Settings
from services.monitor.board import Board

HEADER = "X-Hocket-Replay"
WITHIN_S = 20.0
_CONNECT_S = 5.0
_UNSURE = "whether it was sent, the next try will tell before it sends anything"
_STATUS = {"usage": 400, "not_found": 404, "undecodable": 422, "no_value": 422, "topics": 422}

log = structlog.get_logger(__name__)


class Replays:
    """Sends one letter after the other, so that a second click finds what the first one did."""

    def __init__(self, settings: Settings, board: Board) -> None:
        self._settings, self._board = settings, board
        self._turn = asyncio.Lock()

    async def serve(self, request: web.Request) -> web.Response:
        """POST /api/dead-letters/<id>/replay. `?again=1` sends even what was sent before; without, that is a 409."""
        if not self._settings.monitor_replay:
            return _no(403, "this page is read-only: HOCKET_MONITOR_REPLAY and HOCKET_MONITOR_TOKEN switch replay on")
        if HEADER not in request.headers:
            return _no(403, f"the header {HEADER} is missing")
        letter_id, again = request.match_info["id"], request.query.get("again") == "1"
        from aiokafka.errors import KafkaError

        try:
            place_of(letter_id)
            async with asyncio.timeout(WITHIN_S), self._turn:
                return await self._replay(letter_id, again=again)
        except LetterError as e:
            return _no(_STATUS[e.kind], str(e))
        except (KafkaError, KafkaUnreachable, OSError) as e:
            return _failed(e)

    async def _replay(self, letter_id: str, *, again: bool) -> web.Response:
        async with open_desk(self._settings, wait_seconds=_CONNECT_S) as desk:
            letter = await desk.one(letter_id)
            desk.must_have_origin(letter)
            ready = unchanged(letter)
            if not again and (before := await desk.replayed(letter)) is not None:
                return _no(409, f"{letter_id} {before}", again=True)
            [sent] = await desk.write([ready])
        where = f"{sent['topic']}/{sent['partition']} at {sent['offset']}"
        self._board.sent_again(letter_id, where)
        log.warning("a dead letter was replayed from the page", letter=letter_id, written=where)
        return web.json_response(sent | {"said": f"Sent again, as {where}"})


def _failed(e: Exception) -> web.Response:
    """What to answer when Kafka did not do it; only before it was connected is it sure that nothing was sent."""
    if isinstance(e, KafkaUnreachable):
        return _no(502, str(e))
    if isinstance(e, TimeoutError):
        return _no(504, f"Kafka did not answer in time; {_UNSURE}")
    return _no(502, f"Kafka failed: {str(e) or type(e).__name__}; {_UNSURE}")


def _no(status: int, error: str, **more: Any) -> web.Response:
    return web.json_response({"error": error, **more}, status=status)
