"""The browser as a person uses it: keys, files that are chosen, dropped and pasted, and a look."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

SECONDS = 90
"""Most seconds that anything takes, on a slow machine."""

TAB = "\ue004"
ENTER = "\ue007"
RIGHT = "\ue014"


class Browser:
    """A page in Chromium, driven by selenium."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        self.address = address

    def open(self, path: str = "/") -> None:
        """Open a page in a wide window, in light colours."""
        self.show(width=1200, dark=False)
        self.driver.get(self.address + path)
        if path == "/":
            self.wait("document.body.dataset.ready")

    def show(self, *, width: int, dark: bool) -> None:
        """Give the window another width, and other colours."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str) -> None:
        """Wait until an expression is true in the page."""
        until = time.monotonic() + SECONDS
        while not self.run(f"return !!({condition})"):
            assert time.monotonic() < until, f"not true in {SECONDS} s: {condition}"
            time.sleep(0.05)

    def wait_for_results(self, n: int) -> None:
        """Wait until all images are done, their pictures among them."""
        self.wait(f"document.querySelector('#status').textContent.startsWith('{n} of {n} ')")

    def texts(self, selector: str) -> list[str]:
        """Return the visible text of each element."""
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText)"
        return [str(text) for text in self.run(script, selector)]

    def click(self, selector: str) -> None:
        """Click the first element, wherever it is on the page."""
        self.run("document.querySelector(arguments[0]).click()", selector)

    def set(self, selector: str, value: object) -> None:
        """Give a field, a slider or a list another value."""
        script = """
            const field = document.querySelector(arguments[0]);
            field.value = arguments[1];
            for (const type of ["input", "change"]) field.dispatchEvent(new Event(type));
        """
        self.run(script, selector, value)

    def choose(self, *paths: Path) -> None:
        """Choose files in the dialog of the button."""
        field = self.driver.find_element("id", "files")
        field.send_keys("\n".join(map(str, paths)))

    def drop(self, *paths: Path) -> None:
        """Drag files from outside into the window, and drop them."""
        files = {"items": [], "files": list(map(str, paths)), "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            event = {"type": kind, "x": 200, "y": 200, "data": files}
            self.driver.execute_cdp_cmd("Input.dispatchDragEvent", event)

    def paste(self, address: str) -> None:
        """Copy the image of an address into the clipboard, and press the keys that paste it."""
        allowed = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
        self.driver.execute_cdp_cmd("Browser.grantPermissions", allowed)
        self.driver.execute_cdp_cmd("Page.bringToFront", {})
        script = """return (async () => {
            const image = await (await fetch(arguments[0])).blob();
            await navigator.clipboard.write([new ClipboardItem({ "image/png": image })]);
        })()"""
        self.run(script, address)
        keys = {"type": "keyDown", "key": "v", "code": "KeyV", "modifiers": 2}
        self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {**keys, "commands": ["paste"]})
        self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {**keys, "type": "keyUp"})

    def press(self, *keys: str) -> None:
        """Press keys wherever the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, condition: str) -> None:
        """Press the tabulator until an expression about `here`, the focused element, is true."""
        for _ in range(60):
            self.press(TAB)
            if self.run(f"const here = document.activeElement; return !!({condition})"):
                return
        raise AssertionError(f"the tabulator leads to no element with {condition}")

    def probabilities(self) -> list[dict[str, float]]:
        """Return the probabilities of each card, with all digits."""
        script = """
            return [...document.querySelectorAll(".card")].map((card) => Object.fromEntries(
                [...card.querySelectorAll(".bars li")].map((row) => [
                    row.querySelector(".name").textContent,
                    Number(row.querySelector(".number").dataset.value)])))
        """
        return list(self.run(script))
