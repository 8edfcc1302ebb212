"""Where payloads may be: whether a URI stands below an allowed prefix, and the file system that reads it.

Clients write URIs, so they are judged by the path that will really be opened: decoded once, `..` resolved, no chained
fsspec URLs (`a::b`), and no HTTP redirects, which would lead out of the allowed place.
"""

from __future__ import annotations

import contextlib
import importlib
import posixpath
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec


class RedirectedError(OSError):
    """The server answered with a redirect, which is not followed."""

    status = 302


def _place(uri: str) -> tuple[str, str, str]:
    parts = urlsplit(uri)
    return parts.scheme, parts.netloc, posixpath.normpath(unquote(parts.path)) if parts.path else "/"


def allowed(uri: str, prefixes: Iterable[str]) -> bool:
    """Whether the URI stands at or below one of the prefixes; `..` and encoded tricks do not get out of them."""
    try:
        scheme, netloc, path = _place(uri)
        parts = urlsplit(uri)
    except ValueError:
        return False
    if parts.query or parts.fragment or not uri.isprintable() or any(x in path for x in ("\\", "%", "::")):
        return False
    for prefix in prefixes:
        its_scheme, its_netloc, base = _place(prefix)
        inside = path == base or path.startswith(base.rstrip("/") + "/")
        if (scheme, netloc) == (its_scheme, its_netloc) and inside:
            return True
    return False


def locate(uri: str) -> tuple[Any, str]:
    """The fsspec file system and the path in it. Raises ImportError or ValueError: scheme not installed."""
    scheme, _, path = _place(uri)
    if scheme == "file":
        return fsspec.filesystem("file"), path
    if scheme in ("http", "https"):
        return fsspec.filesystem(scheme, get_client=_http_client), uri
    return fsspec.core.url_to_fs(uri)  # type: ignore[no-any-return]


async def _http_client(**options: Any) -> Any:
    import aiohttp

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse)
    return aiohttp.ClientSession(trace_configs=[trace], **options)


async def _refuse(_session: Any, _context: Any, params: Any) -> None:
    raise RedirectedError(f"it redirects to {params.response.headers.get('Location')}, which is not followed")


def read(uri: str, limit: int) -> bytes:
    """At most `limit` bytes from the URI. Raises FileNotFoundError, or one of `unreadable()`."""
    fs, path = locate(uri)
    try:
        with fs.open(path, "rb") as f:
            data: bytes = f.read(limit)
    except FileNotFoundError as e:
        # fsspec calls every failed HTTP request "not found" and keeps what really happened as the cause.
        cause = e.__cause__
        if uri.startswith("http") and cause is not None and getattr(cause, "status", 404) != 404:
            raise OSError(str(cause)) from e
        raise
    return data


def unreadable() -> tuple[type[Exception], ...]:
    """What a file system raises when it cannot read or write; HTTP's and S3's clients have error roots of their own."""
    found: tuple[type[Exception], ...] = (OSError, ValueError, ImportError)
    for module, name in (("aiohttp", "ClientError"), ("botocore.exceptions", "BotoCoreError")):
        with contextlib.suppress(ImportError):
            found += (getattr(importlib.import_module(module), name),)
    return found
