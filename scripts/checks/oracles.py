"""Write tests/golden/oracles.json: what other packages compute on data drawn from a seed.

netcal needs PyTorch with CUDA, and dcurves a survival package, for parts that are not used here. So
the tests compare with these numbers, and need neither. usage: python scripts/checks/oracles.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

PACKAGES = ("dcurves", "mapie", "scikit-learn", "statsmodels", "numpy", "pandas", "scipy", "tqdm")
ALONE = ("netcal",)
"""Packages that are installed without what they depend on."""

GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "oracles.json"
N = 400


def draw() -> dict[str, Any]:
    """Return outcomes, probabilities that are too extreme, and probabilities of three classes."""
    import numpy as np

    rng = np.random.default_rng(16)
    logits = rng.normal(-0.5, 1.5, N)
    outcomes = rng.random(N) < 1 / (1 + np.exp(-logits))
    p = 1 / (1 + np.exp(-1.6 * logits - 0.3))
    raw = rng.normal(0, 1.2, (N, 3))
    three = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(3, p=row) for row in three])
    # Rounded, so that the file holds exactly what the oracles saw.
    three = np.round(three, 6)
    three[:, 2] = np.round(1 - three[:, 0] - three[:, 1], 6)
    return {
        "outcomes": outcomes.astype(int).tolist(),
        "p": np.round(p, 6).tolist(),
        "y": y.tolist(),
        "proba": three.tolist(),
    }


def net_benefit(data: dict[str, Any]) -> dict[str, Any]:
    """Decision curve analysis by dcurves."""
    import pandas as pd
    from dcurves import dca

    frame = pd.DataFrame({"outcome": data["outcomes"], "p": data["p"]})
    thresholds = [0.05, 0.1, 0.2, 0.35, 0.5, 0.75]
    curve = dca(data=frame, outcome="outcome", modelnames=["p"], thresholds=thresholds)
    of = curve.set_index(["model", "threshold"])["net_benefit"]
    models = {"head": "p", "act on all": "all"}
    values = {ours: [float(of[theirs, t]) for t in thresholds] for ours, theirs in models.items()}
    return {"thresholds": thresholds, **values}


def calibration_line(data: dict[str, Any]) -> dict[str, Any]:
    """Slope by scikit-learn's unpenalised regression, both by statsmodels' `Logit`."""
    import numpy as np
    import statsmodels.api as sm
    from sklearn.linear_model import LogisticRegression

    y, p = np.array(data["outcomes"]), np.array(data["p"])
    logits = np.log(p / (1 - p))
    penalty_free = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
    slope = penalty_free.fit(logits[:, None], y).coef_[0, 0]
    fit = sm.Logit(y, sm.add_constant(logits)).fit(disp=0)
    shift = sm.Logit(y, np.ones((N, 1)), offset=logits).fit(disp=0)
    return {
        "slope by scikit-learn": float(slope),
        "slope": float(fit.params[1]),
        "intercept": float(shift.params[0]),
    }


class Absent(MetaPathFinder, Loader):
    """Gives empty modules in place of those that netcal imports and its ECE does not use."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] not in ("torch", "gpytorch", "pyro", "tensorboard"):
            return None
        return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> Any:
        return MagicMock(Module=object, Distribution=object, Kernel=object, GP=object)

    def exec_module(self, module: Any) -> None:
        """Do nothing: the module has all names already."""


def expected_calibration_error(data: dict[str, Any]) -> dict[str, Any]:
    """ECE of the likeliest of three classes in 15 bins, by netcal."""
    import numpy as np

    # netcal imports PyTorch at its head; its ECE uses NumPy alone.
    sys.meta_path.append(Absent())
    from netcal.metrics import ECE

    return {"bins": 15, "ece": float(ECE(15).measure(np.array(data["proba"]), np.array(data["y"])))}


def prediction_sets(data: dict[str, Any]) -> dict[str, Any]:
    """Thresholds and sets of split-conformal prediction with the score 1 - p, by MAPIE."""
    import numpy as np
    from mapie.classification import SplitConformalClassifier
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Known(ClassifierMixin, BaseEstimator):
        """A classifier whose probabilities are the features."""

        def fit(self, X: Any, y: Any) -> Known:
            self.classes_ = np.arange(3)
            return self

        def predict_proba(self, X: Any) -> Any:
            return np.asarray(X)

        def predict(self, X: Any) -> Any:
            return np.asarray(X).argmax(axis=1)

    proba, y = np.array(data["proba"]), np.array(data["y"])
    half = N // 2
    numbers: dict[str, Any] = {"n_calibration": half}
    for rate in (0.1, 0.3):
        rule = SplitConformalClassifier(
            Known().fit(proba, y), confidence_level=1 - rate, conformity_score="lac", prefit=True
        )
        rule.conformalize(proba[:half], y[:half])
        _, sets = rule.predict_set(proba[half:])
        members = sets[:, :, 0]
        numbers[str(rate)] = {
            "threshold": 1 - float(rule._mapie_classifier.conformity_score_function_.quantiles_[0]),
            "sizes": np.bincount(members.sum(axis=1), minlength=4).tolist(),
            "coverage": float(members[np.arange(half), y[half:]].mean()),
        }
    return numbers


ORACLES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "net benefit": net_benefit,
    "calibration line": calibration_line,
    "ece": expected_calibration_error,
    "prediction sets": prediction_sets,
}
"""Each oracle by the name of its numbers; it takes what `draw` returns."""


def write_golden(path: Path) -> None:
    """Run all oracles in this process, and write their numbers with the versions."""
    data = draw()
    numbers = {name: oracle(data) for name, oracle in ORACLES.items()}
    versions = {name: version(name) for name in (*PACKAGES, *ALONE)}
    record = {"versions": versions, "data": data, **numbers}
    path.write_text(json.dumps(record) + "\n")


def main() -> None:
    """Make an environment with the oracles, and run this file in it."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        pip = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *PACKAGES], check=True)
        subprocess.run([*pip, "--no-deps", *ALONE], check=True)
        subprocess.run([python, __file__, "--inside"], check=True)
    print(f"{GOLDEN}: written")


if __name__ == "__main__":
    if sys.argv[1:] == ["--inside"]:
        write_golden(GOLDEN)
    else:
        main()
