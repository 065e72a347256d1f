"""The names of folders say whether they are splits or classes; a doubt asks for --layout."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from freezeframe import FeatureStore, FreezeframeError, ManifestError, ParameterError
from freezeframe.__main__ import cli
from freezeframe.classify.fit.image_stores import ImageStores
from freezeframe.classify.heads.architectures import find_architecture
from freezeframe.data.inspection import inspect
from freezeframe.data.manifest import Manifest, read_manifest
from freezeframe.extract.settings import Settings

Layout = str | None

KERAS = ["training_set/cats", "training_set/dogs", "test_set/cats", "test_set/dogs"]
INNER = ["yes/train", "yes/test", "no/train", "no/test"]
SITES = ["siteA/yes", "siteA/no", "siteB/yes", "siteB/no"]


def make_tree(root: Path, folders: Sequence[str], n: int = 1) -> Path:
    """Write n small images into each folder, every one with its own pixels."""
    rng = np.random.default_rng(0)
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(n):
            pixels = rng.integers(0, 256, (16, 16), np.uint8)
            Image.fromarray(pixels).save(content := BytesIO(), "PNG")
            (root / folder / f"{number}.png").write_bytes(content.getvalue())
    return root


def understood(root: Path, layout: Layout = None) -> set[tuple[str, str]]:
    """Return the pairs (split, class) of all images."""
    images = read_manifest(root, least_classes=1, layout=layout).images
    return {(image.split, image.label) for image in images}


def pairs(splits: str, classes: str) -> set[tuple[str, str]]:
    return {(split, label) for split in splits.split() for label in classes.split()}


def twice(tops: str, classes: str) -> list[str]:
    """Return folders in which each top folder holds every class."""
    return [f"{top}/{label}" for top in tops.split() for label in classes.split()]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        # The layouts of well-known sets: Keras's cats and dogs, Intel's scenes, Kaggle's alphabet.
        (KERAS, pairs("train test", "cats dogs")),
        (twice("train_data test_data", "a b"), pairs("train test", "a b")),
        (
            twice("train_images val_images test_images", "a b"),
            pairs("train validation test", "a b"),
        ),
        (twice("Train-set Test-set", "a b"), pairs("train test", "a b")),
        (twice("TrainingSet ValidSet", "a b"), pairs("train validation", "a b")),
        (twice("trainset testset", "a b"), pairs("train test", "a b")),
        (twice("train2017 val2017", "a b"), pairs("train validation", "a b")),
        (
            [*twice("seg_train/seg_train seg_test/seg_test", "a b"), "seg_pred/seg_pred"],
            pairs("train test", "a b"),
        ),
        (twice("training_set/training_set test_set/test_set", "a b"), pairs("train test", "a b")),
        (twice("train/images test/images", "a b"), pairs("train test", "a b")),
        (twice("asl_alphabet_train asl_alphabet_test", "a b"), pairs("train test", "a b")),
        (twice("dataset/train dataset/test", "a b"), pairs("train test", "a b")),
        (twice("archive/dataset/training dataset_", "a b")[:2], {("", "archive")}),
        (
            twice("archive/data/training_set archive/data/test_set", "a b"),
            pairs("train test", "a b"),
        ),
        (INNER, pairs("train test", "yes no")),
        (["yes/train", "yes/test"], pairs("train test", "yes")),
        (["yes/train/p1", "yes/test/p2"], pairs("train test", "yes")),
        (
            ["yes/yes_train", "yes/yes_test", "no/no_train"],
            {("train", "yes"), ("test", "yes"), ("train", "no")},
        ),
        # These names are no splits.
        (["train_station", "test_tube"], {("", "train_station"), ("", "test_tube")}),
        (twice("pretest posttest", "p1 p2 p3")[:5], {("", "pretest"), ("", "posttest")}),
        (["vehicles/train", "vehicles/car", "pets/cat"], {("", "vehicles"), ("", "pets")}),
        (["yes/images", "no/images"], {("", "yes"), ("", "no")}),
        (["stress_test/p1", "control/p1", "control/p2"], {("", "stress_test"), ("", "control")}),
        # Few folders are shared, or some class has none.
        (["a/young", "a/old", "b/adult", "b/old"], {("", "a"), ("", "b")}),
        (["a/axial", "a/coronal", "b/axial", "b/x", "well"], {("", x) for x in ("a", "b", "well")}),
        # One folder in each class is no wrapper if few of the folders in it are shared.
        (["yes/mri/p1", "yes/mri/p2", "no/mri/p2", "no/mri/p3"], {("", "yes"), ("", "no")}),
        (["yes/p1/scan", "no/p2/scan"], {("", "yes"), ("", "no")}),
        # A folder around classes that hold the splits.
        ([f"dataset/{folder}" for folder in INNER], pairs("train test", "yes no")),
        ([f"archive/data/{folder}/p1" for folder in INNER], pairs("train test", "yes no")),
        (twice("train/yes train/no", "train test"), pairs("train", "yes no")),
        (twice("yes/train/train yes/test/test", "p1"), pairs("train test", "yes")),
        ([*twice("a b", "x y"), "a", "b"], {("", "a"), ("", "b")}),
    ],
)
def test_names_say_which_folders_are_splits(
    tmp_path: Path, folders: list[str], expected: set[tuple[str, str]]
) -> None:
    assert understood(make_tree(tmp_path / "set", folders)) == expected


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            SITES,
            "siteA, siteB hold the same folders, no, yes; choose --layout class if the classes "
            "are siteA, siteB, or --layout split/class if the classes are no, yes",
        ),
        (
            [*twice("seen unseen", "cats dogs"), "unseen/birds"],
            "seen, unseen share most of their folders, birds, cats, dogs; choose --layout class if "
            "the classes are seen, unseen, or --layout split/class if the classes are birds, cats, "
            "dogs",
        ),
        # A site lacks a class; a stray image is beside the folders; patients hold classes 0 and 1.
        ([*twice("a b c", "yes no"), "d/no"], "a, b, c, d share most of their folders, no, yes;"),
        ([*SITES, "siteA"], "siteA, siteB share most of their folders, no, yes;"),
        ([*twice("p1 p2 p3", "0 1"), "p4/0"], "p1, p2, p3, p4 share most of their folders, 0, 1;"),
        # Each top folder holds one folder around the shared ones, or one beside them holds images.
        (twice("seen/seen unseen/unseen", "cats dogs"), "seen, unseen hold the same folders, cats"),
        (twice("siteA/images siteB/images", "tumor normal"), "siteA, siteB hold the same folders"),
        (twice("seen/x unseen/x", "a b"), "--layout split/class if the classes are a, b"),
        (["seen/x/a/p1", "unseen/x/a", "unseen/x/b"], "seen, unseen share most of their folders"),
        (
            [*twice("seen unseen", "cats dogs"), "extra", "more"],
            "seen, unseen hold the same folders, cats, dogs; choose --layout class if the classes "
            "are extra, more, seen, unseen, or",
        ),
        (["set/yes/train", "set/yes/test", "set/no"], "but not all images of no are in such"),
        (
            ["yes/train", "yes/test", "no"],
            "test, train in yes look like splits, but not all images of no are in such folders; "
            "choose --layout class to ignore these folders, or --layout class/split to skip",
        ),
        (
            ["dataset/train/a", "dataset/train/b", "dataset/test/a", "dataset/test/b", "figures"],
            "test, train in dataset look like splits, but not all images of figures are",
        ),
        (
            ["train_images", "test_images", "sample"],
            "test_images, train_images look like splits, but hold no class folders; "
            "add class folders, rename them, or take them as classes with --layout class",
        ),
        (
            ["healthy_train", "healthy_test", "ill_train", "ill_test"],
            "healthy_test, healthy_train, ill_test, ill_train look like splits, but hold no class",
        ),
        (
            [*KERAS, "holdout/cats"],
            "test_set, training_set look like splits, but holdout beside them does not; "
            "move it away, list the images in a CSV, or take all of them as classes with --layout",
        ),
    ],
)
def test_a_doubt_is_an_error_that_names_the_choices(
    tmp_path: Path, folders: list[str], message: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(make_tree(tmp_path / "set", folders))
    assert message in str(caught.value)


def test_the_user_chooses_the_layout(tmp_path: Path) -> None:
    sites = make_tree(tmp_path / "sites", SITES)
    assert understood(sites, "class") == pairs("", "siteA siteB") | {("", "siteA"), ("", "siteB")}
    assert understood(sites, "split/class") == {("", "yes"), ("", "no")}
    assert "siteA, siteB name no split" in read_manifest(sites, layout="split/class").notes[0]
    keras = make_tree(tmp_path / "keras", KERAS)
    assert understood(keras, "class") == {("", "training_set"), ("", "test_set")}
    some = make_tree(tmp_path / "some", ["yes/train", "yes/test", "no/train", "no"])
    assert understood(some, "class") == {("", "yes"), ("", "no")}
    manifest = read_manifest(some, layout="class/split")
    assert manifest.skipped == (("no/0.png", "not in a folder of a split"),)
    assert len(manifest.images) == 3
    wrapped = make_tree(tmp_path / "wrapped", [f"dataset/{folder}" for folder in INNER])
    assert understood(wrapped, "class/split") == pairs("train test", "yes no")
    assert understood(wrapped, "split/class") == {("", "yes"), ("", "no")}
    for folders in (twice("seen/seen unseen/unseen", "a b"), twice("seen/x/y unseen/x", "a b")):
        chains = make_tree(tmp_path / folders[0].replace("/", "-"), [*folders, "extra"])
        assert understood(chains, "split/class") == {("", "a"), ("", "b")}
        assert understood(chains, "class") == {("", "seen"), ("", "unseen"), ("", "extra")}
    with pytest.raises(ManifestError, match="no folder in a class names a split; name them train"):
        read_manifest(sites, layout="class/split")
    with pytest.raises(ParameterError, match="layout must be one of class, split/class, class/sp"):
        read_manifest(sites, layout="classes")
    (tmp_path / "list.csv").write_text("path,label\nsites/siteA/yes/0.png,a\n")
    with pytest.raises(
        ParameterError, match=r"list\.csv: a list has no folders; leave out --layout"
    ):
        read_manifest(tmp_path / "list.csv", layout="class")


def test_each_command_says_what_it_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_tree(Path("keras"), KERAS, n=4)
    make_tree(Path("sites"), SITES, n=4)

    def call(name: str, folder: str, *arguments: str) -> str:
        result = CliRunner().invoke(cli, [name, folder, *arguments], prog_name="freezeframe")
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.stderr

    def stop(*_: object, **__: object) -> None:
        raise FreezeframeError("no plots are drawn here")

    with monkeypatch.context() as patch:
        patch.setattr(inspect, "inspect_images", stop)
        explored = call("explore", "keras", "--output", "report")
    assert "choose --layout class if" in call("explore", "sites", "--output", "report")
    commands = {
        "audit": ["--output", "audited"],
        "split": ["--test", "0.5", "--output", "split.csv"],
        "extract-features": ["--backbone", "pixels-8", "--layer", "pixels", "--output", "a.h5"],
    }
    note = "note: folders are read as splits: test_set as test, training_set as train; --layout"
    assert note in explored
    for name, arguments in commands.items():
        assert note in call(name, "keras", *arguments), name
        assert "choose --layout class if" in call(name, "sites", *arguments[:-1], "other.h5"), name
    # The classes are those of the authors, and so are the splits.
    store = FeatureStore(Path("a.h5"))
    found = Counter(zip(store.splits.tolist(), store.labels.tolist(), strict=True))
    assert found == dict.fromkeys(pairs("train test", "cats dogs"), 4)
    with Path("split.csv").open() as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"cats", "dogs"}


def test_networks_read_folders_in_the_same_way(tmp_path: Path) -> None:
    manifests = []

    def extract(manifest: Manifest, path: Path, settings: Settings) -> FeatureStore:
        manifests.append(manifest)
        raise FreezeframeError("nothing is computed here")

    network = find_architecture("simple")
    stores = ImageStores(tmp_path, network, extract, layout="split/class")
    for read in (partial(stores.training, size=None), stores.testing):
        with pytest.raises(FreezeframeError, match="nothing is computed"):
            read(make_tree(tmp_path / "sites", SITES))
    assert [manifest.classes for manifest in manifests] == [{"no": 2, "yes": 2}] * 2
    (tmp_path / "list.csv").write_text("path,label\na.png,a\nb.png,b\n")
    with pytest.raises(ParameterError, match="a list has no folders"):
        stores.training(tmp_path / "list.csv", None)
    with pytest.raises(FreezeframeError, match="nothing is computed"):
        stores.testing(tmp_path / "list.csv")
