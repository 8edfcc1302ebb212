"""An OAuth 2.0 token endpoint and its key set over HTTPS, as an identity provider runs them."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

AUDIENCE = "kafka"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _b64(value.to_bytes((value.bit_length() + 7) // 8))


class Issuer:
    """Gives tokens to the clients it knows (id to secret), `lives` seconds long; counts those it gave."""

    def __init__(self, clients: Mapping[str, str], lives: int = 300) -> None:
        self.clients, self.lives = clients, lives
        self.given: list[str] = []
        self.scopes: set[str] = set()
        self.url = ""
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def token(self, subject: str) -> str:
        now = int(time.time())
        claims = {"sub": subject, "iss": self.url, "aud": AUDIENCE, "iat": now, "exp": now + self.lives}
        parts = [{"alg": "RS256", "typ": "JWT", "kid": "one"}, claims]
        signed = ".".join(_b64(json.dumps(part).encode()) for part in parts)
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_b64(signature)}"

    def keys(self) -> dict[str, object]:
        public = self._key.public_key().public_numbers()
        one = {"kty": "RSA", "kid": "one", "use": "sig", "alg": "RS256", "n": _number(public.n), "e": _number(public.e)}
        return {"keys": [one]}

    def answer(self, login: str, form: Mapping[str, list[str]]) -> tuple[int, dict[str, object]]:
        sent = base64.b64decode(login.removeprefix("Basic ")).decode()
        client, secret = (unquote(part) for part in sent.partition(":")[::2])  # RFC 6749, 2.3.1
        if self.clients.get(client) != secret or form.get("grant_type") != ["client_credentials"]:
            return 401, {"error": "invalid_client"}
        self.given.append(client)
        self.scopes.update(form.get("scope", ()))
        return 200, {"access_token": self.token(client), "token_type": "Bearer", "expires_in": self.lives}


@contextmanager
def serving(issuer: Issuer, certificate: Path, key: Path) -> Iterator[Issuer]:
    """The issuer at its `url`: POST /token, GET /keys."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._reply(*issuer.answer(self.headers.get("Authorization", ""), form))

        def do_GET(self) -> None:
            self._reply(200, issuer.keys())

        def _reply(self, status: int, body: dict[str, object]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        issuer.url = f"https://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
