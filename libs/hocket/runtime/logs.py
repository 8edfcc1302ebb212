"""Logging: structlog, JSON in containers and readable in a terminal, always on stderr."""

from __future__ import annotations

import logging
import sys
from time import monotonic
from typing import Any

import structlog

from hocket.runtime.redaction import mask_event
from hocket.runtime.settings import Settings


class Seldom(logging.Filter):
    """Lets each message of a chatty library through once in `seconds`: a broker that is away fills no disk."""

    def __init__(self, seconds: float = 5.0, most: int = 500) -> None:
        super().__init__()
        self._seconds, self._most = seconds, most
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written. Messages are told apart by their template, before its values."""
        key, now = (record.name, str(record.msg)), monotonic()
        if now - self._said.get(key, -self._seconds) < self._seconds:
            return False
        if len(self._said) >= self._most:
            self._said.clear()
        self._said[key] = now
        return True


CHATTY = ("aiokafka", "httpx", "httpx2", "faust", "mode", "asyncio", "opentelemetry")


def setup_logs(settings: Settings, **bound: Any) -> None:
    """Configures structlog and the standard library's loggers; `bound` stands in every line (service, worker)."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask_event,
    ]
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.log_level)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    seldom = Seldom()
    handler.addFilter(lambda record: not record.name.startswith(CHATTY) or seldom.filter(record))
    structlog.contextvars.bind_contextvars(**bound)
