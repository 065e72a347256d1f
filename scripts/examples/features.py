"""Take features out of a store and find the images that are least like the rest of their class.

usage: python scripts/examples/features.py STORE
"""

import sys

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

from freezeframe import FeatureStore

store = FeatureStore(sys.argv[1])
*_, layer = store.layers
for label in sorted(set(store.labels)):
    rows = store.rows(label=label)
    X = store.features(layer, rows, pooling="flat")
    # Few numbers an image: a covariance of all features needs more images than any set has.
    few = PCA(n_components=min(10, *X.shape)).fit_transform(X)
    distances = LedoitWolf().fit(few).mahalanobis(few)
    print(f"{label}: {len(rows)} images, {X.shape[1]} features each")
    for place in np.argsort(-distances)[:3]:
        print(f"  {store.paths[rows[place]]}: distance {np.sqrt(distances[place]):.1f}")
