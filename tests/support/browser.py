"""A real headless Chromium, driven by the DevTools protocol, without any driver to install.

Where there is none, tests skip. On Debian and Ubuntu: `apt-get install chromium`; elsewhere HOCKET_CHROMIUM names one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

MISSING = "no Chromium is installed: apt-get install chromium, or name one in HOCKET_CHROMIUM"
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--remote-debugging-port=0", "--remote-debugging-address=127.0.0.1", "about:blank",
)  # fmt: skip


def chromium() -> str | None:
    """Where Chromium is."""
    names = (os.environ.get("HOCKET_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome", "chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


class Tab:
    """One page of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.errors: list[str] = []
        """What the page's script and its security policy complained of."""

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol and its result."""
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json(timeout=60)
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(message["params"]["exceptionDetails"]))
            if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.errors.append(message["params"]["entry"]["text"])
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression gives; promises are waited for."""
        reply = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    async def until(self, expression: str, within: float = 60.0) -> None:
        """Returns when an expression is true, as JavaScript has it."""
        end = time.monotonic() + within
        while not await self.value(f"!!({expression})"):
            assert time.monotonic() < end, f"never true: {expression}\n{await self.value('document.body.innerText')}"
            await asyncio.sleep(0.1)

    async def open(self, url: str) -> None:
        """Goes to an address; returns when the document is loaded."""
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def look(self, width: int, height: int = 1000, *, dark: bool = False) -> None:
        """A screen of this size and theme."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = "dark" if dark else "light"
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def press(self, key: str) -> None:
        """One key."""
        texts = {"Enter": "\r"}
        codes = {"Enter": 13, "Tab": 9}
        for kind in ("keyDown", "keyUp"):
            more = {"text": texts[key]} if key in texts and kind == "keyDown" else {}
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=codes[key], **more)

    async def screenshot(self, path: Path) -> None:
        """The whole page as a picture."""
        size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.asynccontextmanager
async def browsing(folder: Path) -> AsyncIterator[Tab]:
    """A fresh browser with one tab; skips the test where there is no Chromium."""
    program = chromium()
    if program is None:
        pytest.skip(MISSING)
    profile = folder / "chromium"
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen([program, f"--user-data-dir={profile}", *_FLAGS], stdout=log, stderr=log)
    try:
        port = await _port(profile / "DevToolsActivePort", process)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as reply:
                address = next(t["webSocketDebuggerUrl"] for t in await reply.json() if t["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as socket:
                tab = Tab(socket)
                for domain in ("Page", "Runtime", "Log"):
                    await tab.call(f"{domain}.enable")
                yield tab
    finally:
        process.kill()
        process.wait()


async def _port(told: Path, process: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, "Chromium ended at once; see its log"
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(told.read_text().splitlines()[0])
        await asyncio.sleep(0.1)
    raise AssertionError("Chromium did not tell its port within 60 s")
