"""Tokens for SASL/OAUTHBEARER, by OAuth 2.0's client credentials: for aiokafka, since librdkafka asks by itself."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings

_TIMEOUT_S = 10.0
_NO = (400, 401, 403)
_MARGIN = 0.2
"""The part of a token's life in which a new one is asked for."""


class TokenError(OSError):
    """The token endpoint gives no token; the message says who must act. An OSError: clients try again."""


class TokenRefusedError(TokenError):
    """The endpoint has said no to this client: asking again will not help."""


class Tokens:
    """The tokens of one client id. Asking blocks; from several threads at once only one asks the endpoint.

    `now` gives milliseconds since the epoch.
    """

    def __init__(self, settings: Settings, now: Callable[[], int] = now_ms) -> None:
        self._url = settings.sasl_token_url or ""
        self._client = settings.sasl_username or ""
        self._secret = settings.sasl_password.get_secret_value() if settings.sasl_password else ""
        self._scope = settings.sasl_scope
        self._cafile = settings.ssl_cafile
        self._now = now
        self._lock = threading.Lock()
        self._token, self._renew_at, self._ends_at = "", 0.0, 0.0

    def token(self) -> tuple[str, float]:
        """A token and when it ends (seconds since the epoch). Raises TokenError."""
        with self._lock:
            if self._now() / 1000 >= self._renew_at:
                self._token, lives = self._ask()
                self._ends_at = self._now() / 1000 + lives
                self._renew_at = self._ends_at - _MARGIN * lives
            return self._token, self._ends_at

    def _ask(self) -> tuple[str, float]:
        try:
            with urllib.request.urlopen(self._request(), timeout=_TIMEOUT_S, context=self._context()) as response:  # noqa: S310
                said = json.load(response)
            return str(said["access_token"]), float(said.get("expires_in", 300))
        except urllib.error.HTTPError as e:
            with e:
                detail = e.read(300).decode(errors="replace")
            kind = TokenRefusedError if e.code in _NO else TokenError
            raise kind(
                f"{self._url} refuses client {self._client!r} a token ({e.code}: {detail}). Correct "
                "HOCKET_SASL_USERNAME, HOCKET_SASL_PASSWORD (client id and secret) or HOCKET_SASL_SCOPE"
            ) from e
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise TokenError(f"no token from {self._url} (HOCKET_SASL_TOKEN_URL): {e!r}") from e

    def _request(self) -> urllib.request.Request:
        form = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        login = ":".join(urllib.parse.quote(part, safe="") for part in (self._client, self._secret))
        headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}", "Accept": "application/json"}
        return urllib.request.Request(self._url, urllib.parse.urlencode(form).encode(), headers)  # noqa: S310

    def _context(self) -> ssl.SSLContext | None:
        """An issuer is often a public one while the brokers' CA is private: the system's CAs count here, too."""
        if not self._url.startswith("https:"):
            return None
        context = ssl.create_default_context()
        if self._cafile is not None:
            context.load_verify_locations(self._cafile)
        return context


def provider(tokens: Tokens) -> Any:
    """The same tokens for aiokafka, which wants an object of its own class."""
    import asyncio

    from aiokafka.abc import AbstractTokenProvider

    class Provider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
        async def token(self) -> str:
            return (await asyncio.to_thread(tokens.token))[0]

    return Provider()
