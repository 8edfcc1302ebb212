"""Why a broker lets nobody in. aiokafka's clients keep that to themselves: to them every address that failed is one
from which nobody answered. Here one connection is made by hand, and its error becomes a sentence about who must act.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hocket.kafka.client import aiokafka_options
from hocket.kafka.oauth import TokenError, TokenRefusedError
from hocket.runtime.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_LOOK_S = 5.0
_HOST_MISMATCH = 62  # X509_V_ERR_HOSTNAME_MISMATCH; 64 is the same of an address
_IP_MISMATCH = 64


@dataclass(frozen=True)
class Closed:
    """What one look found: a sentence, and whether trying again could change it."""

    sentence: str
    final: bool


def closed(error: BaseException, settings: Settings, address: str) -> Closed | None:
    """What an error at connecting says. None when it says only that nobody answers there. Pure."""
    kind = type(error).__name__  # by name: aiokafka takes a moment to import
    user = settings.sasl_username or "anonymous"
    if kind in ("SaslAuthenticationFailed", "AuthenticationFailedError"):
        return Closed(
            f"Kafka at {address} refuses the login of {user!r} by {settings.sasl_mechanism} ({_words(error)}). Correct "
            "HOCKET_SASL_USERNAME and HOCKET_SASL_PASSWORD, or let its operator give that user this password",
            final=True,
        )
    if kind in ("UnsupportedSaslMechanismError", "IllegalSaslStateError", "AuthenticationMethodNotSupported"):
        return Closed(
            f"Kafka at {address} has no login by {settings.sasl_mechanism} on this port. Set HOCKET_SASL_MECHANISM to "
            "one that it has, or HOCKET_BOOTSTRAP to the port of that login; its operator knows which",
            final=True,
        )
    if isinstance(error, TokenError):
        return Closed(str(error), final=isinstance(error, TokenRefusedError))
    if isinstance(error, ssl.SSLError):
        return _tls(error, address)
    if kind == "KafkaConnectionError" or isinstance(error, ConnectionResetError):
        return _hung_up(settings, address)
    return None


def _words(error: BaseException) -> str:
    return str(error).strip() or type(error).__name__


def _tls(error: ssl.SSLError, address: str) -> Closed:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in (_HOST_MISMATCH, _IP_MISMATCH):
            mend = (
                "Name the broker in HOCKET_BOOTSTRAP as its certificate does; the names that it advertises count, too, "
                "so its operator must have each of them in the certificate"
            )
        else:
            mend = "Set HOCKET_SSL_CAFILE to the certificate of the CA that signed it; its operator has that file"
        what = f"the certificate of Kafka at {address} is not accepted here ({error.verify_message})"
        return Closed(f"{what}. {mend}", final=True)
    reason = (error.reason or _words(error)).lower()
    what = f"no TLS with Kafka at {address} ({reason.replace('_', ' ')})"
    if "certificate" in reason or "unknown_ca" in reason or "unknown ca" in reason:
        mend = (
            "It wants a certificate of yours that a CA it knows has signed: set HOCKET_SSL_CERTFILE and "
            "HOCKET_SSL_KEYFILE, or ask its operator for one"
        )
    else:
        mend = (
            "If that port has no TLS, set HOCKET_SECURITY_PROTOCOL to PLAINTEXT or SASL_PLAINTEXT, or use its TLS port"
        )
    return Closed(f"{what}. {mend}", final=False)


def _hung_up(settings: Settings, address: str) -> Closed:
    """The broker ended the connection without a word, which has a few usual causes."""
    protocol = settings.security_protocol
    what = f"Kafka at {address} ends the connection before it says anything (HOCKET_SECURITY_PROTOCOL is {protocol})"
    if protocol == "SSL" and not settings.ssl_certfile:
        mend = "It may want a certificate of yours (HOCKET_SSL_CERTFILE, HOCKET_SSL_KEYFILE), or a login (SASL_SSL)"
    elif "SSL" in protocol:
        mend = "Ask its operator which protocol that port has, and why it refuses this client; its log says so"
    else:
        mend = "That port may want TLS (SSL or SASL_SSL) or a login; its operator knows which"
    return Closed(f"{what}. {mend}", final=False)


async def look(settings: Settings) -> Closed | None:
    """What the first bootstrap address says that says something. None when one of them lets us in, or none answers."""
    from aiokafka.conn import collect_hosts, create_conn
    from aiokafka.errors import KafkaError

    options: Mapping[str, Any] = aiokafka_options(settings)
    found = None
    for host, port, _ in collect_hosts(options["bootstrap_servers"], randomize=False):
        own = {k: v for k, v in options.items() if k != "bootstrap_servers"}
        try:
            async with asyncio.timeout(_LOOK_S):
                connection = await create_conn(host, port, **own)
        except (KafkaError, OSError, TimeoutError) as e:
            found = found or closed(e, settings, f"{host}:{port}")
        else:
            connection.close()
            return None
    return found
