"""Add one of each kind to a copy of the package, in at most two files, and see it work."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ..conftest import MakeStore
from .sources import ROOMS, ROOT, package_files

MOST_FILES = 2

HEAD = '''"""Nearest class mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..matrix import Folds, Matrix
from .arrays import Arrays, checked_array
from .base import Head


class NearestMean(Head):
    """Scores a class by the squared distance to its mean."""

    name = "nearest-mean"
    pooling = "avg"

    def fit(
        self, X: Matrix, y: NDArray[np.intp], n_classes: int, *, seed: int = 0, folds: Folds = ()
    ) -> None:
        features = np.asarray(X, dtype=np.float64)
        self._means = np.stack([features[y == label].mean(axis=0) for label in range(n_classes)])

    def scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return -((X[:, None].astype(np.float64) - self._means) ** 2).sum(axis=2)

    @property
    def arrays(self) -> Arrays:
        return {"means": self._means}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._means = checked_array(arrays, "means", 2, np.float64)
'''

METRIC = '''def kappa(confusion: Confusion) -> Floats:
    """Compute Cohen's kappa: agreement beyond chance."""
    chance = (confusion.actual * confusion.called).sum(axis=1) / confusion.total**2
    return ratio(accuracy(confusion) - chance, 1 - chance)


'''

READER = '''"""PPM files decoded to RGB arrays."""

import numpy as np

from .limits import check_size


class PpmReader:
    """Reader of binary PPM files of 8 bits."""

    def decode(self, data, *, max_pixels):
        """Decode a file's content into RGB."""
        _, width, height, _, pixels = data.split(maxsplit=4)
        check_size(int(width), int(height), max_pixels)
        shape = (int(height), int(width), 3)
        return np.frombuffer(pixels, np.uint8).reshape(shape).copy()

    def mode(self, data):
        """Return how a file keeps its pixels."""
        return "RGB"
'''

COMMAND = '''"""The command `freezeframe count`."""

import click


@click.command()
@click.argument("folder")
def count(folder):
    """Count the images of each class."""
    from ..manifest import read_manifest

    for label, n in read_manifest(folder).classes.items():
        click.echo(f"{label}: {n}")
'''

COMMANDS = """
import json, sys
from freezeframe.__main__ import cli

for line in json.loads(sys.argv[1]):
    try:
        cli(line)
    except SystemExit as end:
        if end.code:
            raise
"""

Edits = dict[str, str | list[tuple[str, str]]]


class Copy:
    """A copy of the package in a folder of its own, with some files added or changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = folder / "copy" / "freezeframe"
        for file in [*package_files(), *(ROOT / room / "FORMAT.md" for room in ROOMS)]:
            # With the compiled files, so that only what is edited is compiled again.
            compiled = Path(cache_from_source(str(file)))
            for one in (file, compiled):
                if one.exists():
                    target = self.package / one.relative_to(ROOT)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(one, target)

    def edit(self, edits: Edits) -> None:
        """Write new files, and replace text in existing ones; at most two files in all."""
        assert len(edits) <= MOST_FILES
        for name, change in edits.items():
            path = self.package / name
            if isinstance(change, str):
                assert not path.exists()
                path.write_text(change)
                continue
            text = path.read_text()
            for old, new in change:
                assert text.count(old) == 1, (name, old)
                text = text.replace(old, new)
            path.write_text(text)

    def run(self, *arguments: object) -> str:
        """Run Python on the copy, and return its standard output."""
        process = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.package.parent)},
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    def commands(self, *lines: Sequence[object]) -> str:
        """Run commands of the copy in one process, and return their standard output."""
        return self.run("-c", COMMANDS, json.dumps(lines, default=str))


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """An unchanged copy."""
    return Copy(tmp_path)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_copy_is_what_runs(copy: Copy) -> None:
    file = copy.run("-c", "import freezeframe; print(freezeframe.__file__)").strip()
    assert file == str(copy.package / "__init__.py")


def test_a_head_is_a_file_and_a_row(copy: Copy, folder: Path) -> None:
    first = "from .neighbours import"
    copy.edit(
        {
            "classify/heads/means.py": HEAD,
            "classify/heads/table.py": [
                (first, f"from .means import NearestMean\n{first}"),
                (
                    "    LinearDiscriminant,\n    Naive",
                    "    NearestMean,\n    LinearDiscriminant,\n    Naive",
                ),
            ],
        }
    )
    shown = copy.commands(
        ["extract-features", folder, "--backbone", "pixels-8", "--layer", "pixels"],
        ["fit-classifier", "--model", "nearest-mean", "--model", "majority"],
        ["leaderboard"],
    )
    board = rows_of(copy.folder / "leaderboard.csv")
    accuracies = {row["head"]: float(row["accuracy"]) for row in board}
    assert accuracies["nearest-mean"] > accuracies["majority"]
    assert "nearest-mean" in shown.partition("rank ")[2]
    (model,) = copy.folder.glob("runs/*nearest-mean*/model.safetensors")
    image = folder / "tumour" / "03.png"
    (prediction,) = json.loads(copy.commands(["predict", model, image, "--format", "json"]))
    assert prediction["label"] == "tumour"


def test_a_metric_is_a_row_with_its_formula_and_a_number(copy: Copy, make_store: MakeStore) -> None:
    schema = (ROOT / "classify" / "runs" / "schema.py").read_text()
    number = next(line for line in schema.splitlines() if line.startswith("SCHEMA = "))
    row = '    Metric("kappa", "kappa", "classes", kappa, unit="number", negative=True),\n'
    copy.edit(
        {
            "classify/scores/metrics.py": [
                ("# Formulas of the ranking", f"{METRIC}# Formulas of the ranking"),
                ('    Metric("roc_auc"', f'{row}    Metric("roc_auc"'),
            ],
            "classify/runs/schema.py": [(number, f"SCHEMA = {int(number.split()[-1]) + 1}")],
        }
    )
    shutil.copy(ROOT / "tests" / "golden" / "leaderboard-v2.csv", copy.folder / "leaderboard.csv")
    store = make_store("a.h5", ["sick", "well"] * 30)
    shown = copy.commands(
        ["fit-classifier", store, "--model", "logreg"], ["leaderboard", "--sort", "kappa"]
    )
    *old, new = rows_of(copy.folder / "leaderboard.csv")
    assert old
    assert {row["kappa"] for row in old} == {""}
    assert float(new["kappa_low"]) <= float(new["kappa"]) <= float(new["kappa_high"])
    assert "kappa" in shown.split()


def test_an_image_format_is_a_reader_and_a_row(copy: Copy) -> None:
    row = '    ImageFormat("PPM", (".ppm",), rb"P6\\s", PpmReader()),\n'
    copy.edit(
        {
            "data/formats/ppm.py": READER,
            "data/formats/table.py": [
                ("from .pillow import", "from .ppm import PpmReader\nfrom .pillow import"),
                ('    ImageFormat("GIF"', f'{row}    ImageFormat("GIF"'),
            ],
        }
    )
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    for label in ("sick", "well"):
        path = copy.folder / "images" / label / "a.ppm"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"P6 3 2 255\n" + pixels.tobytes())
    code = "from freezeframe import read_image; print(read_image('images/sick/a.ppm').tolist())"
    assert copy.run("-c", code).strip() == str(pixels.tolist())
    shown = copy.commands(
        ["extract-features", "images", "--backbone", "pixels-8", "--layer", "pixels"]
    )
    assert shown == "features.h5: 2 of 2 images, pixels 8 x 8 x 3\n"


def test_a_command_is_a_file_and_a_row(copy: Copy, folder: Path) -> None:
    copy.edit(
        {
            "data/commands/count.py": COMMAND,
            "__main__.py": [
                ('    "split": ', '    "count": ".data.commands.count:count",\n    "split": ')
            ],
        }
    )
    shown = copy.commands(["--help"], ["count", folder])
    assert "Count the images of each class." in shown
    assert shown.endswith("healthy: 12\ntumour: 12\n")


def test_a_backbone_is_a_row(copy: Copy, folder: Path) -> None:
    """A network of one block, as VGG16's first; its weights are random, so it has no file."""
    row = """
_BLOCK = {"block1_conv1": (224, 224, 64), "block1_pool": (112, 112, 64)}
_TENSORS = {"block1_conv1/kernel": (3, 3, 3, 64), "block1_conv1/bias": (64,)}
BACKBONES["one-block"] = Backbone(
    "one-block", "OneBlock", "caffe", (224, 224), _BLOCK, _TENSORS, "0" * 64
)
"""
    table = '"""Networks by name."""\n'
    copy.edit({"extract/backbones/table.py": [(table, table + row)]})
    extract = ["extract-features", folder, "--backbone", "one-block", "--layer", "block1_pool"]
    options = ["--weights", "random", "--engine", "mnn", "--dtype", "float16"]
    shown = copy.commands([*extract, *options], ["store", "info", "features.h5"])
    assert shown.startswith("features.h5: 24 of 24 images, block1_pool 112 x 112 x 64\n")
    assert "one-block" in shown
