"""Score a head of one's own, with copies or patients in one fold and as a random split would.

usage: python scripts/examples/own_head.py STORE
"""

import sys

from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from freezeframe import FeatureStore

store = FeatureStore(sys.argv[1])
rows = store.rows()
*_, layer = store.layers
X, y = store.features(layer, rows, pooling="avg"), store.labels[rows]
# Images of a patient are kept together if all patients are known, but a copy that has the id of
# another patient is not. Else near-duplicates are. `freezeframe fit-classifier` keeps all together.
has_patient = store.patients[rows] != ""
groups = store.patients[rows] if has_patient.all() else store.duplicates[rows]
head = KNeighborsClassifier(5, metric="cosine")
for title, folds, relatives in (
    ("random folds", StratifiedKFold(5, shuffle=True, random_state=0), None),
    ("relatives in one fold", StratifiedGroupKFold(5, shuffle=True, random_state=0), groups),
):
    scores = cross_val_score(head, X, y, cv=folds, groups=relatives)
    print(f"{title}: {scores.mean():.3f} ({scores.min():.3f} to {scores.max():.3f} of 5 folds)")
