"""Stores for networks: they hold decoded images or features of frozen layers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ...data.manifest import Manifest, read_manifest
from ...data.output.slice_choice import SliceChoice
from ...errors import ParameterError
from ...extract.settings import Settings
from ...features.index import begins_as_store
from ...features.store import FeatureStore
from ..heads.architectures import Architecture

Extract = Callable[[Manifest, Path, Settings], FeatureStore]
"""Fills the store at a path with the features of a manifest's images, and returns it."""


@dataclass(frozen=True)
class ImageStores:
    """The stores of one network.

    Attributes:
        folder: folder of the stores.
        architecture: the network that is fitted on them.
        extract: called to fill a store.
        weights: weights of the frozen backbone, as for `load_weights`; None takes ImageNet's.
        group_column: column that names the patient, as for `read_manifest`.
        group_regex: pattern of the patient in a path, as for `read_manifest`.
        layout: meaning of the folders in a folder, as for `read_manifest`.
        choice: slices that are taken of volumes, and where labels come from.
        read_patients: False ignores the patients in the image files, as for `read_manifest`.
    """

    folder: Path
    architecture: Architecture
    extract: Extract
    weights: str | None = None
    group_column: str | None = None
    group_regex: str | None = None
    layout: str | None = None
    choice: SliceChoice = field(default_factory=SliceChoice)
    read_patients: bool = True

    def training(self, source: Path, size: int | None) -> FeatureStore:
        """Return the store of the training images.

        Args:
            source: folder, list or store.
            size: requested size of the images in pixels; None takes any.

        Raises:
            ParameterError: an option is for folders and lists, but the source is a store.
            FreezeframeError: the store cannot be made or read.
        """
        if not _is_store(source):
            return self._extract(source, require_groups=True)
        options = {
            # Weights of a network on pixels are where its training starts, not those of a store.
            "weights": self.weights if self.architecture.backbone.tensors else None,
            "group_column": self.group_column,
            "group_regex": self.group_regex,
            "layout": self.layout,
        }
        for name, value in options.items():
            if value is not None:
                raise ParameterError(
                    f"{name} is for folders and lists, but {source} is a store; leave it out"
                )
        store = FeatureStore(source)
        if size is not None and store.provenance["backbone"] != self.architecture.backbone.name:
            raise ParameterError(
                f"size is {size}, but {source} is a store of {store.provenance['backbone']}; "
                "leave it out"
            )
        return store

    def testing(self, source: Path) -> FeatureStore:
        """Return the store of test images; they may lack the column or paths that name patients."""
        if _is_store(source):
            return FeatureStore(source)
        return self._extract(source, require_groups=False)

    def _extract(self, source: Path, *, require_groups: bool) -> FeatureStore:
        """Fill the store of a folder or list; existing rows are kept."""
        manifest = read_manifest(
            source,
            group_column=self.group_column,
            group_regex=self.group_regex,
            require_groups=require_groups,
            read_patients=self.read_patients,
            # Images in a folder may be tested on those of a list, which has no folders.
            layout=self.layout if require_groups or source.is_dir() else None,
            choice=self.choice,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.extract(manifest, self._path(source), self._settings())

    def _settings(self) -> Settings:
        """Return the settings of the extraction."""
        backbone = self.architecture.backbone
        frozen = bool(backbone.tensors)
        return Settings(
            layers=(self.architecture.layer,),
            backbone=backbone.name,
            weights=self.weights if frozen and self.weights else "imagenet",
            # float16 represents all pixels exactly.
            dtype="float32" if frozen else "float16",
        )

    def _path(self, source: Path) -> Path:
        """Return the path of a source's store."""
        settings = self._settings()
        features = settings.backbone
        if settings.network.tensors:
            features += f"-{self.architecture.layer}"
            if settings.weights == "random":
                features += "-random"
        # Two folders may have the same name: the digest of the whole path tells them apart. Other
        # slices or labels of one folder are another store.
        text = str(source.resolve())
        if self.choice != SliceChoice():
            text += repr(self.choice)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return self.folder / f"{source.resolve().stem}-{digest}-{features}.h5"


def _is_store(source: Path) -> bool:
    return source.is_file() and begins_as_store(source)
