"""Take the picture of README: the page of `freezeframe serve` with an answer and its map.

The model is fitted on the built-in demo set of synthetic head slices, with VGG16's weights. Needs
the extra `serve`, selenium, Debian's chromium and chromium-driver.

usage: python scripts/pictures/serve_page.py [PNG]
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

PICTURE = Path(__file__).with_name("serve_page.png")
SIZE = {"width": 1000, "height": 1120, "deviceScaleFactor": 1, "mobile": False}
SECONDS = 60
"""Most seconds to wait for an answer."""

COLOURS = 96
"""Colours of the picture: few, so that it stays small."""


def freezeframe(place: Path, *arguments: str) -> None:
    """Run a command of freezeframe in a folder; it must succeed."""
    command = [sys.executable, "-m", "freezeframe", *arguments]
    subprocess.run(
        command, cwd=place, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def photograph(address: str) -> bytes:
    """Open the page, classify an example, show its map; return a PNG of the window."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as driver:
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SIZE)
        driver.get(address)
        wait = WebDriverWait(driver, SECONDS)
        wait.until(lambda _: driver.find_elements("css selector", "body[data-ready]"))
        driver.find_element("css selector", ".example").click()
        wait.until(lambda _: "1 of 1" in driver.find_element("id", "status").text)
        driver.find_element("css selector", ".map-box summary").click()
        wait.until(lambda _: driver.find_element("css selector", ".map-reading").text)
        driver.execute_script("document.querySelector('.columns').scrollIntoView()")
        return bytes(driver.get_screenshot_as_png())


def main() -> None:
    """Fit a model, serve it, and write the picture."""
    picture = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    with TemporaryDirectory() as folder:
        place = Path(folder)
        freezeframe(place, "make-demo-images", "demo-slices")
        freezeframe(place, "extract-features", "demo-slices")
        freezeframe(place, "fit-classifier", "--cv", "5", "--model", "logreg")
        run = str(next((place / "runs").iterdir()))
        command = [sys.executable, "-m", "freezeframe", "serve", run, "--port", "0"]
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert server.stdout is not None
            content = photograph(server.stdout.readline().split()[0])
        finally:
            server.terminate()
            server.wait()
    # The usual method spends all colours on the page, and none on the map.
    method = Image.Quantize.MAXCOVERAGE
    image = Image.open(io.BytesIO(content)).convert("RGB").quantize(COLOURS, method)
    image.save(picture, optimize=True)


if __name__ == "__main__":
    main()
