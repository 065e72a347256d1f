"""Fit a scikit-learn pipeline whose first step is the frozen network.

usage: python scripts/examples/pipeline.py FOLDER [BACKBONE LAYER]
"""

import sys
from pathlib import Path

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from freezeframe import FrozenFeatures

folder = Path(sys.argv[1])
backbone, layer = sys.argv[2:] or ("vgg16", "block5_pool")
paths = [str(path) for path in sorted(folder.glob("*/*")) if path.suffix != ".txt"]
labels = [Path(path).parent.name for path in paths]

# The store is the cache: every fold of the search, and the next call, finds its features there.
features = FrozenFeatures(backbone, layer, store="cache.h5")
pipeline = make_pipeline(features, LogisticRegression(max_iter=1000))
# These folds know nothing of copies and patients: own_head.py shows how they do.
search = GridSearchCV(pipeline, {"logisticregression__C": [1e-5, 1e-4, 1e-3]}, cv=3)
search.fit(paths, labels)
print(f"C = {search.best_params_['logisticregression__C']}: {search.best_score_:.3f}")
print(f"{paths[0]}: {search.predict(paths[:1])[0]}")
