"""Take the first picture of README: the top of the page that `freezeframe run` makes.

The study is about two sets of drawn head slices. The second one looks new, but some of its images
are edited images of the first set. Needs selenium, Debian's chromium and chromium-driver.

usage: python scripts/pictures/report_page.py [PNG]
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageEnhance, ImageOps
from selenium import webdriver

PICTURE = Path(__file__).with_name("report_page.png")
SIZE = {"width": 1280, "height": 860, "deviceScaleFactor": 1, "mobile": False}
COLOURS = 64
"""Colours of the picture: few, so that it stays small."""

N_KNOWN = 12
"""Images of the second set that the first one has, too."""

EDITS = (
    lambda image: image,
    ImageOps.mirror,
    lambda image: image.crop((16, 10, image.width - 8, image.height - 14)),
    lambda image: ImageEnhance.Brightness(image).enhance(0.6),
)


def freezeframe(place: Path, *arguments: str) -> None:
    """Run a command of freezeframe in a folder; it must succeed."""
    command = [sys.executable, "-m", "freezeframe", *arguments]
    subprocess.run(command, cwd=place, check=True, stdout=subprocess.DEVNULL)


def make_sets(place: Path) -> None:
    """Make the folders `scans` and `new-scans`, of which the second one has known images."""
    freezeframe(place, "make-demo-images", "scans", "--per-class", "160", "--seed", "1")
    freezeframe(place, "make-demo-images", "new-scans", "--per-class", "30", "--seed", "2")
    originals = sorted((place / "scans").glob("*/*.png"))
    for number, original in enumerate(originals[:: len(originals) // N_KNOWN][:N_KNOWN]):
        edit = EDITS[number % len(EDITS)]
        with Image.open(original) as image:
            path = place / "new-scans" / original.parent.name / f"scan_{number}.jpg"
            edit(image.convert("L")).save(path, quality=80)


def photograph(page: Path) -> bytes:
    """Open the page and return a PNG of its first screen."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as driver:
        light = {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", light)
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", SIZE)
        driver.get(page.as_uri())
        return bytes(driver.get_screenshot_as_png())


def main() -> None:
    """Run the study, and write the picture."""
    picture = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    with TemporaryDirectory() as folder:
        place = Path(folder)
        make_sets(place)
        heads = ("--model", "logreg", "--model", "xgboost", "--model", "majority")
        layer = ("--layer", "block5_pool")
        freezeframe(
            place, "run", "scans", "--test", "new-scans", "--output", "study", *heads, *layer
        )
        content = photograph(place / "study" / "report.html")
    image = Image.open(io.BytesIO(content)).convert("RGB").quantize(COLOURS)
    image.save(picture, optimize=True)
    print(f"{picture}: {picture.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
