"""Patients and groups as relatives: across stores, merged stores, lists, and networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from freezeframe import FeatureStore, FreezeframeError
from freezeframe.__main__ import cli
from freezeframe.classify.task.relatives import UNKNOWN, all_relatives, relatives
from freezeframe.classify.task.task import make_task
from freezeframe.data.fingerprints import fingerprint
from freezeframe.data.groups import (
    COMMON,
    OWN,
    GroupNames,
    is_digest,
    join_names,
    patient_digest,
    split_names,
)
from freezeframe.data.manifest import read_manifest
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.settings import Settings
from freezeframe.features.copies.merge import merge

from ..conftest import MakeStore
from ..features.stores import as_version

PIXELS = Settings(backbone="pixels-8", layers=("pixels",), dtype="float16")
N_PATIENTS = 12
LABELS = ["lesion", "no_lesion"]
Pictures = Callable[[int, int], dict[str, Any]]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: object) -> Result:
    """Run freezeframe in this process."""
    return CliRunner().invoke(cli, list(map(str, arguments)), prog_name="freezeframe")


def dicom(path: Path, pixels: np.ndarray, patient: str) -> None:
    """Write a small uncompressed DICOM file."""
    pydicom = pytest.importorskip("pydicom", minversion="3")
    from pydicom.dataset import Dataset, FileMetaDataset

    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    header.PatientID = patient
    header.PhotometricInterpretation = "MONOCHROME2"
    header.SamplesPerPixel = 1
    header.Rows = pixels.shape[0]
    header.Columns = pixels.shape[1]
    header.BitsAllocated = 8
    header.BitsStored = 8
    header.HighBit = 7
    header.PixelRepresentation = 0
    header.PixelData = pixels.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Two DICOM folders, train and test: another slice of each of twelve patients in both."""
    rng = np.random.default_rng(0)
    for side in ("one", "two"):
        for number in range(N_PATIENTS):
            label = LABELS[number % 2]
            pixels = rng.integers(0, 256, (24, 24))
            dicom(tmp_path / side / label / f"{number}.dcm", pixels, f"ID {number}")
    return tmp_path


def store_of(source: Path, **options: str) -> FeatureStore:
    """Extract the pixels of a folder or list."""
    manifest = read_manifest(source, **options)  # type: ignore[arg-type]
    return extract_features(manifest, f"{source.stem}.h5", PIXELS).store


def test_a_patient_in_two_stores_is_a_relative(studies: Path) -> None:
    for side in ("one", "two"):
        store_of(studies / side)
    audited = run("audit", "one.h5", "--against", "two.h5", "--strict")
    assert audited.exit_code == 3
    assert "12 of 12 images of two have a relative in one (12 same group)" in audited.stdout
    fitted = run("fit-classifier", "one.h5", "--test", "two.h5", "--model", "knn")
    assert fitted.exit_code == 3
    row = pd.read_csv("leaderboard.csv").iloc[0]
    assert (row.n_test, row.n_test_leaking, row.n_test_clean) == (12, 12, 0)
    assert np.isnan(row.clean_accuracy)


@pytest.mark.slow
def test_a_patient_in_two_folders_is_a_relative_for_a_network(studies: Path) -> None:
    options = ("--size", 32, "--epochs", 1, "--arch", "simple")
    fitted = run("fit-cnn", "one", "--test", "two", *options)
    assert fitted.exit_code == 3, fitted.output
    row = pd.read_csv("leaderboard.csv").iloc[0]
    assert (row.n_test_leaking, row.n_test_clean) == (12, 0)


@pytest.fixture(scope="session")
def pictures_of() -> Pictures:
    """A function that makes digests and fingerprints of n different pictures."""

    def make(n: int, first: int) -> dict[str, Any]:
        prints = []
        for seed in range(first, first + n):
            noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            prints.append(fingerprint(np.kron(noise, np.ones((8, 8, 1), np.uint8))))
        return {
            "sha256s": [f"{seed:064x}" for seed in range(first, first + n)],
            "fingerprints": prints,
        }

    return make


def write_list(path: Path, rows: Sequence[tuple[str, str, str]], column: str) -> Path:
    """Write a list of (path, label, group)."""
    lines = [f"path,label,{column}", *(",".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_stores_keep_what_a_group_column_named(studies: Path) -> None:
    # PNG files: the column alone knows the patient.
    from PIL import Image

    rng = np.random.default_rng(1)
    for side in ("png1", "png2"):
        rows = []
        for number in range(N_PATIENTS):
            file = studies / side / f"{number}.png"
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(file)
            rows.append((f"{side}/{number}.png", LABELS[number % 2], f"p{number}"))
        store = store_of(write_list(studies / f"{side}.csv", rows, "pid"), group_column="pid")
        assert store.patients.tolist() == [f"p{number}" for number in (0, 1, 10, 11, *range(2, 10))]
        assert set(store.groups) == {""}
        assert store.provenance["group_source"] == "column pid"
    crossing = "12 of 12 images of png2.csv have a relative in png1.csv"
    lists = run("audit", "png1.csv", "--against", "png2.csv", "--group-column", "pid")
    assert crossing in lists.stdout
    assert crossing in run("audit", "png1.h5", "--against", "png2.h5").stdout
    fitted = run("fit-classifier", "png1.h5", "--test", "png2.h5", "--model", "knn")
    assert fitted.exit_code == 3
    # A merged store keeps the meaning of its groups, too.
    merge("all.h5", ["png2.h5"])
    assert run("fit-classifier", "png1.h5", "--test", "all.h5", "--model", "knn").exit_code == 3


def test_a_group_of_a_list_does_not_hide_the_patient(studies: Path) -> None:
    # Each study is one image, so that only PatientIDs join the two images of a patient.
    rows = [
        (f"{side}/{LABELS[number % 2]}/{number}.dcm", LABELS[number % 2], f"{side}-{number}")
        for side in ("one", "two")
        for number in range(N_PATIENTS)
    ]
    source = write_list(studies / "list.csv", rows, "study")
    done = run("split", source, "--group-column", "study", "--output", "split.csv", "--test", 0.4)
    assert done.exit_code == 0, done.output
    sides: dict[str, set[str]] = {}
    for image in read_manifest("split.csv").images:
        # The list keeps the study, and the digest of the patient.
        (digest,) = filter(is_digest, split_names(image.patient))
        sides.setdefault(digest, set()).add(image.split)
    assert len(sides) == N_PATIENTS
    assert all(len(names) == 1 for names in sides.values())
    # A store of the list chains both, too.
    store = store_of(source, group_column="study")
    assert len(set(make_task(store).train.groups) | {-1}) - 1 < len(make_task(store).train.rows)


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """Two lists of PNG files, trn.csv and tst.csv: a slice of each of twelve patients in both."""
    from PIL import Image

    rng = np.random.default_rng(2)
    for side in ("trn", "tst"):
        lines = ["path,label,group,patient_id"]
        for number in range(N_PATIENTS):
            path = tmp_path / side / f"p{number:02}_{side}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)
            study = f"{side}-{number}"
            lines.append(f"{side}/{path.name},{LABELS[number % 2]},{study},p{number:02}")
        (tmp_path / f"{side}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


CROSSING = "12 of 12 images of {} have a relative in {} (12 same group)"


@pytest.mark.parametrize("options", [("--group-column", "patient_id"), ("--group-regex", r"p\d+")])
def test_lists_of_split_keep_what_names_mean(slices: Path, options: tuple[str, str]) -> None:
    audited = run("audit", "trn.csv", "--against", "tst.csv", *options)
    assert CROSSING.format("tst.csv", "trn.csv") in audited.stdout
    for side in ("trn", "tst"):
        done = run("split", f"{side}.csv", "--output", f"{side}_s.csv", "--test", 0, "--folds", 2,
                   *options)  # fmt: skip
        assert done.exit_code == 0, done.output
        store_of(slices / f"{side}_s.csv")
    audited = run("audit", "trn_s.csv", "--against", "tst_s.csv")
    assert CROSSING.format("tst_s.csv", "trn_s.csv") in audited.stdout
    assert "note: the column patient names patients, the same in all sets" in audited.stderr
    audited = run("audit", "trn_s.h5", "--against", "tst_s.h5")
    assert "12 of 12 images of tst_s.csv have a relative in trn_s.csv" in audited.stdout
    fitted = run("fit-classifier", "trn_s.h5", "--test", "tst_s.h5", "--model", "knn")
    assert fitted.exit_code == 3
    # The new names of groups do not join the lists, even if the user chooses that column.
    audited = run("audit", "trn_s.csv", "--against", "tst_s.csv", "--group-column", "group")
    assert "(12 same group)" in audited.stdout


def test_new_names_of_groups_never_join_two_lists(slices: Path) -> None:
    # Copies make the groups; the lists have no picture in common.
    for side in ("trn", "tst"):
        for path in sorted((slices / side).iterdir()):
            label = LABELS[int(path.name[1:3]) % 2]
            for copy in ("1", "2"):
                target = slices / f"{side}_twice" / label / f"{path.stem}_{copy}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
        assert run("split", f"{side}_twice", "--output", f"{side}_t.csv").exit_code == 0
    options = ("--group-column", "group", "--strict", "--classes", "lesion=a,no_lesion=b")
    audited = run("audit", "trn_t.csv", "--against", "tst_t.csv", *options)
    assert "none of 24 images of tst_t.csv has a relative in trn_t.csv" in audited.stdout
    assert audited.exit_code == 0


def test_all_names_of_an_image_relate_it(slices: Path) -> None:
    # In one list, images of one study have two patients, and one patient has two studies.
    lines = ["path,label,group,who"]
    studies = ["s1", "s1", "s2", "s3", "", ""]
    patients = ["p1", "p2", "p2", "", "p9", "p8"]
    for number, (study, patient) in enumerate(zip(studies, patients, strict=True)):
        lines.append(f"trn/p{number:02}_trn.png,{LABELS[number % 2]},{study},{patient}")
    (slices / "l.csv").write_text("\n".join(lines) + "\n")
    manifest = read_manifest("l.csv", group_column="who", group_regex="p03|p04")
    assert [image.group for image in manifest.images] == studies
    assert [image.patient for image in manifest.images] == [
        "p1",
        "p2",
        "p2",
        "p03",
        "p9 + p04",
        "p8",
    ]
    assert manifest.group_source == "column group, column who, expression p03|p04"
    store = extract_features(manifest, "l.h5", PIXELS).store
    chains = make_task(store, n_folds=2).train.chains.tolist()
    assert chains[0] == chains[1] == chains[2]
    assert len(set(chains)) == 4


def test_a_regular_expression_counts_where_all_images_have_a_group(slices: Path) -> None:
    assert {image.patient for image in read_manifest("trn.csv", group_regex=r"p\d+").images} == {
        f"p{number:02}" for number in range(N_PATIENTS)
    }
    refused = run("split", "trn.csv", "--group-regex", "visit")
    assert refused.exit_code == 1
    assert "'visit' matches no path" in refused.stderr


def test_a_patient_id_in_a_list_equals_that_of_a_file(studies: Path) -> None:
    from PIL import Image

    rows = []
    for number in range(N_PATIENTS):
        path = studies / "png" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(90 + number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        rows.append((f"png/{number}.png", LABELS[number % 2], f"ID {number}"))
    write_list(studies / "png.csv", rows, "patient")
    audited = run("audit", "one", "--against", "png.csv")
    assert CROSSING.format("png.csv", "one") in audited.stdout
    # The list alone is ignored only where its names are digests.
    audited = run("audit", "one", "--against", "png.csv", "--ignore-patient-ids")
    assert "none of 12 images of png.csv has a relative in one" in audited.stdout
    assert "one: PatientIDs are ignored; one patient may be on both sides" in audited.stdout
    done = run("split", "one", "--ignore-patient-ids")
    assert "PatientIDs are ignored, so one patient may be on two" in done.stdout
    # So is a store with patients, and a store that was made without them.
    store_of(studies / "one")
    audited = run("audit", "one.h5", "--ignore-patient-ids")
    assert "one: PatientIDs are ignored" in audited.stdout


@pytest.mark.parametrize(
    ("in_file", "in_list"),
    [("X0 + Y0", "X0 + Y0"), ("Mu\u0308ller", "M\u00fcller"), ("A  B", "A B")],
)
@pytest.mark.parametrize("column", ["patient", "who"])
def test_one_patient_has_one_name(in_file: str, in_list: str, column: str) -> None:
    """Spaces, accents and separators are written in several ways."""
    if column == "patient":
        names = GroupNames([""], [""], [join_names(split_names(in_list))])
    else:
        names = GroupNames([""], [""], [join_names([in_list])])
    assert patient_digest(in_file) in names.common_keys()[0]


def test_a_forgotten_option_loses_no_names_in_silence(slices: Path) -> None:
    options = ("--backbone", "pixels-8", "--layer", "pixels", "--output", "s.h5")
    (slices / "plain.csv").write_text(
        "\n".join(line.rpartition(",")[0].rpartition(",")[0]
                  for line in (slices / "trn.csv").read_text().splitlines())
    )  # fmt: skip
    first = run("extract-features", "plain.csv", "--group-regex", r"p\d+", *options)
    assert first.exit_code == 0, first.output
    again = run("extract-features", "plain.csv", *options)
    assert "12 images had a group or patient, 0 have one now" in again.stderr


def test_a_chain_leads_through_another_test_store(
    make_store: MakeStore, pictures_of: Pictures
) -> None:
    # The first test set shares a patient with the second, whose other image is trained on.
    train = make_store("train.h5", LABELS, **pictures_of(2, 0))
    middle = make_store("middle.h5", LABELS, patients=["p1", "p1"], **pictures_of(2, 1))
    test = make_store("test.h5", LABELS, patients=["p1", ""], **pictures_of(2, 7))
    stores = [FeatureStore(path) for path in (test, middle)]
    task = make_task(FeatureStore(train), tests=stores)
    relations = all_relatives([part.part for part in task.tests], task.train)
    assert [found.levels.tolist() for found in relations] == [["group", ""], ["bytes", "group"]]
    audited = run("audit", "train.h5", "--against", "test.h5", "--against", "middle.h5")
    assert audited.exit_code == 0, audited.output
    alone = make_task(FeatureStore(train), tests=stores[:1])
    assert relatives(alone.tests[0].part, alone.train).tolist() == ["", ""]


@pytest.mark.parametrize(
    ("scopes", "level"),
    [((COMMON, COMMON), "group"), ((OWN, OWN), ""), ((COMMON, OWN), ""), (("", COMMON), UNKNOWN)],
)
def test_names_join_two_stores_only_if_they_mean_the_same_in_both(
    make_store: MakeStore, pictures_of: Pictures, scopes: tuple[str, str], level: str
) -> None:
    stores = []
    for number, scope in enumerate(scopes):
        groups = [f"g{row // 2}" for row in range(6)]
        prints = pictures_of(6, 10 * number)
        path = make_store(
            f"{number}.h5", LABELS * 3, groups=groups, group_scope=scope or OWN, **prints
        )
        # A store of version 2 does not keep the scope of its groups.
        stores.append(FeatureStore(path if scope else as_version(path, 2)))
    task = make_task(stores[0], tests=[stores[1]])
    assert set(relatives(task.tests[0].part, task.train)) == {level}


def test_a_chain_leads_through_rows_that_are_not_trained_on(
    make_store: MakeStore, pictures_of: Pictures
) -> None:
    # The test image is a copy of an unused row, whose patient is trained on.
    patients = ["p1", "p1", "", "", "", ""]
    splits = ["train", "test", "train", "train", "test", "test"]
    prints = pictures_of(6, 0)
    train = make_store("a.h5", LABELS * 3, splits=splits, patients=patients, **prints)
    again = pictures_of(2, 1)
    test = make_store("b.h5", LABELS, **again)
    task = make_task(FeatureStore(train), tests=[FeatureStore(test)])
    external = task.tests[-1].part
    assert relatives(external, task.train).tolist() == ["group", "bytes"]


def test_groups_of_an_older_store_are_never_called_clean(
    make_store: MakeStore, pictures_of: Pictures
) -> None:
    groups = [f"g{row}" for row in range(12)]
    for name, first in (("a.h5", 0), ("b.h5", 20)):
        as_version(make_store(name, LABELS * 6, groups=groups, **pictures_of(12, first)), 2)
    fitted = run("fit-classifier", "a.h5", "--test", "b.h5", "--model", "knn")
    assert "does not keep whether its groups are those of other stores" in fitted.output
    row = pd.read_csv("leaderboard.csv").iloc[0]
    assert (row.n_test_leaking, row.n_test_clean) == (0, 0)
    audited = run("audit", "a.h5", "--against", "b.h5", "--strict")
    assert audited.exit_code == 3
    assert "UNKNOWN: 12 groups of" in audited.stdout


def test_merged_lists_keep_their_own_groups_apart(
    make_store: MakeStore, pictures_of: Pictures
) -> None:
    for name, first, source in (
        ("a.h5", 0, "/a.csv"),
        ("b.h5", 9, "/b.csv"),
        ("c.h5", 5, "/a.csv"),
    ):
        labels = [f"{label} {name}" for label in LABELS]
        make_store(
            name,
            labels,
            groups=["group-1", "group-1"],
            provenance={"source": source},
            **pictures_of(2, first),
        )
    store = merge("all.h5", ["a.h5", "b.h5", "c.h5"])
    names = store.groups.tolist()
    # Shards of one list share its groups; two lists do not.
    assert names[0] == names[1] == names[4] == names[5] != names[2] == names[3]
    assert store.data_set == "all"


@pytest.mark.parametrize(("stray", "count"), [("ANONYMOUS", "all 12"), ("ID 1", "11 of 12")])
def test_one_patient_for_all_is_named_as_the_cause(studies: Path, stray: str, count: str) -> None:
    for number in range(N_PATIENTS):
        label = LABELS[number % 2]
        pixels = np.random.default_rng(number).integers(0, 256, (24, 24))
        patient = "ANONYMOUS" if number else stray
        dicom(studies / "anon" / label / f"{number}.dcm", pixels, patient)
    cause = f"{count} images have the same PatientID, as anonymised files may have"
    assert f"anon: {cause}" in run("audit", "anon").stdout
    refused = run("split", "anon", "--output", "list.csv")
    assert refused.exit_code == 1
    assert cause in " ".join(refused.stderr.split())
    assert run("split", "anon", "--output", "list.csv", "--ignore-patient-ids").exit_code == 0
    store_of(studies / "anon")
    for options in ([], ["--cv", 2]):
        refused = run("fit-classifier", "anon.h5", "--model", "knn", *options)
        assert refused.exit_code == 1
        assert cause in " ".join(refused.stderr.split())
    models = ("--model", "knn", "--model", "majority")
    fitted = run("fit-classifier", "anon.h5", *models, "--ignore-patient-ids")
    assert fitted.exit_code == 0, fitted.output
    rows = pd.read_csv("leaderboard.csv")
    assert json.loads(rows.choices[0])["patients"] == "ignored"
    # The output of the fit, the leaderboard and a comparison say so, too.
    risk = "images of one patient may be both trained and tested on"
    assert fitted.stderr.count(f"warning: PatientIDs are ignored: {risk}\n") == 1
    board = run("leaderboard", "--format", "markdown").stdout
    assert board.count(", PatientIDs ignored |") == 2
    assert f"- PatientIDs ignored: {risk}\n" in board
    compared = run("compare", *rows.run_id).stderr
    assert f"warning: PatientIDs were ignored for knn, majority: {risk}\n" in compared


def test_a_store_made_without_patients_says_so_in_the_row(studies: Path) -> None:
    options = ("--backbone", "pixels-8", "--layer", "pixels", "--output", "s.h5")
    assert run("extract-features", "one", *options, "--ignore-patient-ids").exit_code == 0
    assert not FeatureStore("s.h5").patients.any()
    assert run("fit-classifier", "s.h5", "--model", "knn").exit_code == 0
    assert json.loads(pd.read_csv("leaderboard.csv").iloc[0].choices)["patients"] == "ignored"


def test_make_task_names_the_store_and_what_joins_its_images(make_store: MakeStore) -> None:
    path = make_store("a.h5", LABELS * 6, patients=[patient_digest("1")] * 12)
    with pytest.raises(FreezeframeError, match=r"a\.h5: cannot be split: all 12 images"):
        make_task(FeatureStore(path))
    # One class only has one patient; the other has a patient for each image.
    patients = [patient_digest("1") if row % 2 else f"patient-{row}" for row in range(12)]
    path = make_store("b.h5", LABELS * 6, patients=patients)
    with pytest.raises(FreezeframeError, match="all 6 images of class no_lesion have the same Pat"):
        make_task(FeatureStore(path))
    path = make_store("c.h5", LABELS * 6, groups=["north"] * 11 + ["south"])
    with pytest.raises(
        FreezeframeError, match="11 of 12 images are of the group or patient 'north'; if they"
    ):
        make_task(FeatureStore(path))
    # Copies are named by the error itself.
    path = make_store("d.h5", LABELS * 6, sha256s=["a" * 64, "b" * 64] * 6)
    with pytest.raises(FreezeframeError, match="too few independent images"):
        make_task(FeatureStore(path))
