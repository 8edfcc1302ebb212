"""Logging: structlog, JSON in containers and readable in a terminal, always on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar
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


Fields = Mapping[str, object]
_about: ContextVar[Callable[[], Fields] | None] = ContextVar("hocket_about", default=None)


class _Shown:
    content = False
    tasks = True


class about:  # noqa: N801 - used like a function; as a generator it would take three times as long, for every task
    """What stands in every line that is logged meanwhile, by whatever library. Asked only when there is a line."""

    __slots__ = ("_fields", "_token")

    def __init__(self, fields: Callable[[], Fields]) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        self._token = _about.set(self._fields)

    def __exit__(self, *_: object) -> None:
        _about.reset(self._token)


def content() -> bool:
    """Whether texts of requests, prompts and outputs may be logged: HOCKET_LOG_CONTENT."""
    return _Shown.content


def tasks() -> bool:
    """Whether each task's end is a line: HOCKET_LOG_TASKS, else whether lines are JSON; a terminal would be flooded."""
    return _Shown.tasks


def add_about(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: adds what the line is about; what the line says itself comes first."""
    fields = _about.get()
    for name, value in (fields() if fields is not None else {}).items():
        event.setdefault(name, value)
    return event


def setup_logs(settings: Settings, **bound: Any) -> None:
    """Configures structlog and the standard library's loggers; `bound` stands in every line (service, worker)."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    _Shown.content = settings.log_content
    _Shown.tasks = as_json if settings.log_tasks is None else settings.log_tasks
    shared: list[Any] = [
        structlog.stdlib.ExtraAdder(),
        add_about,
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
