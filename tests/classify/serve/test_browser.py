"""A real browser on the real server: what a person sees and does, and what axe-core finds."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freezeframe.classify.prediction.predictor import Predictor

from ...conftest import fast_environment
from .conftest import Place

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytest.importorskip("waitress", reason="the extra serve is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="Debian's chromium and chromium-driver are not installed"
)

PAGES = ("/", "/leaderboard", "/data", "/about")
SECONDS = 30


@pytest.fixture(scope="module")
def address(place: Place) -> Iterator[str]:
    """The address of a server, as the command prints it."""
    command = [sys.executable, "-m", "freezeframe", "serve", *map(str, place.runs)]
    command += ["--store", str(place.store), "--port", "0"]
    environment = fast_environment()
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    assert server.stdout is not None
    yield server.stdout.readline().split("  ")[0].rstrip("/")
    server.terminate()
    assert server.wait(20) == 0


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    # Containers run tests as root and have a small /dev/shm.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(SECONDS)
    yield driver
    driver.quit()


class Browser:
    """The browser as a person uses it."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        self.address = address

    def open(self, path: str = "/", *, width: int = 1200, dark: bool = False) -> None:
        """Open a page in a window of some width, in light or dark colours."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(self.address + path)
        if path == "/":
            self.wait("document.body.dataset.ready")

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str) -> None:
        """Wait until an expression is true in the page."""
        until = time.monotonic() + SECONDS
        while not self.run(f"return !!({condition})"):
            assert time.monotonic() < until, f"not true in {SECONDS} s: {condition}"
            time.sleep(0.02)

    def wait_for_results(self, n: int) -> None:
        """Wait until all images are done, their pictures among them."""
        self.wait(f"document.querySelector('#status').textContent.startsWith('{n} of {n} ')")

    def texts(self, selector: str) -> list[str]:
        """Return the visible text of each element."""
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText)"
        return [str(text) for text in self.run(script, selector)]

    def choose(self, *paths: Path) -> None:
        """Choose files in the dialog of the button."""
        field = self.driver.find_element("id", "files")
        field.send_keys("\n".join(map(str, paths)))

    def press(self, *keys: str) -> None:
        """Press keys wherever the focus is."""
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def probabilities(self) -> list[dict[str, float]]:
        """Return the probabilities of each card, with all digits."""
        script = """
            return [...document.querySelectorAll(".card")].map((card) => Object.fromEntries(
                [...card.querySelectorAll(".bars li")].map((row) => [
                    row.querySelector(".name").textContent,
                    Number(row.querySelector(".number").dataset.value)])))
        """
        return list(self.run(script))


@pytest.fixture
def browser(chromium: Any, address: str) -> Iterator[Browser]:
    person = Browser(chromium, address)
    yield person
    # A policy that is violated, or a script that fails, is written there.
    problems = [entry["message"] for entry in chromium.get_log("browser")]
    assert [text for text in problems if "status of 422" not in text] == []


def predicted(place: Place, run: Path, *paths: Path) -> list[dict[str, Any]]:
    """Return what the command predicts."""
    command = [sys.executable, "-m", "freezeframe", "predict", str(run), *map(str, paths)]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, check=True)
    return list(json.loads(done.stdout))


def test_chosen_images_get_the_answers_of_the_command(
    browser: Browser, place: Place, tmp_path: Path
) -> None:
    """A bad file among good ones costs no other answer; every digit is the command's."""
    (tmp_path / "bad.png").write_bytes(b"no image")
    good = [place.images[0], place.images[-1]]
    browser.open()
    browser.choose(good[0], tmp_path / "bad.png", good[1])
    browser.wait_for_results(3)
    assert browser.texts("#status") == ["3 of 3 images done, 1 could not be read"]
    expected = predicted(place, place.runs[0], *good)
    first, bad, last = browser.probabilities()
    assert [first, bad, last] == [expected[0]["probabilities"], {}, expected[1]["probabilities"]]
    verdicts = browser.texts(".verdict")
    assert verdicts == [expected[0]["label"], "not read", expected[1]["label"]]
    assert browser.texts(".error")[0].startswith("not a JPEG, PNG, TIFF")
    assert browser.texts("h3") == [good[0].name, "bad.png", good[1].name]
    # The mark of the threshold is where the model decides.
    (note,) = {text for text in browser.texts(".mark-note") if text}
    assert note.startswith("mark: from ")
    assert browser.run("return document.querySelector('.stack img').naturalWidth") > 100
    # Another model answers for the images that are chosen after it.
    browser.run(
        "const list = document.querySelector('#model'); list.value = arguments[0];"
        "list.dispatchEvent(new Event('change'))",
        place.runs[1].name,
    )
    browser.choose(good[0])
    browser.wait_for_results(4)
    other = predicted(place, place.runs[1], good[0])[0]["probabilities"]
    assert browser.probabilities()[3] == other
    browser.run("document.querySelector('#clear').click()")
    assert browser.texts(".card") == []


def test_a_training_picture_is_recognised(browser: Browser, place: Place) -> None:
    browser.open()
    browser.run("document.querySelector('.example').click()")
    browser.wait_for_results(1)
    assert browser.texts(".notices .notice") == []
    browser.choose(place.images[0])
    browser.wait_for_results(2)
    (notice,) = browser.texts(".notices .notice")
    assert notice == (
        "A copy of this image was trained on: the answer proves nothing. "
        f"(lesion/{place.images[0].name}, lesion)"
    )


def test_results_are_saved_as_csv_and_json(browser: Browser, place: Place, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    folder = {"behavior": "allow", "downloadPath": str(tmp_path / "saved")}
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", folder)
    browser.open()
    browser.choose(place.images[0], tmp_path / "bad.png")
    browser.wait_for_results(2)
    for name in ("csv", "json"):
        browser.run(f"document.querySelector('#save-{name}').click()")
    saved = [tmp_path / "saved" / f"predictions.{name}" for name in ("csv", "json")]
    until = time.monotonic() + SECONDS
    while not all(path.exists() for path in saved) and time.monotonic() < until:
        time.sleep(0.05)
    good, bad = json.loads(saved[1].read_text())
    (expected,) = predicted(place, place.runs[0], place.images[0])
    assert good == {**expected, "path": place.images[0].name}
    assert bad["error"].startswith("not a JPEG")
    first, second = csv.DictReader(saved[0].open())
    assert float(first["p_lesion"]) == expected["probabilities"]["lesion"]
    assert (second["path"], second["label"]) == ("bad.png", "")


DATA = """return (async () => {
    const data = new DataTransfer();
    for (const number of [1, 2]) {
        const response = await fetch(`/examples/${number}.png`);
        data.items.add(new File([await response.blob()], `scan-${number}.png`));
    }
    %s
})()"""


@pytest.mark.parametrize(
    "event",
    [
        "new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})",
        "new ClipboardEvent('paste', {clipboardData: data, bubbles: true})",
    ],
    ids=["drop", "paste"],
)
def test_images_are_dropped_and_pasted(browser: Browser, event: str) -> None:
    browser.open()
    browser.run(DATA % f"document.body.dispatchEvent({event})")
    browser.wait_for_results(2)
    assert browser.texts("h3") == ["scan-1.png", "scan-2.png"]
    assert set(browser.texts(".verdict")) <= {"lesion", "no_lesion"}


def test_too_large_a_file_is_refused_before_it_is_sent(browser: Browser, tmp_path: Path) -> None:
    """A server that refuses a body closes the connection, which says nothing."""
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(33 * 2**20)
    (tmp_path / "empty.png").write_bytes(b"")
    browser.open()
    browser.choose(tmp_path / "large.png", tmp_path / "empty.png")
    browser.wait_for_results(2)
    assert browser.texts(".error") == ["larger than 32 MB", "the file is empty"]


def test_the_keyboard_alone_is_enough(browser: Browser) -> None:
    """From the address bar: an example, then its nearest pictures, without a mouse."""
    tab, enter = "\ue004", "\ue007"
    browser.open()
    for _ in range(30):
        browser.press(tab)
        if browser.run("return document.activeElement.dataset.example") == "1":
            break
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert browser.run(outline) == "solid"
    browser.press(enter)
    browser.wait_for_results(1)
    for _ in range(30):
        browser.press(tab)
        if browser.run("return document.activeElement.parentElement.className") == "neighbours":
            break
    browser.press(enter)
    browser.wait("document.querySelectorAll('.nearest img').length == 8")
    assert browser.texts(".nearest h4") == ["lesion", "no_lesion"]


def test_the_map_is_drawn_and_switched_by_a_key(browser: Browser, place: Place) -> None:
    """Cells are drawn as cells, in two colours, and text says where the strongest are."""
    browser.open()
    browser.choose(place.images[0])
    browser.wait_for_results(1)
    hidden = "return document.querySelector('canvas.map').hidden"
    assert browser.run(hidden)
    browser.press("m")
    browser.wait("document.querySelector('.map-note').textContent.startsWith('Of 32 x 32 cells')")
    with Predictor(place.runs[0]) as predictor:
        (explanation,) = predictor.explain([place.images[0]])
    cells = explanation.contributions
    assert cells is not None
    script = """
        const map = document.querySelector('canvas.map');
        const pixels = map.getContext('2d').getImageData(0, 0, map.width, map.height).data;
        return [map.width, map.height, [...pixels]]
    """
    width, height, pixels = browser.run(script)
    assert (height, width) == cells.shape
    drawn = np.array(pixels).reshape(height, width, 4)
    strong = np.abs(cells) > 0.1 * explanation.scale
    # Red speaks for the class, blue against it; the browser rounds colours by their opacity.
    assert ((drawn[..., 0] > drawn[..., 2]) == (cells > 0))[strong].all()
    opacity = 255 * np.minimum(np.abs(cells) / explanation.scale, 1)
    assert np.abs(drawn[..., 3] - opacity).max() <= 1
    browser.press("m")
    assert browser.run(hidden)
    browser.press("m")
    assert not browser.run(hidden)
    browser.run(
        "const slider = document.querySelector('.opacity'); slider.value = 0.25;"
        "slider.dispatchEvent(new Event('input'));"
        "const light = document.querySelector('.brightness'); light.value = 2;"
        "light.dispatchEvent(new Event('input'))"
    )
    assert browser.run("return document.querySelector('canvas.map').style.opacity") == "0.25"
    looks = browser.run("return document.querySelector('.stack img').style.filter")
    assert looks == "brightness(2) contrast(1)"
    other = "no_lesion" if explanation.class_name == "lesion" else "lesion"
    browser.run(
        "const list = document.querySelector('.map-class'); list.value = arguments[0];"
        "list.dispatchEvent(new Event('change'))",
        other,
    )
    browser.wait(f"document.querySelector('.scale .high').textContent.startsWith('for {other}')")


def test_prevalence_decides_what_an_answer_is_worth(browser: Browser) -> None:
    browser.open()
    model = json.load(urllib.request.urlopen(browser.address + "/api/v1/models"))["models"][0]
    (score,) = model["scores"]
    sensitivity, specificity = score["sensitivity"][0], score["specificity"][0]
    for percent in (1, 50):
        browser.run(
            "const field = document.querySelector('#prevalence-number');"
            "field.value = arguments[0]; field.dispatchEvent(new Event('input'))",
            percent,
        )
        prevalence = percent / 100
        right = sensitivity * prevalence
        ppv = right / (right + (1 - specificity) * (1 - prevalence))
        (text,) = browser.texts("#worth")
        assert text.startswith(f"If {percent} in 100 have lesion, {100 * ppv:.1f} % (")
        assert 'of the answers "lesion" are right. If' in text


def test_the_leaderboard_is_sorted_by_a_heading(browser: Browser) -> None:
    browser.open("/leaderboard")
    heading = "th:nth-child(5)"
    browser.wait(f"document.querySelector('{heading} button')")
    values = "return [...document.querySelectorAll('td:nth-child(5)')].map((c) => +c.dataset.value)"
    for order, falling in (("descending", True), ("ascending", False)):
        browser.run(f"document.querySelector('{heading} button').click()")
        assert browser.run(f"return document.querySelector('{heading}').ariaSort") == order
        assert browser.run(values) == sorted(browser.run(values), reverse=falling)
    assert len(browser.run(values)) == 2


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)], ids=["wide", "phone"])
def test_pages_fit_and_have_no_fault_for_screen_readers(
    browser: Browser, width: int, dark: bool
) -> None:
    """No page is wider than the window, and axe-core finds no violation on any."""
    axe = pytest.importorskip("axe_core_python.selenium", reason="axe-core is not installed").Axe()
    board = json.dumps("tbody a")
    for path in (*PAGES, "run"):
        if path == "run":
            browser.open("/leaderboard", width=width, dark=dark)
            browser.run(f"document.querySelector({board}).click()")
            browser.wait("document.querySelector('.plots')")
        else:
            browser.open(path, width=width, dark=dark)
        if path == "/":
            bad = "data.items.add(new File(['x'], 'bad.png'));"
            drop = "document.dispatchEvent(new DragEvent('drop', {dataTransfer: data}))"
            browser.run(DATA % (bad + drop))
            browser.wait_for_results(3)
            browser.run("for (const box of document.querySelectorAll('details')) box.open = true")
            browser.wait("document.querySelectorAll('.nearest img').length == 16")
        assert browser.run("return document.documentElement.scrollWidth") <= width, path
        colour = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, colour[4:-1].split(","))) < 200) == dark
        violations = axe.run(browser.driver)["violations"]
        assert [(rule["id"], rule["nodes"][0]["html"]) for rule in violations] == [], path
