"""Findings on real files: small image sets that go through explore, audit and the fits."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from freezeframe.__main__ import cli
from freezeframe.classify.study.report.choice import choose_row
from freezeframe.classify.study.report.findings.table import FINDINGS, look_for_findings
from freezeframe.classify.study.report.study import Study

N_EACH = 102
"""Images of each class: a few more than a validation needs."""


def call(*arguments: object) -> None:
    done = CliRunner().invoke(cli, list(map(str, arguments)))
    assert done.exit_code == 0, done.output


def draw(path: Path, rng: np.random.Generator, column: int) -> None:
    """Write an image of coarse noise, with a bright square at a column."""
    pixels = rng.integers(0, 90, (6, 7)).repeat(6, axis=0).repeat(6, axis=1).astype(np.uint8)
    pixels[12:22, column : column + 10] = 235
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


class RealStudy:
    """A folder of images, and a study that real commands filled from it."""

    def __init__(self, place: Path) -> None:
        self.scans = place / "scans"
        self.folder = place / "study"

    def explore(self, source: Path | None = None) -> None:
        call("explore", source or self.scans, "--output", self.folder / "explore")

    def audit(self, *arguments: object) -> None:
        call("audit", *(arguments or [self.scans]), "--output", self.folder / "audit")

    def fit(self, *options: object) -> None:
        board = ("--leaderboard", self.folder / "leaderboard.csv", "--runs", self.folder / "runs")
        call("fit-classifier", self.folder / "training.h5", *options, *board)

    def listed(self, lines: list[str]) -> Path:
        """Write a list of images beside their folder."""
        path = self.scans.parent / "list.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    def codes(self) -> set[str]:
        read = Study.read(self.folder)
        results = look_for_findings(read, choose_row(read))
        assert not read.problems
        return {result.kind.code for result in results if result.evidence}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> RealStudy:
    """A set in which the square's place is the class, and nothing else tells it."""
    study = RealStudy(tmp_path_factory.mktemp("clean"))
    rng = np.random.default_rng(0)
    for label, column in (("left", 3), ("right", 27)):
        for number in range(N_EACH):
            draw(study.scans / label / f"{number:03}.png", rng, column)
    study.explore()
    study.audit()
    store = study.folder / "training.h5"
    call(
        "extract-features",
        study.scans,
        "--output",
        store,
        "--backbone",
        "pixels-8",
        "--layer",
        "pixels",
    )
    # A head that searches nothing cannot end at the edge of its search.
    chosen = ("--cv", 2, "--model", "logreg", "--param", "C=0.001")
    study.fit(*chosen, "--stress")
    study.fit(*chosen, "--control", "shuffled-labels")
    study.fit("--cv", 2, "--model", "majority")
    study.fit("--cv", 2, "--model", "logreg", "--param", "C=0.001", "--seed", 1)
    return study


@pytest.fixture
def study(clean: RealStudy, tmp_path: Path) -> RealStudy:
    """A copy of the clean set and its study, to be spoiled."""
    shutil.copytree(clean.scans.parent, tmp_path, dirs_exist_ok=True)
    return RealStudy(tmp_path)


def test_a_clean_set_has_no_finding_and_was_looked_at_for_all(clean: RealStudy) -> None:
    read = Study.read(clean.folder)
    results = look_for_findings(read, choose_row(read))
    assert {result.kind.code: result.result for result in results} == dict.fromkeys(
        FINDINGS, "not found"
    )


def copies_across_splits(study: RealStudy) -> None:
    """Save an image of the training part again, as a test image."""
    with Image.open(study.scans / "left" / "000.png") as image:
        image.save(study.scans / "left" / "again.jpg", quality=80)
    lines = ["path,label,split", "scans/left/again.jpg,left,test"]
    lines += [f"scans/left/{number:03}.png,left,train" for number in range(9)]
    study.audit(study.listed(lines))


def copies_in_two_sets(study: RealStudy) -> None:
    """Take a test set of which one image is known."""
    shutil.copytree(study.scans / "left", study.scans.parent / "new" / "left")
    for path in sorted(study.scans.glob("left/*"))[1:]:
        (study.scans.parent / "new" / "left" / path.name).unlink()
    study.audit(study.scans, "--against", study.scans.parent / "new")


def patient_on_both_sides(study: RealStudy) -> None:
    """Give two images of one patient different splits."""
    lines = ["path,label,patient,split", "scans/left/000.png,left,p0,test"]
    lines += [f"scans/left/{n:03}.png,left,p{n // 2},train" for n in range(1, 9)]
    study.audit(study.listed(lines), "--group-column", "patient")


def two_labels(study: RealStudy) -> None:
    """Copy an image into the other class."""
    shutil.copy(study.scans / "left" / "000.png", study.scans / "right" / "copied.png")
    study.audit()


def sizes(study: RealStudy) -> None:
    """Save the images of one class larger."""
    for path in study.scans.glob("right/*.png"):
        with Image.open(path) as image:
            image.resize((84, 72)).save(path)
    study.explore()


def formats(study: RealStudy) -> None:
    """Save the images of one class as JPEG."""
    for path in study.scans.glob("right/*.png"):
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"))
        path.unlink()
    study.explore()


def few_images(study: RealStudy) -> None:
    """Fit on a few images of each class."""
    for path in [*study.scans.glob("*/*.png")]:
        if int(path.stem) >= 30:
            path.unlink()
    store = study.folder / "training.h5"
    store.unlink()
    call(
        "extract-features",
        study.scans,
        "--output",
        store,
        "--backbone",
        "pixels-8",
        "--layer",
        "pixels",
    )
    study.fit("--cv", 2, "--model", "logreg", "--param", "C=0.001")
    board = study.folder / "leaderboard.csv"
    header, *_, last = board.read_text().splitlines()
    board.write_text(f"{header}\n{last}\n")


def edge_of_search(study: RealStudy) -> None:
    """Search on images that say all: the least penalty is the best."""
    study.fit("--cv", 2, "--model", "ridge")


def mean_brightness(study: RealStudy) -> None:
    """Fit a head that sees the mean of all places, of which both classes have the same."""
    study.fit("--cv", 2, "--model", "knn", "--param", "n_neighbors=5")


TRIGGERS: dict[str, list[Callable[[RealStudy], None]]] = {
    "copies-across-splits": [copies_across_splits, copies_in_two_sets],
    "patient-on-both-sides": [patient_on_both_sides],
    "two-labels": [two_labels],
    "shortcut": [sizes, formats],
    "few-independent-images": [few_images],
    "edge-of-search": [edge_of_search],
    "worse-than-majority": [mean_brightness],
}


@pytest.mark.parametrize(
    ("code", "spoil"),
    [(code, spoil) for code, spoils in TRIGGERS.items() for spoil in spoils],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_spoilt_set_has_its_finding_and_no_other(
    study: RealStudy, code: str, spoil: Callable[[RealStudy], None]
) -> None:
    spoil(study)
    assert study.codes() == {code}
