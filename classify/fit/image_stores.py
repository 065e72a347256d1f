"""The stores that networks are fitted on: decoded images, or features of what is frozen, made when they are needed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ...data.manifest import read_manifest
from ...errors import ParameterError
from ...extract.commands.extract_features import extract_and_tell
from ...extract.settings import Settings
from ...features.index import begins_as_store
from ...features.store import FeatureStore
from ..heads.architectures import Architecture


@dataclass(frozen=True)
class Stores:
    """Makes the stores of one network.

    Attributes:
        place: folder where they are kept.
        architecture: what is fitted on them.
        weights: of the frozen backbone, as for `load_weights`; None: ImageNet's.
        group_column, group_regex: how a patient is known, as for `read_manifest`.
        max_failed: percent of the images that may be unreadable.
    """

    place: Path
    architecture: Architecture
    weights: str | None = None
    group_column: str | None = None
    group_regex: str | None = None
    max_failed: float = 10.0

    def training(self, source: Path, size: int | None) -> FeatureStore:
        """The store of what is trained on.

        Args:
            source: folder, list or store.
            size: of the images, if one was asked for.

        Raises:
            ParameterError: something is asked of a store that only a folder can be made to have.
            FreezeframeError: the store cannot be made or read.
        """
        if not _is_store(source):
            return self._made(source, require_groups=True)
        weights = self.weights if self.architecture.backbone.tensors else None
        given = {
            "weights": weights,
            "group_column": self.group_column,
            "group_regex": self.group_regex,
        }
        for name, value in given.items():
            if value is not None:
                raise ParameterError(
                    f"{name} is for folders and lists; {source} is a store, and is taken as it is"
                )
        store = FeatureStore(source)
        if size is not None and store.provenance["backbone"] != self.architecture.backbone.name:
            raise ParameterError(
                f"size is {size}, but {source} is a store of {store.provenance['backbone']}"
            )
        return store

    def testing(self, source: Path) -> FeatureStore:
        """The store of what is tested on; it need not have the column or the paths that patients are known by."""
        return (
            FeatureStore(source) if _is_store(source) else self._made(source, require_groups=False)
        )

    def _made(self, source: Path, *, require_groups: bool) -> FeatureStore:
        """The store of a folder or list, filled with what it lacks."""
        manifest = read_manifest(
            source,
            group_column=self.group_column,
            group_regex=self.group_regex,
            require_groups=require_groups,
        )
        backbone, layer = self.architecture.backbone, self.architecture.layer
        frozen = bool(backbone.tensors)
        weights = self.weights if frozen and self.weights else "imagenet"
        dtype = "float32" if frozen else "float16"  # which holds all pixels exactly
        settings = Settings(layers=(layer,), backbone=backbone.name, weights=weights, dtype=dtype)
        self.place.mkdir(parents=True, exist_ok=True)
        where = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[
            :8
        ]  # two folders may be called alike
        what = (
            f"{backbone.name}-{layer}" + "-random" * (weights == "random")
            if frozen
            else backbone.name
        )
        path = self.place / f"{source.resolve().stem}-{where}-{what}.h5"
        return extract_and_tell(manifest, path, settings, max_failed=self.max_failed)


def _is_store(source: Path) -> bool:
    return source.is_file() and begins_as_store(source)
