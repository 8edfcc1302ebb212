"""What an error at connecting becomes: a sentence that says who must act, and whether trying again makes sense."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from aiokafka import errors

from hocket.kafka.login import closed
from hocket.kafka.oauth import TokenError, TokenRefusedError
from hocket.runtime.settings import Settings

HERE = "kafka:9093"


def settings(protocol: str = "SASL_SSL", **changes: Any) -> Settings:
    login = {"sasl_username": "hocket-planner", "sasl_password": "a word"} if protocol.startswith("SASL") else {}
    return Settings(**({"security_protocol": protocol} | login | changes))


def distrust(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, f"certificate verify failed: {message}")
    error.verify_code, error.verify_message = code, message
    return error


def tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason.lower())
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "who", "final"),
    [
        (errors.SaslAuthenticationFailed("invalid credentials"), "HOCKET_SASL_PASSWORD", True),
        (errors.UnsupportedSaslMechanismError("no"), "HOCKET_SASL_MECHANISM", True),
        (distrust(19, "self-signed certificate in certificate chain"), "HOCKET_SSL_CAFILE", True),
        (distrust(62, "Hostname mismatch"), "HOCKET_BOOTSTRAP", True),
        (tls("WRONG_VERSION_NUMBER"), "HOCKET_SECURITY_PROTOCOL", False),
        (tls("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "HOCKET_SSL_CERTFILE", False),
        (errors.KafkaConnectionError("Connection at kafka:9093 closed"), "HOCKET_SECURITY_PROTOCOL", False),
        (ConnectionResetError(), "operator", False),
        (TokenRefusedError("https://login/token refuses client 'a' a token"), "login/token", True),
        (TokenError("no token from https://login/token"), "login/token", False),
    ],
)
def test_a_closed_door_names_who_must_act(error: Exception, who: str, final: bool) -> None:
    found = closed(error, settings(), HERE)
    assert found is not None
    assert who in found.sentence
    assert "a word" not in found.sentence
    assert found.final is final


@pytest.mark.parametrize("error", [ConnectionRefusedError(), TimeoutError(), OSError("no route to host")])
def test_nobody_there_is_no_closed_door(error: Exception) -> None:
    assert closed(error, settings(), HERE) is None


def test_a_plain_client_is_told_that_the_port_may_want_more() -> None:
    found = closed(errors.KafkaConnectionError("closed"), settings("PLAINTEXT"), HERE)
    assert found is not None
    assert "SASL_SSL" in found.sentence
    without = closed(errors.KafkaConnectionError("closed"), settings("SSL"), HERE)
    assert without is not None
    assert "HOCKET_SSL_CERTFILE" in without.sentence
