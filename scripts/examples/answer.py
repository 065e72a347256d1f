"""Classify an image with a fitted head, and show what speaks for the answer.

usage: python scripts/examples/answer.py RUN IMAGE
"""

import sys
from pathlib import Path

import numpy as np

from freezeframe import Predictor

run, image = sys.argv[1:]
with Predictor(run) as predictor:
    (answer,) = predictor.predict([image])
    if answer.error:
        sys.exit(f"error: {answer.error}")
    (explanation,) = predictor.explain([image])
for name, probability in sorted(answer.probabilities.items(), key=lambda item: -item[1]):
    print(f"{name}: {100 * probability:.1f} %")
# A copy of a training image says nothing about new ones; nor does an image unlike all of them.
if answer.training_copy and answer.training_copy.path:
    print(f"a copy of {answer.training_copy.path}, which was trained on")
if answer.familiarity and not answer.familiarity.familiar:
    print(f"unlike the training images: farther than {answer.familiarity.percentile:.0f} % of them")
cells = explanation.contributions
row, column = np.unravel_index(np.abs(cells).argmax(), cells.shape)
print(f"most evidence in cell ({row}, {column}) of {cells.shape}: {cells[row, column]:+.3f}")
Path("why.png").write_bytes(explanation.overlay())
