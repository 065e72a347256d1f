"""The map of features: similar images are close, all are listed, and thumbnails are spread out."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from sklearn.decomposition import PCA

from freezeframe import FeatureStore
from freezeframe.data.fingerprints import fingerprint
from freezeframe.features.exports import feature_map as maps

from ..conftest import MakeStore
from .stores import call, damage

LABELS = ["x", "$y$", "x", "<b>", "$y$", "x", "x"]


def test_the_command_draws_a_map(make_store: MakeStore, tmp_path: Path) -> None:
    pictures = [fingerprint(np.full((8, 8, 3), 30 * i, np.uint8)) for i in range(len(LABELS))]
    path = make_store("a.h5", LABELS, failed=1, fingerprints=pictures)
    result = call("map", path, "--output", tmp_path / "map")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{tmp_path / 'map' / 'map.png'}: 6 images by block5_pool\n"
    width, height = Image.open(tmp_path / "map" / "map.png").size
    assert width == 2 * height
    lines = list(csv.DictReader((tmp_path / "map" / "map.csv").open(newline="")))
    store = FeatureStore(path)
    assert [line["path"] for line in lines] == [store.paths[row] for row in store.rows()]
    assert [line["label"] for line in lines] == [store.labels[row] for row in store.rows()]


def test_places_are_principal_components(make_store: MakeStore) -> None:
    store = FeatureStore(make_store("a.h5", LABELS * 3))
    places = maps.feature_map(store, "block3_pool", pooling="max")
    model = PCA(2, svd_solver="full")
    expected = model.fit_transform(store.features("block3_pool", None, "max").astype(float))
    # The sign of a component is free.
    assert np.abs(places.points) == pytest.approx(np.abs(expected), rel=1e-4, abs=1e-4)
    assert places.shares == pytest.approx(model.explained_variance_ratio_, rel=1e-4)


def test_too_few_images_and_damage_are_one_line(make_store: MakeStore, tmp_path: Path) -> None:
    few = call("map", make_store("few.h5", ["x", "y"]), "--output", tmp_path / "map")
    assert few.exit_code == 1
    assert few.stderr.endswith(
        "has 2 images with features, and a map needs three; extract more images\n"
    )
    path = make_store("a.h5", LABELS)
    damage(path, 1)
    damaged = call("map", path, "--output", tmp_path / "map")
    assert damaged.exit_code == 1
    assert damaged.stderr.count("\n") == 1
    unknown = call("map", path, "--layer", "block9", "--output", tmp_path / "map")
    assert unknown.exit_code == 2
    assert not (tmp_path / "map").exists()


def test_of_many_images_a_sample_is_drawn(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "MOST_MAPPED", 4)
    result = call("map", make_store("a.h5", LABELS), "--output", tmp_path / "map")
    assert result.stdout.endswith(": 4 images by block5_pool, a random sample; 3 are left out\n")
    assert len((tmp_path / "map" / "map.csv").read_text().splitlines()) == 5
    # This store has no thumbnails: there is nothing to draw beside the points.
    width, height = Image.open(tmp_path / "map" / "map.png").size
    assert width == height


@given(arrays(np.float64, st.tuples(st.integers(3, 200), st.just(2)), elements=st.floats(-9, 9)))
def test_thumbnails_have_a_cell_each(points: np.ndarray) -> None:
    chosen = maps.spread_out(points)
    low, high = points.min(axis=0), points.max(axis=0)
    cells = np.floor((points - low) / np.maximum(high - low, 1e-300) * maps.GRID)
    cells = np.minimum(cells, np.array(maps.GRID) - 1)
    assert len(np.unique(cells[chosen], axis=0)) == len(chosen) == len(np.unique(cells, axis=0))
