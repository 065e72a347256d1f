"""The command line: through click's runner, and as a user's shell runs it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from freezeframe import __version__
from freezeframe.__main__ import COMMANDS, cli
from freezeframe.classify.runs.leaderboard import read_rows
from freezeframe.extract.backbones.weights import random_weights, weights_digest

from ..conftest import REPOSITORY, MakeStore, fast_environment

FAST = ["--layer", "block1_pool", "--weights", "random", "--dtype", "float16", "--batch-size", "4"]
SCRIPTS = Path(sys.executable).parent


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(
        cli, [str(argument) for argument in arguments], prog_name="freezeframe"
    )


def extract(folder: Path, *more: object) -> Result:
    return call("extract-features", folder, *FAST, *more)


@pytest.mark.usefixtures("small_vgg16")
def test_the_whole_job(folder: Path) -> None:
    result = extract(folder)
    assert result.exit_code == 0
    assert result.stdout == "features.h5: 24 of 24 images, block1_pool 16 x 16 x 64\n"
    assert "scans: 24 images (healthy 12, tumour 12)" in result.stderr
    assert re.search(r"24 computed in [\d.]+ s, [\d.]+ images/s", result.stderr)
    again = extract(folder)
    assert again.exit_code == 0
    assert "all were computed before" in again.stderr

    fit = call("fit-classifier", "--model", "logreg", "--model", "majority", "--pooling", "avg")
    assert fit.exit_code == 0, fit.stderr
    assert "warning: the backbone's weights are random, seed 0" in fit.stderr
    lines = fit.stdout.splitlines()
    assert lines[0].split()[:3] == ["head", "features", "tested"]
    assert lines[1].startswith("logreg")
    rows = read_rows("leaderboard.csv")
    assert [row["head"] for row in rows] == ["logreg", "majority"]
    assert {row["weights"] for row in rows} == {"random, seed 0"}
    assert rows[0]["positive"] == "tumour"
    board = call("leaderboard")
    assert board.exit_code == 0
    assert "block1_pool avg, random" in board.stdout
    assert re.findall(r"^(?:rank|\d(?: [=?])?) +(\w+)", board.stdout, re.MULTILINE) == [
        "head",
        "logreg",
        "majority",
    ]

    model = Path("runs") / rows[0]["run_id"] / "model.safetensors"
    images = [folder / "tumour" / "03.png", folder / "healthy" / "03.png"]
    as_json = json.loads(call("predict", model, *images, "--format", "json").stdout)
    as_csv = list(
        csv.DictReader(io.StringIO(call("predict", model, *images, "--format", "csv").stdout))
    )
    table = call("predict", model, *images).stdout
    for number, image in enumerate(images):
        assert as_json[number]["path"] == as_csv[number]["path"] == str(image)
        assert as_json[number]["label"] == as_csv[number]["label"] == image.parent.name
        assert sum(as_json[number]["probabilities"].values()) == pytest.approx(1)
        assert float(as_csv[number]["p_tumour"]) == pytest.approx(
            as_json[number]["probabilities"]["tumour"], abs=1e-6
        )
        # The table withholds an answer that may well be wrong; CSV and JSON keep its label.
        withheld = as_json[number]["cannot_say"]
        assert as_csv[number]["cannot_say"] == ("yes" if withheld else "no")
        assert json.loads(as_csv[number]["prediction_set"]) == as_json[number]["prediction_set"]
        answer = "cannot say" if withheld else image.parent.name
        assert re.search(rf"{re.escape(str(image))} +{answer}", table)


@pytest.mark.usefixtures("small_vgg16")
def test_predictions_equal_those_of_the_run(folder: Path) -> None:
    extract(folder)
    call("fit-classifier", "--model", "logreg", "--pooling", "avg")
    (run,) = Path("runs").iterdir()
    lines = list(csv.DictReader((run / "predictions.csv").open()))
    images = [folder / line["path"] for line in lines]
    result = call("predict", run / "model.safetensors", *images, "--format", "csv")
    for line, got in zip(lines, csv.DictReader(io.StringIO(result.stdout)), strict=True):
        # The store keeps float16 here; what is predicted from the image is not rounded.
        assert float(got["p_tumour"]) == pytest.approx(float(line["p_tumour"]), abs=0.01)


@pytest.mark.usefixtures("small_vgg16")
def test_unreadable_images_are_listed_and_counted(folder: Path) -> None:
    (folder / "tumour" / "empty.png").write_bytes(b"")
    (folder / "tumour" / "notes.txt").write_text("x")
    result = extract(folder)
    assert result.exit_code == 0
    assert "skipped, not an image (.txt 1): tumour/notes.txt" in result.stderr
    assert "unreadable: tumour/empty.png: the file is empty" in result.stderr
    assert "24 of 25 images" in result.stdout
    for number in range(3):
        (folder / "tumour" / f"{number}.jpg").write_text("no JPEG")
    result = extract(folder, "--overwrite")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith(
        "14.3 % of the images could not be read, more than the 10 % of --max-failed"
    )
    assert extract(folder, "--max-failed", "20").exit_code == 0
    fit = call("fit-classifier", "--model", "majority")
    assert "warning: features.h5: 4 unreadable images are skipped" in fit.stderr


@pytest.mark.usefixtures("small_vgg16")
def test_predict_names_the_images_it_cannot_read(folder: Path) -> None:
    extract(folder)
    call("fit-classifier", "--model", "majority")
    (run,) = Path("runs").iterdir()
    Path("bad.png").write_bytes(b"")
    good = folder / "tumour" / "00.png"
    result = call(
        "predict", run / "model.safetensors", good, "bad.png", "none.png", "--format", "json"
    )
    assert result.exit_code == 1
    assert [entry.get("error") for entry in json.loads(result.stdout)] == [
        None,
        "the file is empty",
        "no such file",
    ]
    assert result.stderr.splitlines()[-1] == "error: 2 of 3 images could not be read"


@pytest.fixture
def mistakes(
    folder: Path, make_store: MakeStore, tmp_path: Path
) -> dict[str, tuple[list[str], int, str]]:
    """Return mistakes by name: the command, its exit code and a part of its message."""
    (tmp_path / "void").mkdir()
    (tmp_path / "one" / "only").mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "one" / "only" / "a.png")
    (tmp_path / "thesis.h5").write_text("precious")
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    labels = ["sick", "well"] * 10
    good = str(make_store("good.h5", labels))
    half = str(make_store("half.h5", labels, pending=5))
    foreign = str(make_store("others.h5", labels, provenance={"weights_digest": "1" * 64}))
    named = str(make_store("named.h5", ["yes", "no"] * 10))
    e = "extract-features"
    f = "fit-classifier"
    return {
        "no such command": (["extract"], 2, "No such command 'extract'"),
        "no such option": ([e, "--leyer", "x"], 2, "No such option"),
        "folder missing": ([e, "nowhere"], 1, "nowhere: no such folder or file"),
        "folder empty": ([e, "void"], 1, "void: no images"),
        "one class": ([e, "one"], 1, "one: all 1 images are of one class, 'only'"),
        "unknown layer": (
            [e, str(folder), "--layer", "block6"],
            2,
            "'block6'; it has block1_conv1, .*block5_pool",
        ),
        "unknown resize": (
            [e, "--resize", "best"],
            2,
            "'best' is not one of 'nearest', 'bilinear'",
        ),
        "unknown backbone": (
            [e, "--backbone", "vgg99"],
            2,
            "must be one of vgg16, pixels-N, got 'vgg99'",
        ),
        "bad batch size": (
            [e, str(folder), "--batch-size", "0"],
            2,
            "'--batch-size': 0 is not in the range 1<=x<=1024",
        ),
        "no weights": ([e, str(folder), "--weights", "w.h5"], 1, "w.h5: no such weights file"),
        "not ours": (
            [e, str(folder), "--output", "thesis.h5"],
            1,
            "thesis.h5: not a feature store",
        ),
        "other images": ([e, str(folder), "--output", good], 1, "good.h5: made "),
        "no store": ([f], 1, "features.h5: no such file; make it with extract-features"),
        "fit on another file": ([f, "results.csv"], 1, "results.csv: not a feature store"),
        "half a store": (
            [f, half],
            1,
            "half.h5: 5 of 20 rows are not computed yet; run extract-features again",
        ),
        "half a test store": (
            [f, good, "--test", half],
            1,
            "half.h5: 5 of 20 rows are not computed yet",
        ),
        "unknown head": (
            [f, good, "--model", "svm"],
            2,
            "head 'svm' is unknown; choose one of logreg, ridge, linear-svm, .*, majority",
        ),
        "no such parameter": (
            [f, good, "--param", "depth=3"],
            2,
            "parameter 'depth': no head to fit has it; they have C, max_iter, tol",
        ),
        "bad parameter": ([f, good, "--param", "C=big"], 2, "logreg: C must be float, got 'big'"),
        "no parameter": (
            [f, good, "--param", "C"],
            2,
            "--param must be NAME=VALUE or HEAD.NAME=VALUE, got 'C'",
        ),
        "bad sensitivity": (
            [f, good, "--sensitivity", "95"],
            2,
            "'--sensitivity': 95.0 is not in the range 0<x<=1",
        ),
        "one fold": ([f, good, "--cv", "1"], 2, "cross-validation needs 2 folds"),
        "layer not kept": (
            [f, good, "--layer", "block1_pool"],
            2,
            "no layer 'block1_pool'; it has block3_pool, block5",
        ),
        "other weights": (
            [f, good, "--test", foreign],
            1,
            "others.h5: made with weights_digest '1+'",
        ),
        "other labels": (
            [f, good, "--test", named],
            1,
            "class 'no' is none of the training classes sick, well",
        ),
        "bad classes": (
            [f, good, "--classes", "yes"],
            2,
            "--classes must be OLD=NEW,OLD=NEW,..., got 'yes'",
        ),
        "unknown class": (
            [f, good, "--classes", "a=b"],
            2,
            "no image is labelled 'a'; labels are sick, well",
        ),
        "unknown positive": (
            [f, good, "--positive", "a"],
            2,
            "positive must be one of sick, well, got 'a'",
        ),
        "a seed too small": (
            [f, good, "--seed", "-1"],
            2,
            "-1 is not in the range 0<=x<=4294967295",
        ),
        "a seed too large": (
            [e, str(folder), "--seed", str(2**80)],
            2,
            "is not in the range 0<=x<=4294967295",
        ),
        "one image each": (
            [f, str(make_store("two.h5", ["a", "b"]))],
            1,
            "class 'a' has too few independent images",
        ),
        "overwriting what is not ours": (
            [e, str(folder), "--output", "thesis.h5", "--overwrite"],
            1,
            "feature store",
        ),
        "bad share": (
            [f, good, "--test-size", "2"],
            2,
            "'--test-size': 2.0 is not in the range 0<x<1",
        ),
        "another CSV": (
            [f, good, "--leaderboard", "results.csv"],
            1,
            "results.csv: not a leaderboard of schema 1",
        ),
        "no leaderboard": (["leaderboard"], 1, "leaderboard.csv: no leaderboard here"),
        "no model": (["predict", "m", "a.png"], 1, "m: no such model file"),
        "not a model": (["predict", good, "a.png"], 1, "good.h5: not a model file of freezeframe"),
        "nothing to predict": (["predict", "m"], 2, r"Missing argument 'IMAGE\|FOLDER\|CSV...'"),
        "a folder in the way": (["make-demo-images", str(folder)], 2, "scans"),
    }


def test_every_mistake_is_reported_in_one_line(
    mistakes: dict[str, tuple[list[str], int, str]],
) -> None:
    for name, (arguments, code, message) in mistakes.items():
        result = call(*arguments)
        last = result.stderr.splitlines()[-1]
        assert (name, result.exit_code) == (name, code)
        assert last.startswith("error: "), name
        assert re.search(message, last), (name, last)
        assert "Traceback" not in result.output
    assert Path("results.csv").read_text() == "a,b\n1,2\n"
    assert Path("thesis.h5").read_text() == "precious"


def test_help_and_errors_load_no_deep_learning_library(
    mistakes: dict[str, tuple[list[str], int, str]],
) -> None:
    """All commands run in one process; none of them may load such a library."""
    code = (
        "import json, sys\n"
        "from freezeframe.__main__ import cli\n"
        "for arguments in json.load(sys.stdin):\n"
        "    try: cli(arguments)\n"
        "    except SystemExit: pass\n"
        "heavy = ('tensorflow', 'keras', 'jax', 'torch', 'onnx', 'pandas', 'sklearn')\n"
        "print('loaded:', [name for name in heavy if name in sys.modules])\n"
    )
    helps = [["--help"], *([name, "--help"] for name in COMMANDS)]
    every = json.dumps(
        helps
        + [arguments for arguments, _, _ in mistakes.values() if "results.csv" not in arguments]
    )
    result = subprocess.run(
        [sys.executable, "-c", code], input=every, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "loaded: []"


def test_odd_names_are_printed_literally(make_store: MakeStore, tmp_path: Path) -> None:
    provenance = {
        "weights_source": "random, seed 0",
        "weights_digest": weights_digest(random_weights(0)),
    }
    provenance["source"] = "/scans/[red] set"
    store = make_store("a.h5", ["[red]sick", ":smile: well"] * 10, provenance=provenance)
    result = call("fit-classifier", store, "--model", "majority", "--pooling", "avg")
    assert result.exit_code == 0, result.stderr
    assert "[red] set, hold-out 20%" in result.stdout
    assert (
        "sensitivity is computed for [red]sick; set another class with --positive" in result.stderr
    )
    Path("bad\n\x1b[31m.png").write_bytes(b"")
    (run,) = (tmp_path / "runs").iterdir()
    result = call("predict", run / "model.safetensors", "bad\n\x1b[31m.png", "[/i].png")
    assert "\x1b" not in result.stderr
    assert "unreadable: bad\\n\\x1b[31m.png" in result.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_labels_that_the_terminal_lacks_are_printed_as_escapes(folder: Path, encoding: str) -> None:
    (folder / "healthy").rename(folder / "Здоровый")
    (folder / "tumour").rename(folder / "été")
    runner = CliRunner(charset=encoding)
    # A real terminal of this encoding is strict, as this stream is.
    result = runner.invoke(cli, ["explore", str(folder)], prog_name="freezeframe")
    assert result.exit_code == 0
    table = result.stdout_bytes.decode(encoding)
    assert "\\u0417\\u0434\\u043e\\u0440" in table
    assert re.search(r"^été +12 ", table, re.MULTILINE)
    note = f"note: the encoding of this output, {encoding}, lacks characters, which are shown as"
    assert result.stderr.count(note) == 1
    plain = call("audit", folder)
    assert plain.exit_code == 0
    assert "note:" not in plain.stderr


def test_a_name_that_cannot_be_written_is_named(folder: Path) -> None:
    # Linux allows any bytes in a name; Python reads them as surrogates.
    source = folder.rename(os.fsdecode(os.fsencode(folder.parent) + b"/scans\xff"))
    result = call("split", source)
    assert result.exit_code == 1
    assert re.fullmatch(
        r"error: \S*scans\\udcff/\S+: its name is not valid UTF-8; rename it\n", result.stderr
    )


def test_names_that_the_encoding_of_the_system_lacks_are_no_fault_of_the_names(
    tmp_path: Path,
) -> None:
    (tmp_path / "文.png").write_bytes(b"")
    environment = fast_environment() | {"LC_ALL": "C", "PYTHONUTF8": "0"}
    environment["PYTHONCOERCECLOCALE"] = "0"
    lines = (
        "import os, sys",
        "from freezeframe.data.output.encodings import name_problem",
        "print(name_problem(os.listdir(sys.argv[1])[0]))",
    )
    command = [sys.executable, "-c", "; ".join(lines), str(tmp_path)]
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert process.stdout == (
        "its name cannot be read as ascii, the encoding here; set PYTHONUTF8=1\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_that_cannot_be_written_is_reported_in_one_line(make_store: MakeStore) -> None:
    call("fit-classifier", make_store("a.h5", ["x", "y"] * 10), "--model", "majority")
    command = [sys.executable, "-m", "freezeframe", "leaderboard"]
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    cut = subprocess.run(f"{' '.join(command)} | true", shell=True, capture_output=True, text=True)
    assert cut.stderr == ""


def test_runs_are_written_beside_the_leaderboard(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store("a.h5", ["x", "y"] * 10)
    (tmp_path / "else").mkdir()
    assert (
        call(
            "fit-classifier", store, "--model", "majority", "--leaderboard", "else/l.csv"
        ).exit_code
        == 0
    )
    assert len(list((tmp_path / "else" / "runs").iterdir())) == 1
    assert not (tmp_path / "runs").exists()
    assert call("fit-classifier", store, "--model", "majority", "--runs", "r").exit_code == 0
    assert len(list((tmp_path / "r").iterdir())) == 1


def test_a_damaged_leaderboard_is_reported(make_store: MakeStore) -> None:
    call("fit-classifier", make_store("a.h5", ["x", "y"] * 10), "--model", "majority")
    whole = Path("leaderboard.csv").read_text()
    for old, new in (("0.500000", "abc"), (f",{__version__}", "")):
        Path("leaderboard.csv").write_text(whole.replace(old, new))
        result = call("leaderboard")
        assert result.exit_code == 1
        assert result.stderr.startswith("error: leaderboard.csv: ")


def test_help_names_every_command_and_option() -> None:
    listed = call("--help").stdout
    for name in COMMANDS:
        assert name in listed
        assert call(name, "--help").exit_code == 0
    fit = " ".join(call("fit-classifier", "--help").stdout.split())
    assert "Hold-out and folds keep relatives on one side" in fit
    assert "--allow-leaks" in fit
    assert call("--version").stdout == f"freezeframe, version {__version__}\n"
    bare = call()
    assert bare.exit_code == 2
    assert "extract-features" in bare.output
    assert "Usage: freezeframe" in bare.output.splitlines()[0]


@pytest.mark.parametrize("name", ["extract-features", "fit-classifier"])
def test_the_two_short_commands_do_the_same(name: str, folder: Path) -> None:
    short = subprocess.run([SCRIPTS / name, "--help"], capture_output=True, text=True, check=True)
    long = subprocess.run(
        [SCRIPTS / "freezeframe", name, "--help"], capture_output=True, text=True, check=True
    )
    assert long.stdout == short.stdout
    assert short.stdout.startswith(f"Usage: freezeframe {name} ")
    wrong = subprocess.run([SCRIPTS / name, "nowhere"], capture_output=True, text=True)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: nowhere: ")


def test_without_a_folder_the_demo_set_is_used(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr("freezeframe.data.demo.images.demo_folder", lambda: folder)
    result = call("extract-features", *FAST)
    assert result.exit_code == 0
    assert (
        f"no folder given: using the built-in demo set of synthetic images in {folder}"
        in result.stderr
    )
    assert Path("features.h5").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_an_extraction_of_real_images_continues_after_ten_kills(datasets: Path) -> None:
    check = [
        sys.executable,
        str(REPOSITORY / "scripts" / "checks" / "kill_check.py"),
        str(datasets / "navoneel"),
        "--kills",
        "10",
    ]
    result = subprocess.run(check, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(re.findall("killed after", result.stdout)) >= 5


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("engine", ["mnn", pytest.param("keras", marks=pytest.mark.slow)])
def test_a_killed_extraction_continues(folder: Path, engine: str) -> None:
    options = FAST if engine == "keras" else [*FAST[:-2], "--engine", engine]
    check = [
        sys.executable,
        str(REPOSITORY / "scripts" / "checks" / "kill_check.py"),
        str(folder),
        "--kills",
        "2",
        "--",
        *options,
    ]
    result = subprocess.run(check, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (
        result.stdout.splitlines()[-1]
        == "equal to the uninterrupted run; no finished row was computed again"
    )


@pytest.mark.parametrize("width", [80, 110, 1000])
def test_the_leaderboard_fits_the_terminal(
    width: int, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    store = make_store("a.h5", ["x", "y"] * 50, provenance={"source": "/scans/edureka4600"})
    call("fit-classifier", store, "--model", "majority", "--model", "logreg")
    out = io.StringIO()
    monkeypatch.setattr(
        "freezeframe.classify.commands.leaderboard.console", lambda: Console(width=width, file=out)
    )
    assert call("leaderboard").stdout.startswith("edureka4600, hold-out 20%: 20 images")
    shown = out.getvalue()
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    assert re.search(r"majority +block5_pool avg +50\.0 \(29\.9-70\.1\)", shown)
    assert ("Brier" in shown) == (width >= 110)


def test_help_shows_all_choices_and_defaults() -> None:
    """Commands repeat them, so that help need not load the modules that define them."""
    from freezeframe.classify.commands.fit_classifier import fit_classifier
    from freezeframe.data.formats.images import RESIZE_METHODS
    from freezeframe.extract.commands.extract_features import extract_features
    from freezeframe.extract.engines.keras import PRECISIONS
    from freezeframe.extract.settings import ENGINES, Settings
    from freezeframe.features.layout import LAYER_DTYPES
    from freezeframe.features.rows.pooling import POOLINGS

    options = {option.name: option for option in extract_features.params}
    assert options["layers"].default == Settings.layers
    for name in ("backbone", "weights", "seed", "resize", "dtype", "engine", "precision"):
        assert options[name].default == getattr(Settings, name), name
    assert tuple(options["engine"].type.choices) == ENGINES
    assert tuple(options["precision"].type.choices) == PRECISIONS
    assert tuple(options["resize"].type.choices) == RESIZE_METHODS
    assert tuple(options["dtype"].type.choices) == tuple(LAYER_DTYPES)
    (pooling,) = (option for option in fit_classifier.params if option.name == "pooling")
    assert tuple(pooling.type.choices) == POOLINGS
