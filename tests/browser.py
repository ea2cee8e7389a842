"""Drive Debian's Chromium through the DevTools protocol over two pipes: no driver, no port and no package is needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import signal
import time
from pathlib import Path
from typing import Any

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
]

#: The longest wait for an answer or a condition, in seconds. A page that works needs a fraction of one, on a machine
#: that is free.
PATIENCE = 240

#: The keys that type nothing, with their numbers on a Windows keyboard.
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36,
        "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}  # fmt: skip


class Browser:
    """A Chromium without windows.

    Args:
        profile: a new folder.
    """

    def __init__(self, profile: Path) -> None:
        # it reads commands from 3 and answers to 4; the ends that are moved there must be neither
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (commands, answers)]
        moves = [(os.POSIX_SPAWN_DUP2, end, to) for end, to in zip(theirs, (3, 4), strict=True)]
        command = [str(CHROMIUM), f"--user-data-dir={profile}", *OPTIONS]
        # its many words about what is absent here go nowhere
        moves += [(os.POSIX_SPAWN_OPEN, out, os.devnull, os.O_WRONLY, 0) for out in (1, 2)]
        self._process = os.posix_spawn(CHROMIUM, command, os.environ, file_actions=moves, setpgroup=0)
        for end in (commands, answers, *theirs):
            os.close(end)
        self._buffer, self._number = b"", 0
        self._tabs: dict[str, Tab] = {}

    def tab(self, width: int = 1440, height: int = 900) -> Tab:
        """Open an empty tab, in pixels of CSS."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self._tabs[session] = Tab(self, session, target)
        for domain in ("Page", "Runtime", "Log"):
            tab.call(f"{domain}.enable")
        tab.resize(width, height)
        return tab

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        sent = json.dumps(message).encode() + b"\0"
        while sent:
            sent = sent[os.write(self._commands, sent) :]
        while (answer := self._read()).get("id") != self._number:
            if (tab := self._tabs.get(answer.get("sessionId", ""))) is not None:
                tab.heard(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._answers], [], [], PATIENCE)[0]:
                raise TimeoutError(f"Chromium did not answer for {PATIENCE} seconds")
            if not (more := os.read(self._answers, 1 << 20)):
                raise EOFError("Chromium has ended")
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def close(self) -> None:
        """End it, with all its processes."""
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._commands)
        os.close(self._answers)


class Tab:
    """A tab.

    Attributes:
        errors: what the page's scripts raised and what the console was told as an error.
    """

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self._session, self._target = browser, session, target
        self.errors: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol on this tab."""
        return self._browser.call(method, self._session, **params)

    def heard(self, event: dict[str, Any]) -> None:
        """Note an event that is an error."""
        params = event["params"]
        if event["method"] == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif event["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])

    def open(self, address: str | Path) -> None:
        """Open a page and wait until it is loaded."""
        address = address.resolve().as_uri() if isinstance(address, Path) else address
        answer = self.call("Page.navigate", url=address)
        if "errorText" in answer:
            raise RuntimeError(f"{address}: {answer['errorText']}")
        self.until("document.readyState === 'complete'")

    def reload(self) -> None:
        """Load the page again, and wait until the new one is loaded."""
        self.run("window.old = true")
        self.call("Page.reload")
        self.until("!window.old && document.readyState === 'complete'")

    def resize(self, width: int, height: int = 900) -> None:
        """Change the size of the window, in pixels of CSS."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def media(self, kind: str = "screen", *, dark: bool = False) -> None:
        """Take the page to be on a screen or on paper ("print"), and its reader to prefer light or dark."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=kind, features=[scheme])

    def run(self, script: str) -> Any:
        """Return the value of an expression of JavaScript, or of the promise that it gives."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']['exception']['description']}")
        return answer["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait until an expression is true, and return its value."""
        end = time.monotonic() + PATIENCE
        while not (value := self._meanwhile(script)):
            if time.monotonic() > end:
                raise TimeoutError(f"not true after {PATIENCE} seconds: {script}")
            time.sleep(0.02)
        return value

    def _meanwhile(self, script: str) -> Any:
        """Return the value of an expression, or None where the page is just being replaced by another."""
        try:
            return self.run(script)
        except RuntimeError as error:
            if "navigated" in str(error) or "context" in str(error):
                return None
            raise

    def click(self, selector: str) -> None:
        """Click the middle of the first element of a CSS selector, as a mouse does."""
        place = self.run(
            "(() => {"
            f"const element = document.querySelector({json.dumps(selector)});"
            "element.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const box = element.getBoundingClientRect();"
            "return {x: box.x + box.width / 2, y: box.y + box.height / 2};"
            "})()"
        )
        for kind, pressed in (("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)):
            button = "none" if kind == "mouseMoved" else "left"
            self.call("Input.dispatchMouseEvent", type=kind, **place, button=button, buttons=pressed, clickCount=1)

    def press(self, key: str, times: int = 1) -> None:
        """Press a key of KEYS, or a character, where the focus is."""
        params: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": KEYS.get(key, ord(key[0].upper()))}
        if len(key) == 1 or key == "Enter":
            params["text"] = "\r" if key == "Enter" else key
        for _ in range(times):
            self.call("Input.dispatchKeyEvent", type="keyDown", **params)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def write(self, text: str) -> None:
        """Enter a text where the focus is."""
        self.call("Input.insertText", text=text)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what is in the window, or the whole page, as PNG."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def close(self) -> None:
        """Close it."""
        self._browser.call("Target.closeTarget", targetId=self._target)  # also in the middle of a reload
