"""A real headless Chromium, driven over its debugging pipe: no driver, no socket, no dependency."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
INSTALL = "no Chromium on the PATH: `apt-get install chromium`"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
]


class Browser:
    """One page. Every request other than `file:` and every console message is kept to be asserted on."""

    def __init__(self, width: int = 1200, height: int = 900) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._width, self._height, self._next = width, height, 0

    def __enter__(self) -> Browser:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        # Chromium reads commands from descriptor 3 and answers on 4, each message ended by a zero byte.
        command, self._to = os.pipe()
        self._from, answer = os.pipe()
        shell = f'exec "$@" 3<&{command} 4>&{answer}'
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                shell,
                "sh",
                str(CHROMIUM),
                *FLAGS,
                f"--user-data-dir={self._profile.name}",
                "about:blank",
            ],
            pass_fds=(command, answer),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command)
        os.close(answer)
        self._buffer, self._session = b"", None
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.size(self._width, self._height)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._to)
        os.close(self._from)
        self._process.terminate()
        self._process.wait(timeout=30)
        self._profile.cleanup()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of one command of the protocol; events that arrive meanwhile are noted."""
        self._next += 1
        message: dict[str, Any] = {"id": self._next, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._next:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._from, 1 << 16)
            if not chunk:
                raise RuntimeError("Chromium ended")
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(line)
        self._note(answer.get("method", ""), answer.get("params", {}))
        return answer

    def _note(self, event: str, parameters: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif event == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])
        elif event == "Page.javascriptDialogOpening":
            self.errors.append(f"dialog: {parameters['message']}")

    def open(self, path: Path) -> None:
        """Load a file and wait until its script has run."""
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.body && document.body.dataset.ready !== undefined")

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", expression))
        return answer["result"].get("value")

    def cost(self, action: Callable[[], object]) -> float:
        """Seconds of processor time that the page takes for an action."""

        def spent() -> float:
            metrics = self.send("Performance.getMetrics")["metrics"]
            return next(float(one["value"]) for one in metrics if one["name"] == "ProcessTime")

        self.send("Performance.enable", timeDomain="threadTicks")
        before = spent()
        action()
        return spent() - before

    def wait(self, condition: str, tries: int = 1500) -> None:
        """Until the condition holds, looked at once a frame."""
        for _ in range(tries):
            try:
                if self.run(condition):
                    return
                self.run("new Promise((done) => setTimeout(done, 20))")
            except RuntimeError:  # the page was replaced while it was asked
                continue
        raise AssertionError(f"never true: {condition}; errors: {self.errors}")

    def size(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def media(self, kind: str = "", scheme: str = "light") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", media=kind, features=features)

    def press(self, key: str) -> None:
        """A key as a person presses it: `Tab`, `Enter`, `ArrowRight`, or one character."""
        codes = {"Tab": 9, "Enter": 13, "ArrowRight": 39, "ArrowLeft": 37, " ": 32}
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        common = {"key": key, "windowsVirtualKeyCode": codes.get(key, ord(key.upper()[0])), "text": text}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **{**common, "text": ""})

    def shot(self, path: Path, whole: bool = False) -> None:
        """A PNG of the window, or with `whole` of the page."""
        picture = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(picture["data"]))
