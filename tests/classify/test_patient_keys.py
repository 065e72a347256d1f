"""Identifiers of patients in DICOM files: nothing shows them, and their digests need a key."""

from __future__ import annotations

import hashlib
import logging
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from freezeframe import FeatureStore, FreezeframeError
from freezeframe.__main__ import cli
from freezeframe.classify.prediction.predictor import Predictor
from freezeframe.classify.task.relatives import UNKNOWN, relatives
from freezeframe.classify.task.task import make_task
from freezeframe.data import patient_key as patient_key_file
from freezeframe.data.fingerprints import fingerprint
from freezeframe.data.groups import patient_digest
from freezeframe.data.output.cache_folder import cache_place, data_place
from freezeframe.data.patient_key import KEY_VARIABLE, existing_key, key_id, patient_key

from ..conftest import MakeStore

LABELS = ["lesion", "no_lesion"]
EXTRACT = ("--backbone", "pixels-8", "--layer", "pixels", "--output")
CLEAR = [f"HN4711-{number}" for number in range(12)] + ["DOE^JANE", "19630517"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "own"))


def run(*arguments: object) -> Result:
    """Run freezeframe in this process."""
    return CliRunner().invoke(cli, list(map(str, arguments)), prog_name="freezeframe")


def write_key(path: Path, letter: str) -> str:
    path.write_text(letter * 40)
    return str(path)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """DICOM files of twelve patients, two each, with what identifies a patient."""
    pydicom = pytest.importorskip("pydicom", minversion="3")
    from pydicom.data import get_testdata_file

    header = pydicom.dcmread(get_testdata_file("MR_small.dcm", download=False))
    header.PatientName = "DOE^JANE"
    header.PatientBirthDate = "19630517"
    rng = np.random.default_rng(0)
    for number in range(24):
        header.PatientID = CLEAR[number // 2]
        header.PixelData = rng.integers(0, 2000, (64, 64), dtype=np.uint16).tobytes()
        path = tmp_path / "scans" / LABELS[number // 2 % 2] / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        header.save_as(path)
    return tmp_path / "scans"


def serve(run_folder: Path, file: Path) -> list[bytes]:
    """Return the page and the answer of the API about a file."""
    pytest.importorskip("flask")
    from freezeframe.classify.serve.application import ServerConfig, close_app, create_app
    from freezeframe.classify.serve.gate.limits import ServerLimits

    config = ServerConfig([Predictor(run_folder)], limits=ServerLimits(decoders=1))
    app = create_app(config)
    try:
        client = app.test_client()
        answer = client.post(
            "/api/v1/classify", data=file.read_bytes(), content_type="application/dicom"
        )
        assert answer.status_code == 200, answer.data
        return [client.get("/").data, answer.data]
    finally:
        close_app(app)


def test_nothing_shows_an_identifier(
    scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    results = [
        run("explore", "scans"),
        run("audit", "scans"),
        run("split", "scans", "--output", "list.csv", "--test", 0.4),
        run("extract-features", "list.csv", *EXTRACT, "s.h5"),
        run("audit", "s.h5", "--output", "audit2"),
        run("store", "show", "s.h5"),
        run("fit-classifier", "s.h5", "--model", "logreg"),
    ]
    (folder,) = (tmp_path / "runs").iterdir()
    predict = ("predict", folder, "scans/lesion/0.dcm")
    results += [run(*predict, "--format", form) for form in ("table", "csv", "json")]
    shown = [result.output for result in results]
    assert "12 patients in 24 of 24 images" in shown[0]
    assert [result.exit_code for result in results[:5] + results[-3:]] == [0] * 8, shown
    shown += [caplog.text, *map(repr, serve(folder, scans / "lesion" / "0.dcm"))]
    written = [path for path in tmp_path.rglob("*") if path.is_file() and scans not in path.parents]
    contents = {str(path): path.read_bytes() for path in written}
    assert {"list.csv", "s.h5", "patient-key", "leaderboard.csv"} <= {path.name for path in written}
    contents |= {f"output {number}": text.encode() for number, text in enumerate(shown)}
    secrets = [*CLEAR, *(hashlib.sha256(text.encode()).hexdigest()[:16] for text in CLEAR)]
    for name, content in contents.items():
        assert [secret for secret in secrets if secret.encode() in content] == [], name
    # The search sees what is there.
    assert patient_digest(CLEAR[0]).encode() in contents[str(tmp_path / "s.h5")]


def test_the_key_is_made_once_and_for_its_user_alone(tmp_path: Path) -> None:
    assert existing_key() is None
    code = "from freezeframe.data.groups import patient_digest; print(patient_digest('p07'))"
    command = [sys.executable, "-c", code]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    digests = {process.communicate()[0].strip() for process in started}
    # Processes that start together agree on one key.
    assert digests == {patient_digest("p07")}
    place = data_place("patient-key")
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert [path.name for path in place.parent.iterdir()] == ["patient-key"]
    # A process that comes late replaces no key.
    content = place.read_bytes()
    patient_key_file._make_key(place)
    assert place.read_bytes() == content
    # The name of the key shows no part of it.
    key = patient_key()
    assert key_id(key) not in key.hex()
    assert key_id(key) not in key.decode()
    # The digest is neither a plain one nor that of another key.
    assert hashlib.sha256(b"p07").hexdigest()[:16] not in digests.pop()
    assert patient_digest("p07", b"k" * 32) != patient_digest("p07", b"l" * 32)


def test_a_key_outlives_the_caches(tmp_path: Path) -> None:
    """Users delete caches to save space; digests of two keys cannot be compared."""
    digest = patient_digest("p07")
    cache_place("demo").touch()
    shutil.rmtree(tmp_path / "cache")
    patient_key_file._read_key.cache_clear()
    assert patient_digest("p07") == digest


def test_machines_can_share_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, write_key(tmp_path / "shared", "k"))
    assert patient_key() == existing_key() == b"k" * 40
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "no such file"), (b"short\n", "5 bytes are too short")]
)
def test_a_key_file_that_cannot_be_used_is_an_error(
    content: bytes | None, problem: str, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        Path("key").write_bytes(content)
    monkeypatch.setenv(KEY_VARIABLE, "key")
    result = run("audit", "scans")
    assert result.exit_code != 0
    assert f"error: {KEY_VARIABLE}: key: is no key of patients' digests ({problem})" in (
        result.stderr
    )
    assert run("audit", "scans", "--ignore-patient-ids").exit_code == 0


def stores(make_store: MakeStore, first: list[str], second: list[str]) -> list[FeatureStore]:
    """Return two stores without a picture in common, with patients."""
    made = []
    for name, patients in (("a.h5", first), ("b.h5", second)):
        sha256s = [hashlib.sha256(f"{name} {row}".encode()).hexdigest() for row in range(12)]
        rng = np.random.default_rng(ord(name[0]))
        noise = rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
        prints = [fingerprint(np.kron(cells, np.ones((8, 8, 1), np.uint8))) for cells in noise]
        options: dict[str, Any] = {"sha256s": sha256s, "fingerprints": prints}
        made.append(FeatureStore(make_store(name, LABELS * 6, patients=patients, **options)))
    return made


OWN = [f"p{number}" for number in range(12)]
KINDS: dict[str, Any] = {
    "clear": OWN,
    "own": lambda: [patient_digest(name) for name in OWN],
    "foreign": [patient_digest(name, b"f" * 32) for name in OWN],
    "plain": [f"patient-{hashlib.sha256(name.encode()).hexdigest()[:16]}" for name in OWN],
    "none": [""] * 12,
}


@pytest.mark.parametrize(
    ("first", "second", "level"),
    [
        ("clear", "clear", "group"),
        ("own", "own", "group"),
        ("foreign", "foreign", "group"),
        ("plain", "plain", "group"),
        ("clear", "own", "group"),
        # Stores of earlier versions can be compared with lists of names.
        ("clear", "plain", "group"),
        ("own", "foreign", UNKNOWN),
        ("own", "plain", UNKNOWN),
        ("plain", "foreign", UNKNOWN),
        ("clear", "foreign", UNKNOWN),
        ("own", "none", "recognised"),
    ],
)
def test_patients_of_two_keys_are_unknown_and_never_clean(
    make_store: MakeStore, first: str, second: str, level: str
) -> None:
    names = [kind() if callable(kind) else kind for kind in (KINDS[first], KINDS[second])]
    train, test = stores(make_store, *names)
    task = make_task(train, tests=[test])
    incomparable = task.tests[0].part.names.incomparable(task.train.names)
    assert set(incomparable) == {level == UNKNOWN}
    if level != "recognised":
        assert set(relatives(task.tests[0].part, task.train)) == {level}
    audited = run("audit", train.path, "--against", test.path, "--strict")
    sentence = "UNKNOWN: patients of scans (2) and scans cannot be compared" in audited.output
    assert sentence == (level == UNKNOWN), audited.output
    assert level != UNKNOWN or audited.exit_code == 3
    assert ("none of 12 images of scans (2) has a known relative" in audited.output) == sentence


def new_pictures(scans: Path) -> None:
    """Replace the pixels of all files."""
    import pydicom

    for path in scans.glob("*/*"):
        header = pydicom.dcmread(path)
        rng = np.random.default_rng(int(path.stem) + 100)
        header.PixelData = rng.integers(0, 2000, (64, 64), dtype=np.uint16).tobytes()
        header.save_as(path)


def test_a_score_on_patients_of_another_key_is_no_clean_score(
    scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("extract-features", "scans", *EXTRACT, "a.h5").exit_code == 0
    # The pictures of the other set differ, so only patients could join the two.
    new_pictures(scans)
    monkeypatch.setenv(KEY_VARIABLE, write_key(Path("other"), "o"))
    assert run("extract-features", "scans", *EXTRACT, "b.h5").exit_code == 0
    fitted = run("fit-classifier", "a.h5", "--test", "b.h5", "--model", "knn")
    assert "patients cannot be compared: their PatientIDs have digests of different" in (
        fitted.output
    )
    row = pd.read_csv("leaderboard.csv").iloc[0]
    assert (row.n_test, row.n_test_clean) == (24, 0)
    # With one key, the same patients are relatives.
    done = run("extract-features", "scans", *EXTRACT, "b.h5")
    assert done.exit_code == 0
    monkeypatch.delenv(KEY_VARIABLE)
    done = run("extract-features", "scans", *EXTRACT, "b.h5")
    assert done.exit_code == 0, done.output
    digests = set(FeatureStore("a.h5").patients) & set(FeatureStore("b.h5").patients)
    assert len(digests) == 12


def test_a_merged_store_of_two_keys_parts_no_patients(
    scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patient of both sets has a digest in each, so folds may part their images."""
    # The pictures of the second set differ, so only patients could join the two.
    shutil.copytree(scans, "others")
    new_pictures(Path("others"))
    for path in Path("others").glob("*/*"):
        path.rename(path.with_name(f"other-{path.name}"))
    for name, folder in (("a", "scans"), ("b", "others")):
        monkeypatch.setenv(KEY_VARIABLE, write_key(Path(f"key-{name}"), name))
        assert run("extract-features", folder, *EXTRACT, f"{name}.h5").exit_code == 0
    merged = run("store", "merge", "both.h5", "a.h5", "b.h5")
    assert merged.exit_code == 0, merged.output
    grades = {}
    for store in ("a.h5", "both.h5"):
        fitted = run("fit-classifier", store, "--model", "knn", "--cv", 3)
        assert fitted.exit_code == 0, fitted.output
        sentence = "patients cannot be compared: their PatientIDs have digests of different keys"
        assert (sentence in fitted.output) == (store == "both.h5"), fitted.output
        row = pd.read_csv("leaderboard.csv", keep_default_na=False).iloc[-1]
        grades[store] = (row.grade, row.n_test_clean)
    assert grades == {"a.h5": ("patients parted", 24), "both.h5": ("", 0)}
    shown = run("leaderboard", "leaderboard.csv").output
    # One store's row, by image and by patient; never that of both.
    assert shown.count("patients parted") == 2


def test_a_key_that_cannot_be_kept_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "freezeframe.data.patient_key.data_place", lambda name: Path("no/folder") / name
    )
    with pytest.raises(FreezeframeError, match="no/folder/patient-key: cannot be written"):
        patient_digest("p07")
