"""Freezeframe: freeze the backbone, look at every image once, trust every score after.

A frozen VGG16 runs once over a folder of images and writes its features to one HDF5 file.
Classifiers ("heads") are then fitted on these features in seconds. Their scores go to a CSV
leaderboard. All errors that a user can correct are listed in `freezeframe.errors`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .data.output.version import VERSION as __version__  # noqa: F401, N811
from .errors import FreezeframeError as FreezeframeError
from .errors import ImageError as ImageError
from .errors import LeakError as LeakError
from .errors import ManifestError as ManifestError
from .errors import MissingExtraError as MissingExtraError
from .errors import ModelFileError as ModelFileError
from .errors import ParameterError as ParameterError
from .errors import StoreError as StoreError
from .errors import WeightsError as WeightsError

# Public names are imported on first use, so that `import freezeframe` is quick and loads no heavy
# library.
_PUBLIC = {
    "FeatureStore": ".features.store",
    "FrozenFeatures": ".extract.cache.transformer",
    "Predictor": ".classify.prediction.predictor",
    "ReducedSearchCV": ".classify.solvers.reduced_search",
    "read_image": ".data.formats.image_file",
}

if TYPE_CHECKING:
    from .classify.prediction.predictor import Predictor as Predictor
    from .classify.solvers.reduced_search import ReducedSearchCV as ReducedSearchCV
    from .data.formats.image_file import read_image as read_image
    from .extract.cache.transformer import FrozenFeatures as FrozenFeatures
    from .features.store import FeatureStore as FeatureStore


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
