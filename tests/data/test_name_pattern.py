"""Patients that file names suggest: which expression is proposed, and where none is."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freezeframe.data.explore.name_pattern import NamePattern, propose_pattern
from freezeframe.data.explore.patients import summarise_patients
from freezeframe.data.manifest import read_manifest

from ..conftest import DATASETS

RANDOM = random.Random(0)
TCGA = ["CS_4941", "CS_4942", "DU_5852", "DU_A61A", "HT_7300", "HT_8018", "FG_A4MW"]


def propose(paths: list[str], labels: list[str] | None = None) -> NamePattern | None:
    """Propose an expression; without labels, each group has images of both classes."""
    return propose_pattern(paths, labels or ["ab"[place // 2 % 2] for place in range(len(paths))])


def numbered(form: str, *counts: int) -> list[str]:
    """Return names with all combinations of numbers from 0 on, the last one fastest."""
    combinations: list[tuple[int, ...]] = [()]
    for count in counts:
        combinations = [(*head, number) for head in combinations for number in range(count)]
    return [form.format(*numbers) for numbers in combinations]


IDS = {
    "visits": (numbered("p{:02}_v{}_z{:02}.png", 6, 2, 9), r"(?:^|/)(p\d+)_[^/]*$", "p00", 6),
    "TCGA": (
        [f"TCGA_{tcga}_199601{day + 10}_{n}.tif" for day, tcga in enumerate(TCGA)
         for n in range(1, 15 + day)],
        r"(?:^|/)(TCGA_[A-Z]+_[A-Z0-9]+)_[^/]*$", "TCGA_CS_4941", 7,
    ),
    "folders": (
        numbered("yes/patient{}/slice{:03}.png", 8, 5), r"(?:^|/)(patient\d+)/[^/]*$",
        "patient0", 8,
    ),
    "BIDS": (
        numbered("sub-{0:02}/ses-{1:02}/sub-{0:02}_ses-{1:02}_T1w.nii.gz#{2:03}", 8, 2, 9),
        r"(?:^|/)(sub-\d+)/[^/]*/[^/]*$", "sub-00", 8,
    ),
    "BIDS names": (
        numbered("sub-{:02}_ses-{:02}_T1w.png", 8, 2), r"(?:^|/)(sub-\d+)_[^/]*$", "sub-00", 8,
    ),
    "OASIS": (
        numbered("OAS1_{:04}_MR1_mpr-{}_{}.jpg", 8, 4, 20), r"(?:^|/)(OAS1_\d+)_[^/]*$",
        "OAS1_0000", 8,
    ),
    "eyes": (
        [f"{patient}_{eye}.jpeg" for patient in range(10, 40) for eye in ("left", "right")],
        r"(?:^|/)(\d+)_[^/]*$", "10", 30,
    ),
    "glued": (numbered("p{:02}z{:02}.png", 6, 9), r"(?:^|/)(p\d+)[^/]*$", "p00", 6),
    "some slices": (
        [f"patient{patient}_slice{z}.png" for patient in range(9)
         for z in sorted(RANDOM.sample(range(90), 15))],
        r"(?:^|/)(patient\d+)_[^/]*$", "patient0", 9,
    ),
    "every fourth": (
        [f"p{p:02}_z{z:02}.png" for p in range(9) for z in range(p % 3, 60, 4)],
        r"(?:^|/)(p\d+)_[^/]*$", "p00", 9,
    ),
    "sites": (
        [f"site{p // 20}/sub-{p:03}/z{z}.png" for p in range(80) for z in range(9)],
        r"(?:^|/)(sub-\d+)/[^/]*$", "sub-000", 80,
    ),
    "slices with gaps": (
        [f"BraTS20_Training_{patient:03}_slice_{z}.png" for patient in range(9)
         for z in sorted(RANDOM.sample(range(155), 12))],
        r"(?:^|/)(BraTS20_Training_\d+)_[^/]*$", "BraTS20_Training_000", 9,
    ),
    "dates": (
        [f"TCGA_{tcga}_{19960909 + place % 3}_{z}.tif" for place, tcga in enumerate(TCGA)
         for z in range(1, 15)],
        r"(?:^|/)(TCGA_[A-Z]+_[A-Z0-9]+)_[^/]*$", "TCGA_CS_4941", 7,
    ),
    "volumes of visits": (
        numbered("p{:02}_v{}.nii.gz#{}", 9, 3, 20), r"(?:^|/)(p\d+)_[^/]*$", "p00", 9,
    ),
    "one volume a patient": (
        numbered("sub-{:02}.nii.gz#coronal-{}", 9, 20), r"(?:^|/)(sub-\d+)\.[^/]*$", "sub-00", 9,
    ),
    "an odd name": (
        [*numbered("p{:02}_z{:02}.png", 6, 9), "overview.png"], r"(?:^|/)(p\d+)_[^/]*$", "p00", 6,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", IDS)
def test_ids_are_proposed(kind: str) -> None:
    paths, expression, first, n_groups = IDS[kind]
    # The first patient is named by its own expression, and order does not matter.
    shuffled = random.Random(1).sample(paths, len(paths))
    pattern = propose(shuffled)
    assert pattern is not None
    assert pattern.expression == expression
    assert first in pattern.groups
    assert len(set(pattern.groups) - {""}) == n_groups


NO_IDS = {
    "running number": numbered("Cancer ({}).jpg", 90),
    "class and number": [*numbered("Te-gl_{:04}.jpg", 90), *numbered("Tr-me_{:04}.jpg", 90)],
    "letter and number": [*numbered("Y{}.jpg", 90), *numbered("N{}.JPG", 90)],
    "two numbers of one picture": [f"image_{n // 100}_{n % 100}.png" for n in range(900)],
    "number goes on": [f"b{n // 100}_{n:04}.jpg" for n in range(900)],
    "batches": numbered("batch{}_{:04}.jpg", 8, 90),
    "dates": [f"2019{month:02}01_{n}.jpg" for month in range(1, 12) for n in range(20)],
    "years": numbered("scan-201{}-{:04}.jpg", 9, 20),
    "edits": numbered("mri{}_aug_{}.jpg", 50, 5),
    "download copies": numbered("Cancer ({}) - Copy ({}).jpg", 50, 3),
    "tiles": numbered("x{}_y{}.png", 20, 20),
    "digests": [f"{RANDOM.getrandbits(128):032x}.png" for _ in range(900)],
    "masks": [f"benign ({n}){end}.png" for n in range(60) for end in ("", "_mask")],
    "few copies": [*numbered("patient{}_0.png", 90), *numbered("patient{}_1.png", 40)],
    "sequences before ids": [
        f"{name}_{p:03}_{z}.png" for name in ("t1", "t2") for p in range(20) for z in range(9)
    ],
    "patients of sites": [
        f"ADNI_{site:03}_S_{site * 100 + p:04}_{z}.png"
        for site in range(2, 9)
        for p in range(9)
        for z in range(9)
    ],
    "two patients of most sites": [
        f"{place // 2:03}_S_{4000 + place * 17}_{z}.png" for place in range(40) for z in range(9)
    ],
    "camera": numbered("IMG_{:04}.jpg", 90),
    "camera with gaps": [f"IMG_{n:04}.jpg" for n in sorted(RANDOM.sample(range(9999), 90))],
    "volumes of a camera": numbered("IMG_{:04}.nii.gz#{}", 20, 9),
    "running number of volumes": numbered("scan{:03}.nii.gz#{}", 20, 9),
    "one sequence of each volume": numbered("scan{:03}_t1.nii.gz#{}", 20, 9),
    "many visits": numbered("{}_{}_{:03}.png", 9, 7, 20),
    "few groups": numbered("p{}_z{:02}.png", 3, 20),
    "one large group": [*numbered("sub-{}_{}.png", 6, 4), *numbered("sub-7_{}.png", 30)],
    "one name": ["scan.png"],
    "no letters": ["a/--.png", "b/__.png", "b/###.png"],
}


@pytest.mark.parametrize("kind", NO_IDS)
def test_a_doubt_proposes_nothing(kind: str) -> None:
    assert propose(NO_IDS[kind]) is None


@pytest.mark.parametrize(
    "form", ["{c}/patient{p}/slice{z}.png", "{c}_{p}_{z}.png", "{c}{p}_{z}.png"]
)
def test_numbers_that_begin_again_in_each_class_are_no_ids(form: str) -> None:
    """They may be one patient or two."""
    names = [
        (form.format(c=c, p=p, z=z), c) for c in ("yes", "no") for p in range(9) for z in range(9)
    ]
    assert propose_pattern(*map(list, zip(*names, strict=True))) is None


def test_folders_of_classes_are_no_patients() -> None:
    names = numbered("c{}/{:02}.png", 8, 9)
    assert propose_pattern(names, [name[:2] for name in names]) is None
    assert propose_pattern(names, ["a", "b"] * 36) is not None


def test_a_class_in_the_name_is_no_series() -> None:
    names = [(f"{n} {c}.jpg", c) for n in range(60) for c in ("yes", "no")]
    assert propose_pattern(*map(list, zip(*names, strict=True))) is None


@pytest.mark.parametrize(
    ("folder", "expression"),
    [
        ("edureka4600", None),
        ("navoneel", None),
        ("nickparvar", None),
        ("progression/list.csv", r"(?:^|/)(p\d+)_[^/]*$"),
    ],
)
def test_real_sets(folder: str, expression: str | None) -> None:
    source = DATASETS / folder
    if not source.exists():
        pytest.skip(f"needs the real images: {source} does not exist")
    paths, labels = names_of(source)
    pattern = propose_pattern(paths, labels)
    assert (pattern and pattern.expression) == expression
    if pattern is not None:
        truth = [image.group for image in read_manifest(source).images]
        assert len(set(zip(truth, pattern.groups, strict=True))) == len(set(truth)) == 11


def test_numbers_without_gaps_are_part_of_the_evidence() -> None:
    names = numbered("p{:02}_z{:02}.png", 10, 9)
    names.remove("p03_z04.png")
    pattern = propose(names)
    assert pattern is not None
    assert pattern.in_order == 81 / 89
    unordered = [name for name in names if int(name[-5]) % 4 % 3]
    assert propose([name.replace("z", "") for name in unordered]) is None
    # The letter says that it numbers slices.
    pattern = propose(unordered)
    assert pattern is not None
    assert (pattern.in_order, pattern.word) == (None, "z")


@pytest.mark.parametrize(
    ("form", "evidence"),
    [
        (
            "p{:02}_z{:02}.png",
            "the word 'z', which numbers slices, is in nearly all names, and the last numbers of "
            "100 % of the files follow each other in a group",
        ),
        ("sub-{}_{}.png", "the word 'sub', which numbers patients, is in nearly all names, and"),
        ("p{}_{}.png", "the last numbers of 100 % of the files follow each other in a group"),
    ],
)
def test_the_evidence_is_printed_and_nothing_is_grouped(
    tmp_path: Path, form: str, evidence: str
) -> None:
    listed = tmp_path / "list.csv"
    rows = [f"{name},{'ab'[place % 2]}" for place, name in enumerate(numbered(form, 6, 4))]
    listed.write_text("\n".join(["path,label", *rows]))
    manifest = read_manifest(listed)
    (unknown, proposal, option) = summarise_patients(manifest).lines
    assert unknown.startswith("patients: unknown")
    assert evidence in proposal
    assert option.startswith("if these are patients, use this option")
    assert not any(image.patient for image in manifest.images)


def names_of(source: Path) -> tuple[list[str], list[str]]:
    """Return the paths and classes of a set without reading its images."""
    if source.suffix == ".csv":
        images = read_manifest(source).images
        return [image.path for image in images], [image.label for image in images]
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    return [str(path.relative_to(source)) for path in files], [path.parent.name for path in files]


@given(st.lists(st.text("p0123_-/ z.(é\\[", min_size=1, max_size=12), min_size=1, max_size=40))
def test_any_names_are_read(names: list[str]) -> None:
    pattern = propose(names)
    assert pattern is None or len(pattern.groups) == len(names)
