"""Features that are hard to fit, and libraries that fail: each head is scored, or says why not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from freezeframe import FeatureStore, FreezeframeError
from freezeframe.__main__ import cli
from freezeframe.classify.fit.fitting import fit_classifier
from freezeframe.classify.fit.search import FitOptions, fit_head, inner_folds
from freezeframe.classify.heads import svm
from freezeframe.classify.heads.table import FOR_ANY_LAYER, HEADS, make_head
from freezeframe.classify.runs.leaderboard import read_rows
from freezeframe.classify.solvers.reduction import reduce
from freezeframe.classify.task.task import make_task
from freezeframe.features.writer import StoreWriter

from ..conftest import MakeStore


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fit(store: Path, *more: object) -> Result:
    return CliRunner().invoke(cli, ["fit-classifier", str(store), *map(str, more)])


def hard_features() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features and class numbers that solvers of libraries refuse, or never end on."""
    X = np.random.default_rng(0).normal(size=(21, 4)).astype(np.float32)
    y = np.arange(21) % 2
    X[:, 0] += 3 * y
    few = np.arange(20) % 10
    return {
        "a class of one image": (X, (np.arange(21) == 20).astype(int)),
        "two images of each class": (X[:20], few),
        "constant": (np.full_like(X, 3.3), y),
        "zero": (np.zeros_like(X), y),
        "collinear": (np.repeat(X[:, :1], 4, axis=1), y),
        "one feature": (X[:, :1], y),
        "large": (X * np.float32(1e11), y),
        "small": (X * np.float32(1e-15), y),
    }


QUICK = [name for name in FOR_ANY_LAYER if not name.startswith("dense")]


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.filterwarnings("ignore")
def test_every_head_has_probabilities_on_hard_features(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(svm, "MAX_ITERATIONS", 10**4)
    fixed = {"n_estimators": 3} if "n_estimators" in make_head(name).parameters else {}
    for features, (X, y) in hard_features().items():
        reduction = reduce(X) if make_head(name).reducible else None
        matrix = X if reduction is None else reduction.matrix
        n_classes = int(y.max()) + 1
        # Without a search, the defaults of the heads must do on features of no spread.
        for search in ("none", "default") if features in ("constant", "zero") else ("default",):
            folds = inner_folds(y, np.arange(len(y)), None, 0)
            if (name, features, search) == ("lda", "two images of each class", "default"):
                # A fold has one image of each class: they have no covariance.
                with pytest.raises(
                    FreezeframeError, match="10 images of 10 classes; give --search n"
                ):
                    fit_head(name, matrix, y, n_classes, folds, FitOptions(search, fixed))
                continue
            head, _ = fit_head(name, matrix, y, n_classes, folds, FitOptions(search, fixed))
            if reduction is not None:
                head.to_features(reduction)
            proba = head.predict_proba(X)
            assert np.isfinite(proba).all(), (features, search)
            np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
            if features in ("collinear", "one feature") and search == "default":
                if name == "majority":
                    continue
                assert (proba.argmax(axis=1) == y).mean() > 0.85, (features, search)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["linear-svm", "rbf-svm"])
def test_a_support_vector_machine_ends_whatever_its_penalty(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(svm, "MAX_ITERATIONS", 1000)
    X = np.ones((40, 6), np.float32)
    head, _ = fit_head(name, X, np.arange(40) % 2, 2, [], FitOptions("none", {"C": 1e30}))
    assert head.notes[0].startswith(f"{name} did not converge within 1000 iterations; a smaller")


ERRORS: list[BaseException] = [
    ValueError("The number of samples must be more than the number of classes.\n\nSee below"),
    RuntimeError("cuSolver failed"),
    KeyError("coef"),
    np.linalg.LinAlgError("Singular matrix"),
    OSError("Can't read data"),
]


@pytest.mark.parametrize("more", [[], ["--cv", "2"]])
def test_no_exception_of_a_library_ends_the_other_heads(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    """All heads but two fail in one way or another; those two are scored."""
    # A store without thumbnails has no border: that head is skipped.
    passing = ("naive-bayes", "majority", "image-border")
    failing = [name for name in FOR_ANY_LAYER if name not in passing]

    def failing_fit(error: BaseException) -> Any:
        def fails(*_: Any, **__: Any) -> None:
            raise error

        return fails

    for number, name in enumerate(failing):
        monkeypatch.setattr(HEADS[name], "fit", failing_fit(ERRORS[number % len(ERRORS)]))
    monkeypatch.setattr(HEADS["knn"], "fit", failing_fit(MemoryError()))
    path = make_store("a.h5", ["sick", "well"] * 20)
    result = fit(path, "--model", "all", "--search", "none", *more)
    assert result.exit_code == 1
    assert [row["head"] for row in read_rows("leaderboard.csv")] == ["naive-bayes", "majority"]
    assert "naive-bayes" in result.stdout
    lines = result.stderr.splitlines()
    for number, name in enumerate(failing):
        (line,) = (line for line in lines if line.startswith(f"{name}: "))
        kind = type(ERRORS[number % len(ERRORS)]).__name__
        cause = "not enough memory" if name == "knn" else f"cannot be fitted .*{kind}: "
        assert re.match(f"{name}: failed; {name}: {cause}", line), line
    expected = f"error: {len(failing)} of 14 heads could not be fitted: {', '.join(failing)}"
    assert lines[-1] == expected


def test_a_library_that_fails_in_the_only_head_is_one_line(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise ValueError("scikit-learn\nwrites paragraphs " + 1000 * "x")

    monkeypatch.setattr(HEADS["lda"], "scores", fails)
    result = fit(make_store("a.h5", ["sick", "well"] * 20), "--model", "lda")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(
        "error: lda: cannot be fitted to these features (ValueError: scikit-learn writes paragraphs"
    )
    assert len(line) < 300
    assert not Path("leaderboard.csv").exists()


def test_a_head_of_few_images_a_class_says_why_it_cannot_be_fitted(make_store: MakeStore) -> None:
    """30 classes of 3 images: folds within the 60 training images have one image of each class."""
    path = make_store("few.h5", [f"c{number % 30:02}" for number in range(90)])
    result = fit(path, "--model", "lda", "--model", "naive-bayes", "--model", "majority")
    assert result.exit_code == 1
    assert [row["head"] for row in read_rows("leaderboard.csv")] == ["naive-bayes", "majority"]
    assert (
        "lda: failed; lda needs more images than classes, but a fit has 30 images of 30 classes; "
        "give --search none, or add images"
    ) in result.stderr.splitlines()
    assert fit(path, "--model", "lda", "--search", "none").exit_code == 0


def test_features_too_large_to_compute_with_are_refused(make_store: MakeStore) -> None:
    path = make_store("huge.h5", ["sick", "well"] * 20)
    with StoreWriter(path) as writer:
        features = {
            name: np.full((40, *shape), 1e30, np.float32)
            for name, shape in FeatureStore(path).layers.items()
        }
        writer.write(range(40), features, [(10, 20)] * 40)
    for name in ("knn", "ridge", "rbf-svm"):
        with pytest.raises(FreezeframeError, match=r"features of block5_pool reach 1e\+30, and"):
            fit_classifier(make_task(FeatureStore(path)), name)
    with pytest.raises(FreezeframeError, match="features are not finite, or too large to multiply"):
        reduce(np.full((4, 20), 1e30, np.float32))
