"""Take the first picture of README: the top of the page that `freezeframe run --quick` makes.

The study is about the built-in demo set of synthetic head slices, with VGG16's weights. Needs
selenium, Debian's chromium and chromium-driver.

usage: python scripts/pictures/report_page.py [PNG]
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

PICTURE = Path(__file__).with_name("report_page.png")
SIZE = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
COLOURS = 128
"""Colours of the picture: few, so that it stays small."""


def photograph(page: Path) -> bytes:
    """Open a page and return a PNG of its first screen, in light colours."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as driver:
        light = {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", light)
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SIZE)
        driver.get(page.absolute().as_uri())
        return bytes(driver.get_screenshot_as_png())


def main() -> None:
    """Run the study, and write the picture."""
    picture = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    with TemporaryDirectory() as folder:
        study = Path(folder) / "demo"
        command = [sys.executable, "-m", "freezeframe", "run", "--quick", "--output", str(study)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        content = photograph(study / "report.html")
    image = Image.open(io.BytesIO(content)).convert("RGB").quantize(COLOURS)
    image.save(picture, optimize=True)
    print(f"{picture}: {picture.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
