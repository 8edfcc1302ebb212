"""Client options for both Kafka clients (aiokafka, librdkafka), from one set of settings."""

from __future__ import annotations

import ssl
from typing import Any

from pydantic import SecretStr

from hocket.contracts.codec import Codec
from hocket.contracts.topics import Topics
from hocket.kafka.oauth import Tokens, provider
from hocket.runtime.settings import Settings

MAX_RECORD_BYTES = 900 * 1024
"""No record larger than this is produced: it stays clear of the broker's default limit of 1 MB."""


def partition_of(key: bytes, partitions: int) -> int:
    """Where the Java client's default partitioner puts a key (murmur2, sign bit masked)."""
    from aiokafka.partitioner import murmur2

    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def topics_of(settings: Settings) -> Topics:
    """The topic names of this installation."""
    return Topics(settings.prefix)


def codec_of(settings: Settings) -> Codec:
    """The codec of this installation: with the schema registry when one is set, without any network otherwise."""
    if not settings.registry_url:
        return Codec()
    from hocket.contracts.registry import ConfluentRegistry  # needs the registry extra

    secret = settings.registry_basic_auth
    return Codec(
        ConfluentRegistry(
            settings.registry_url,
            basic_auth=secret.get_secret_value() if secret else None,
            auto_register=settings.registry_auto_register,
        )
    )


def aiokafka_options(settings: Settings) -> dict[str, Any]:
    """Connection options that aiokafka's consumer, producer and admin client share."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "security_protocol": settings.security_protocol,
    }
    if "SSL" in settings.security_protocol:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
        if settings.ssl_certfile:
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile, _secret(settings.ssl_key_password))
        options["ssl_context"] = context
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        if settings.sasl_mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = provider(Tokens(settings))
        else:
            options["sasl_plain_username"] = settings.sasl_username
            options["sasl_plain_password"] = _secret(settings.sasl_password)
    return options


def librdkafka_options(settings: Settings) -> dict[str, Any]:
    """The same connection as librdkafka properties, `bootstrap.servers` included."""
    options: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap,
        "security.protocol": settings.security_protocol.lower(),
    }
    if settings.ssl_cafile:
        options["ssl.ca.location"] = str(settings.ssl_cafile)
    if settings.ssl_certfile:
        options["ssl.certificate.location"] = str(settings.ssl_certfile)
        options["ssl.key.location"] = str(settings.ssl_keyfile)
    if settings.ssl_key_password:
        options["ssl.key.password"] = _secret(settings.ssl_key_password)
    if settings.security_protocol.startswith("SASL"):
        options["sasl.mechanism"] = settings.sasl_mechanism
        if settings.sasl_mechanism == "OAUTHBEARER":
            options |= _oidc(settings)
        else:
            options["sasl.username"] = settings.sasl_username
            options["sasl.password"] = _secret(settings.sasl_password)
    return options


def _oidc(settings: Settings) -> dict[str, Any]:
    """librdkafka asks for tokens itself, in a thread of its own: a callback of ours is served only while the client is
    polled, and a transactional producer must log in before that."""
    options: dict[str, Any] = {
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.client.id": settings.sasl_username,
        "sasl.oauthbearer.client.secret": _secret(settings.sasl_password),
        "sasl.oauthbearer.token.endpoint.url": settings.sasl_token_url,
    }
    if settings.sasl_scope:
        options["sasl.oauthbearer.scope"] = settings.sasl_scope
    if settings.ssl_cafile:
        options["https.ca.location"] = str(settings.ssl_cafile)
    return options


def _secret(given: SecretStr | None) -> str | None:
    return given.get_secret_value() if given else None
