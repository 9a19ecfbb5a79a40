"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT = 60.0  # s; machines under load are slow


def find_chromium() -> str | None:
    """Return the program, None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page of a browser with a profile of its own, which goes with it."""

    def __init__(self, program: str, profile: Path) -> None:
        import websocket

        flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                 "--no-first-run", "--disable-background-networking", "--disable-component-update",
                 "--remote-debugging-port=0", "--remote-allow-origins=*", f"--user-data-dir={profile}")  # fmt: skip
        null = subprocess.DEVNULL
        self.process = subprocess.Popen([program, *flags, "about:blank"], stdout=null, stderr=null)
        port = _awaited(lambda: (profile / "DevToolsActivePort").read_text().split()[0])
        pages = _awaited(lambda: json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5)))
        address = next(p["webSocketDebuggerUrl"] for p in pages if p["type"] == "page")
        self._socket = websocket.create_connection(address, timeout=WAIT)
        self._number = 0
        self.errors: list[str] = []
        """What the console complained of, and exceptions nobody caught."""
        self.requests: list[str] = []
        """Every address that was asked for but those inside of the page."""
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        # What is clicked must not be on its way elsewhere.
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:600])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"])[:600])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"][:600])
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("data:", "blob:")):
                self.requests.append(url)

    def run(self, script: str) -> Any:
        """Return the value of an expression, awaited."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + WAIT
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < end, f"never became true: {script}; errors {self.errors}"
            time.sleep(0.05)

    def open(self, path: Path, *, width: int = 1280, height: int = 900, phone: bool = False) -> None:
        """Open a page of midas and wait until everything is drawn."""
        self.errors.clear()
        self.requests.clear()
        scale = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.until(
            "document.body && document.body.dataset.ready === 'yes' || document.querySelector('#trouble:not([hidden])')"
        )

    def click(self, selector: str, where: tuple[float, float] = (0.5, 0.5)) -> None:
        """Press the mouse on an element, at a share of its width and height."""
        left, top, width, height = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            " e.scrollIntoView({block: 'center'});"
            " const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })()"
        )
        x, y = left + width * where[0], top + height * where[1]
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        time.sleep(0.1)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path: Path, *, selector: str | None = None, whole: bool = False) -> None:
        """Write a PNG of the window, of an element, or of the whole page."""
        more: dict[str, Any] = {}
        if selector is not None or whole:
            element = f"document.querySelector({json.dumps(selector)})" if selector else "document.documentElement"
            x, y, width, height = self.run(
                f"(() => {{ const b = {element}.getBoundingClientRect();"
                " return [b.x + scrollX, b.y + scrollY, b.width, b.height]; })()"
            )
            more = {
                "captureBeyondViewport": True,
                "clip": {"x": x, "y": y, "width": width, "height": height, "scale": 1},
            }
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png", **more)["data"]))

    def pdf(self) -> bytes:
        """Return the page as printed on A4."""
        found = self.call(
            "Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=False, preferCSSPageSize=True
        )
        return base64.b64decode(found["data"])

    def close(self) -> None:
        """End the browser."""
        self._socket.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _awaited(make: Any) -> Any:
    """Return what `make` returns once it neither fails nor returns nothing."""
    end = time.monotonic() + WAIT
    while True:
        try:
            found = make()
        except (OSError, ValueError, IndexError):
            found = None
        if found:
            return found
        assert time.monotonic() < end, "the browser does not answer"
        time.sleep(0.05)
