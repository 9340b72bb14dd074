"""Headless Chromium without network, controlled over a pipe with the DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions")
# No host name is resolved, so a request by the page is recorded and fails.
_OFFLINE = ("--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking")
# Chromium takes no screenshot of a tab that it considers hidden.
_VISIBLE = ("--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding")
# Fail if the browser is silent for this long.
_TIMEOUT_SECONDS = 60


class Chromium:
    """One tab. events: what the browser reported since the last `open`, as (method, params)."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._number = write, read, 0
        self._buffer = b""
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._next()
            if reply.get("id") == self._number:
                assert "error" not in reply, reply
                return reply["result"]

    def open(self, page: Path, width: int = 1280, dark: bool = False) -> None:
        self.events.clear()
        self._resize(width, 900)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.bringToFront")
        self.call("Page.navigate", url=page.as_uri())
        while not any(method == "Page.loadEventFired" for method, _ in self.events):
            self._next()

    def evaluate(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def screenshot(self, file: Path) -> None:
        width, height = self.evaluate("[innerWidth, document.documentElement.scrollHeight]")
        # Resize instead of capturing beyond the viewport, because Chromium sometimes never answers that.
        self._resize(width, height)
        shot = self.call("Page.captureScreenshot")
        file.write_bytes(base64.b64decode(shot["data"]))

    def _resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    @property
    def console(self) -> list[Any]:
        """Errors, and everything that was written to the console."""
        return [params for method, params in self.events if method in ("Log.entryAdded", "Runtime.consoleAPICalled")]

    @property
    def requests(self) -> list[str]:
        """The URLs that the page requested, without its own and without data URLs."""
        urls = [params["request"]["url"] for method, params in self.events if method == "Network.requestWillBeSent"]
        return [url for url in urls[1:] if not url.startswith("data:")]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._read], [], [], _TIMEOUT_SECONDS)[0], (
                f"Chromium is silent after {self.events[-3:]}"
            )
            data = os.read(self._read, 1 << 16)
            assert data, "Chromium has ended"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        if "method" in message:
            self.events.append((message["method"], message["params"]))
        return message


@contextmanager
def chromium(profile: Path) -> Iterator[Chromium]:
    """Runs Chromium with a new profile in the folder `profile`."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    # Chromium reads commands from file descriptor 3 and writes to 4.
    wrapper = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{from_write}', "bash"]
    command = [str(CHROMIUM), *_OPTIONS, *_OFFLINE, *_VISIBLE, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
    process = subprocess.Popen(
        [*wrapper, *command], pass_fds=(to_read, from_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(to_read)
    os.close(from_write)
    try:
        yield Chromium(to_write, from_read)
    finally:
        process.terminate()
        process.wait(30)
        os.close(to_write)
        os.close(from_read)
