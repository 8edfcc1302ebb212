"""Keys that must never be shown: taken out of error texts and log lines, the known ones and all that look like one."""

from __future__ import annotations

import re
from collections.abc import Collection, MutableMapping
from typing import Any

_LEAST = 6
"""Shorter secrets are words too, such as `test`; replacing them would make messages unreadable."""
_SECRETS = re.compile(
    r"\b(?:sk|rk|pk|key|xai|gsk|AIza)[-_][A-Za-z0-9_\-*.]{6,}|(?<=Bearer )\S+|(?<=api_key=)[^\s&\"']+", re.ASCII
)
_known: set[str] = set()


def know(secret: str) -> None:
    """From now on this process takes the secret out of whatever it logs."""
    if len(secret) >= _LEAST:
        _known.add(secret)


def masked(text: str, secrets: Collection[str] = ()) -> str:
    """The text with *** where a secret stood."""
    for secret in sorted({*secrets, *_known}, key=len, reverse=True):
        if len(secret) >= _LEAST:
            text = text.replace(secret, "***")
    return _SECRETS.sub("***", text)


def mask_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: masks every value of a line, tracebacks included."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = masked(value)
        elif not name.startswith("_") and not isinstance(value, int | float | bool | None):
            shown = str(value)
            cleaned = masked(shown)
            if cleaned != shown:
                event[name] = cleaned
    return event
