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
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from freezeframe.__main__ import cli
from freezeframe.classify.prediction.predictor import Predictor
from freezeframe.classify.runs.prediction_file import read_predictions
from freezeframe.classify.trust.explanation.drawing import AGAINST_CLASS, FOR_CLASS
from freezeframe.data.demo.images import make_demo_images
from freezeframe.extract.settings import Settings

from ...conftest import extract_different, fast_environment
from .browser import ENTER, RIGHT, SECONDS, Browser
from .conftest import Place

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytest.importorskip("waitress", reason="the extra serve is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="Debian's chromium and chromium-driver are not installed"
)

PAGES = ("/", "/leaderboard", "/data", "/data/1", "/data/2", "/about", "/nothing")


@pytest.fixture(scope="module")
def network_run(place: Place) -> Path:
    """A run of a head on a real network's features, of just enough images to know their like."""
    folder = place.folder / "network"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        make_demo_images(folder / "scans", per_class=50)
        patch.chdir(folder)
        # The first block is enough to tell scans from photographs, and takes little time.
        extract_different(folder / "scans", Path("a.h5"), Settings(("block1_pool",)))
        command = ["fit-classifier", "a.h5", "--pooling", "avg", "--search", "none", "--cv", "2"]
        done = CliRunner().invoke(cli, [*command, "--error-rate", "0.001"])
        assert done.exit_code == 0, done.output
    return next((folder / "runs").iterdir())


@pytest.fixture(scope="module")
def address(place: Place, network_run: Path) -> Iterator[str]:
    """The address of a server, as the command prints it."""
    scans = str(place.folder / "scans")
    reports = []
    for name in ("explore", "audit"):
        reports += ["--report", str(place.folder / f"report-of-{name}")]
        done = CliRunner().invoke(cli, [name, scans, "--output", reports[-1]])
        assert done.exit_code == 0, done.output
    command = [sys.executable, "-m", "freezeframe", "serve", *map(str, place.runs)]
    command += [str(network_run), "--store", str(place.store), *reports, "--port", "0"]
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


@pytest.fixture
def browser(chromium: Any, address: str) -> Iterator[Browser]:
    person = Browser(chromium, address)
    yield person
    # A policy that is violated, or a script that fails, is written there.
    problems = [entry["message"] for entry in chromium.get_log("browser")]
    expected = ("status of 422", "/nothing - Failed to load resource")
    assert [text for text in problems if not any(part in text for part in expected)] == []


def predicted(run: Path, *paths: Path) -> list[dict[str, Any]]:
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
    expected = predicted(place.runs[0], *good)
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
    browser.set("#model", place.runs[1].name)
    browser.choose(good[0])
    browser.wait_for_results(4)
    with Predictor(place.runs[1]) as predictor:
        assert browser.probabilities()[3] == predictor.predict([good[0]])[0].probabilities
    browser.click("#clear")
    assert browser.texts(".card") == []


def test_nothing_is_kept_when_the_page_is_closed(browser: Browser, place: Place) -> None:
    browser.open()
    browser.choose(place.images[0])
    browser.wait_for_results(1)
    kept = """return (async () => [localStorage.length, sessionStorage.length, document.cookie,
        (await indexedDB.databases()).length, (await caches.keys()).length])()"""
    assert browser.run(kept) == [0, 0, "", 0, 0]
    browser.open()
    assert browser.texts("#status") == ["No image yet."]


def test_a_training_picture_is_recognised(browser: Browser, place: Place) -> None:
    browser.open()
    browser.click(".example")
    browser.wait_for_results(1)
    assert browser.texts(".notices .notice") == []
    (worth,) = browser.texts(".card .worth")
    assert worth.startswith("If 10 in 100 have lesion, ")
    (measured,) = browser.texts(".card .measured-line")
    assert measured.startswith("Measured: sensitivity ")
    assert measured.endswith(
        ", on 40 unseen pictures in 38 independent groups (grade: pictures parted)."
    )
    browser.choose(place.images[0])
    browser.wait_for_results(2)
    (notice,) = browser.texts(".notices .notice")
    assert notice == (
        "The model was trained on a copy of this image: its answer proves nothing. "
        f"(lesion/{place.images[0].name}, lesion)"
    )
    # What an answer on a new picture is worth does not hold for this one.
    assert browser.texts(".card .worth") == [worth, ""]


def photograph(kind: str) -> Path:
    """Return a photograph that a package ships: a beetle, or a flower."""
    places = {
        "insect": ("foolbox", "data/imagenet_19_305.jpg"),
        "flower": ("sklearn", "datasets/images/flower.jpg"),
    }
    package, name = places[kind]
    # Not imported: foolbox is there for its pictures alone.
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package}, which ships the photograph, is not installed")
    return Path(spec.origin).parent / name


@pytest.mark.parametrize("kind", ["insect", "flower"])
def test_a_photograph_gets_no_answer_without_a_click(
    browser: Browser, network_run: Path, kind: str
) -> None:
    """A model of scans answers on a scan, and on nothing else; JSON says so, too."""
    file = photograph(kind)
    model = network_run.name
    browser.open()
    browser.set("#model", model)
    browser.choose(file)
    browser.wait_for_results(1)
    (notice,) = browser.texts(".notices .notice")
    assert notice.startswith("This image is not like the training pictures (farther away than 99 %")
    assert browser.texts(".verdict") == ["no answer"]
    # Neither text nor keys show what the model would say.
    browser.press("m")
    card = browser.texts(".card")[0]
    assert "%" not in card.replace("99 %", "")
    assert "lesion" not in card
    browser.click(".reveal")
    expected = json.loads(
        urllib.request.urlopen(
            urllib.request.Request(
                f"{browser.address}/api/v1/classify?model={model}",
                file.read_bytes(),
                {"Content-Type": "image/jpeg"},
            )
        ).read()
    )["predictions"][0]
    assert expected["familiar"] is False
    assert browser.probabilities() == [expected["probabilities"]]
    assert all(text.endswith("%") for text in browser.texts(".bars .number"))
    assert browser.texts(".verdict") == [f"{expected['label']} (do not believe it)"]
    assert browser.texts(".card .worth") == [""]
    # The focus is on the answer, not lost with the button.
    assert browser.run("return document.activeElement.className") == "verdict"
    browser.click("[data-example='2']")
    browser.wait_for_results(2)
    assert browser.texts(".verdict")[1] in ("lesion", "no_lesion")


def test_results_are_saved_as_csv_and_json(browser: Browser, place: Place, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    folder = {"behavior": "allow", "downloadPath": str(tmp_path / "saved")}
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", folder)
    browser.open()
    browser.choose(place.images[0], tmp_path / "bad.png")
    browser.wait_for_results(2)
    for name in ("csv", "json"):
        browser.click(f"#save-{name}")
    saved = [tmp_path / "saved" / f"predictions.{name}" for name in ("csv", "json")]
    until = time.monotonic() + SECONDS
    # Chromium makes an empty file first.
    while not all(path.exists() and path.stat().st_size for path in saved):
        assert time.monotonic() < until
        time.sleep(0.05)
    good, bad = json.loads(saved[1].read_text())
    (expected,) = predicted(place.runs[0], place.images[0])
    assert good == {**expected, "path": place.images[0].name}
    assert bad["error"].startswith("not a JPEG")
    first, second = csv.DictReader(saved[0].open())
    assert float(first["p_lesion"]) == expected["probabilities"]["lesion"]
    assert (second["path"], second["label"]) == ("bad.png", "")
    # The columns are the command's, and the guards are among them.
    command = ["predict", str(place.runs[0]), str(place.images[0]), "--format", "csv"]
    (row,) = csv.DictReader(CliRunner().invoke(cli, command).stdout.splitlines())
    assert list(first) == list(row)
    assert first["known"] == row["known"] == "bytes"
    assert first["known_path"] == row["known_path"]


def test_images_are_dropped(browser: Browser, place: Place) -> None:
    """Files are dragged from outside; a DICOM file is one of them."""
    files = [place.images[0], place.images[-1]]
    if find_spec("pydicom"):
        from pydicom.data import get_testdata_file

        files.append(Path(str(get_testdata_file("MR_small.dcm", download=False))))
    browser.open()
    browser.drop(*files)
    browser.wait_for_results(len(files))
    assert browser.texts("h3") == [file.name for file in files]
    assert set(browser.texts(".verdict")) <= {"lesion", "no_lesion"}
    shown = "return [...document.querySelectorAll('.stack img')].map((one) => one.naturalWidth)"
    assert all(width >= 64 for width in browser.run(shown))


def test_an_image_is_pasted(browser: Browser) -> None:
    """The picture comes from the system's clipboard."""
    browser.open()
    browser.paste("/examples/1.png")
    browser.wait_for_results(1)
    assert browser.texts(".verdict")[0] in {"lesion", "no_lesion"}
    assert browser.run("return document.querySelector('.stack img').naturalWidth") > 100


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
    """Without a mouse: an example, its map, its nearest pictures, a prevalence, a sorted table."""
    browser.open()
    browser.tab_to("here.dataset.example === '1'")
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert browser.run(outline) == "solid"
    browser.press(ENTER)
    browser.wait_for_results(1)
    browser.tab_to("here.id === 'prevalence'")
    before = browser.texts("#worth")
    browser.press(RIGHT)
    assert browser.texts("#worth") != before
    browser.tab_to("here.parentElement.className === 'map-box'")
    browser.press(ENTER)
    browser.wait("document.querySelector('.map-note').textContent.startsWith('Of ')")
    browser.tab_to("here.className === 'opacity'")
    browser.press(RIGHT)
    assert browser.run("return document.querySelector('canvas.map').style.opacity") == "0.65"
    browser.tab_to("here.parentElement.className === 'neighbours'")
    browser.press(ENTER)
    browser.wait("document.querySelectorAll('.nearest img').length == 8")
    assert browser.texts(".nearest h4") == ["lesion", "no_lesion"]
    names = "return [...document.querySelectorAll('.nearest img')].map((one) => one.alt)"
    expected = [f"training picture of {label}" for label in ("lesion", "no_lesion")]
    assert browser.run(names) == [text for text in expected for _ in range(4)]
    browser.open("/leaderboard")
    browser.tab_to("here.textContent === 'AUC'")
    browser.press(ENTER)
    assert browser.run("return document.activeElement.parentElement.ariaSort") == "descending"


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
    # The colours are those of `freezeframe explain`; the browser rounds them by their opacity.
    colours = np.where((cells > 0)[..., np.newaxis], FOR_CLASS, AGAINST_CLASS)
    assert np.abs(drawn[..., :3] - colours)[strong].max() <= 10
    opacity = 255 * np.minimum(np.abs(cells) / explanation.scale, 1)
    assert np.abs(drawn[..., 3] - opacity).max() <= 1
    browser.press("m")
    assert browser.run(hidden)
    browser.press("m")
    assert not browser.run(hidden)
    browser.set(".opacity", 0.25)
    browser.set(".brightness", 2)
    assert browser.run("return document.querySelector('canvas.map').style.opacity") == "0.25"
    looks = browser.run("return document.querySelector('.stack img').style.filter")
    assert looks == "brightness(2) contrast(1)"
    other = "no_lesion" if explanation.class_name == "lesion" else "lesion"
    browser.set(".map-class", other)
    browser.wait(f"document.querySelector('.scale .high').textContent.startsWith('for {other}')")


def test_prevalence_decides_what_an_answer_is_worth(browser: Browser) -> None:
    browser.open()
    model = json.load(urllib.request.urlopen(browser.address + "/api/v1/models"))["models"][0]
    (score,) = model["scores"]
    sensitivity, specificity = score["sensitivity"][0], score["specificity"][0]
    for percent in (1, 50):
        browser.set("#prevalence-number", percent)
        prevalence = percent / 100
        right = sensitivity * prevalence
        ppv = right / (right + (1 - specificity) * (1 - prevalence))
        (text,) = browser.texts("#worth")
        assert text.startswith(f"If {percent} in 100 have lesion, {100 * ppv:.1f} % (")
        assert 'of the answers "lesion" are right (PPV), and ' in text


def test_the_leaderboard_is_sorted_by_a_heading(browser: Browser) -> None:
    browser.open("/leaderboard")
    names = ["rank", "head", "grade", "accuracy", "AUC", "sensitivity", "specificity"]
    assert [text.split()[0] for text in browser.texts("thead th")] == [*names, "Brier"]
    browser.wait("document.querySelector('th button')")
    # Each column begins with its best rows.
    for column, best_is_high in ((1, False), (5, True), (8, False)):
        values = f"return [...document.querySelectorAll('td:nth-child({column})')]"
        for falling in (best_is_high, not best_is_high):
            browser.click(f"th:nth-child({column}) button")
            order = browser.run(f"return document.querySelector('th:nth-child({column})').ariaSort")
            assert order == ("descending" if falling else "ascending")
            shown = browser.run(f"{values}.map((cell) => +cell.dataset.value)")
            assert shown == sorted(shown, reverse=falling)
            assert len(shown) == 2


def answers_of_all_kinds(browser: Browser, network_run: Path, place: Place, bad: Path) -> None:
    """Fill the first page with every kind of answer, all its parts open."""
    browser.choose(bad, place.images[0])
    browser.click(".example")
    browser.wait_for_results(3)
    browser.set("#model", network_run.name)
    browser.choose(photograph("flower"), photograph("flower"))
    browser.wait_for_results(5)
    browser.click(".reveal:not([hidden])")
    browser.run("for (const box of document.querySelectorAll('details')) box.open = true")
    browser.wait("document.querySelectorAll('.nearest img').length == 16")
    drawn = "[...document.querySelectorAll('.map-note')].filter((one) => one.textContent[0] == 'O')"
    browser.wait(f"{drawn}.length == 3")


def test_pages_fit_and_have_no_fault_for_screen_readers(
    browser: Browser, place: Place, network_run: Path, tmp_path: Path
) -> None:
    """No page is wider than the window, and axe-core finds no violation on any."""
    axe = pytest.importorskip("axe_core_python.selenium", reason="axe-core is not installed").Axe()
    # What passes is not described, which takes most of the time.
    only = {"resultTypes": ["violations"]}
    (tmp_path / "bad.png").write_bytes(b"no image")
    run = f"/leaderboard/{place.runs[0].name}/{next(iter(read_predictions(place.runs[0])))}"
    for path in (*PAGES, run):
        browser.open(path)
        if path == "/":
            answers_of_all_kinds(browser, network_run, place, tmp_path / "bad.png")
        for width, dark in ((1200, False), (360, True)):
            browser.show(width=width, dark=dark)
            assert browser.run("return document.documentElement.scrollWidth") <= width, path
            colour = browser.run("return getComputedStyle(document.body).backgroundColor")
            # Reports have white plots, and are white themselves.
            if not path.startswith("/data/"):
                assert (sum(map(int, colour[4:-1].split(","))) < 200) == dark, path
            violations = axe.run(browser.driver, options=only)["violations"]
            faults = [(rule["id"], rule["nodes"][0]["html"]) for rule in violations]
            assert faults == [], (path, width)
