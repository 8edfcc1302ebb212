"""A service as a supervisor sees one: says things, is ready after a while, and dies as it is told. Not a test.

usage: python -m tests.support.fake_service READY_AFTER_SECONDS [DIE_AFTER_SECONDS [EXIT_CODE]] [--deaf]
"""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

BEGUN = time.monotonic()
WORDS = [w for w in sys.argv[1:] if not w.startswith("--")]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ready = time.monotonic() - BEGUN > float(WORDS[0])
        self.send_response(200 if ready else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    name = os.environ["HOCKET_INSTANCE"]
    print(f"{name} begins, prefix {os.environ['HOCKET_PREFIX']}")
    if "--deaf" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if len(WORDS) > 1:
        code = int(WORDS[2]) if len(WORDS) > 2 else 1
        threading.Timer(
            float(WORDS[1]), lambda: (print("\x1b[31mlast words\x1b[0m", flush=True), os._exit(code))
        ).start()
    HTTPServer(("127.0.0.1", int(os.environ["HOCKET_HTTP_PORT"])), Handler).serve_forever()


if __name__ == "__main__":
    main()
