"""Image sets from stores and folders, and pairs of images whose features are similar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...data.audit.image_set import NOT_COMPUTED, ImageSet
from ...data.duplicates.by_features import cosine_pairs
from ...data.fingerprints import THUMBNAIL
from ...data.groups import PATIENTS_IGNORED
from ...data.inspection.inspect import inspect_images
from ...data.manifest import listing_lines, read_manifest
from ...data.output.slice_choice import SliceChoice
from ...data.output.terminal import Progress, Status
from ...data.splits import join_groups
from ...errors import ParameterError
from ...features.index import begins_as_store
from ...features.layout import DONE, PENDING
from ...features.store import FeatureStore
from .task import check_comparable

NO_FINGERPRINT = "no fingerprint in the store"
"""Reason for a finished row that has no digest of its pixels; only `audit` shows it."""


def read_image_set(
    path: Path,
    *,
    group_column: str | None = None,
    group_regex: str | None = None,
    layout: str | None = None,
    read_patients: bool = True,
    choice: SliceChoice | None = None,
    cache: bool = True,
    message: Status | None = None,
    progress: Progress | None = None,
) -> ImageSet:
    """Read the images of a folder, list or store.

    Args:
        path: folder, list or store.
        group_column: see `read_manifest`; folders and stores have no such column.
        group_regex: see `read_manifest`; a store keeps the groups that it was extracted with.
        layout: see `read_manifest`; only folders have one.
        read_patients: see `read_manifest`; if False, the patients of a store are ignored, too.
        choice: see `read_manifest`; a store has the slices that it was extracted with.
        cache: see `inspect_images`.
        message: called with each line about how the folder or list was read.
        progress: called with the number of inspected images and of all images.
    """
    if _is_store(path):
        images = image_set_of_store(FeatureStore(path))
        if read_patients:
            return images
        return replace(
            images,
            patients=images.names.without_patient_ids().patients,
            group_source=f"{images.group_source}, {PATIENTS_IGNORED}",
        )
    # A folder has no columns; the option is meant for the lists among the sets.
    if not path.is_file():
        group_column = None
    manifest = read_manifest(
        path,
        group_column=group_column,
        group_regex=group_regex,
        least_classes=1,
        require_groups=False,
        layout=layout if path.is_dir() else None,
        read_patients=read_patients,
        choice=choice,
    )
    if message is not None:
        for line in listing_lines(manifest):
            message(line)
    facts = inspect_images(manifest, cache=cache, progress=progress)
    return ImageSet.from_manifest(manifest, facts)


def _is_store(path: Path) -> bool:
    """Return True for a store of any version, damaged or not."""
    return path.is_file() and begins_as_store(path)


def image_set_of_store(store: FeatureStore) -> ImageSet:
    """Return the images of a store, with the thumbnails that it keeps.

    Raises:
        StoreError: the store is of a version that keeps no thumbnails.
    """
    rows = store.rows()
    thumbnails = np.zeros((len(store), THUMBNAIL, THUMBNAIL), np.uint8)
    thumbnails[rows] = store.thumbnails(rows)
    # A stopped extraction may have the digest of an image, but its thumbnail is not certain.
    pixels = np.where(store.status == DONE, store.pixels, "")
    reasons = np.where(store.status == PENDING, NOT_COMPUTED, store.reasons)
    # The images may be gone; then the report shows their thumbnails.
    source = Path(store.source)
    folder = source if source.is_dir() else source.parent
    return ImageSet(
        store.data_set,
        store.paths.tolist(),
        store.sha256s.tolist(),
        store.labels.tolist(),
        store.splits.tolist(),
        store.groups.tolist(),
        pixels.tolist(),
        thumbnails,
        folder if store.source and source.exists() else None,
        reasons=np.where(store.status == DONE, NO_FINGERPRINT, reasons).tolist(),
        group_scopes=store.group_scopes.tolist(),
        patients=store.patients.tolist(),
        group_source=str(store.provenance.get("group_source", "")),
    )


def feature_pairs(
    paths: Sequence[Path], sets: Sequence[ImageSet], similarity: float, layer: str | None
) -> list[tuple[int, int, float]]:
    """Find pairs of images whose features are similar.

    Args:
        paths: of the stores.
        sets: their images, in the same order.
        similarity: least cosine of a pair, above 0, up to 1.
        layer: the layer to compare; None takes the deepest layer of the first store.

    Returns:
        Numbers of two images through all sets, and their cosine, for each pair.

    Raises:
        ParameterError: the similarity is not above 0, or a path is not a store.
        StoreError: the features of two stores cannot be compared.
    """
    # Written so that NaN is refused, too.
    if not similarity > 0:
        raise ParameterError(f"--cosine must be above 0, got {similarity}")
    stores = _open_stores(paths)
    layer = layer or list(stores[0].layers)[-1]
    for store in stores[1:]:
        check_comparable(stores[0], store, layer)
    # Copies are related already, so that one of each is enough.
    sha256s = [text for images in sets for text in images.sha256s]
    pixels = [text for images in sets for text in images.pixels]
    _, firsts = np.unique(join_groups(sha256s, pixels), return_index=True)
    # Numbers of a store's rows begin where those of the last store end.
    features = []
    numbers = []
    start = 0
    for store in stores:
        rows = np.intersect1d(store.rows(), firsts - start)
        features.append(store.features(layer, rows, "avg"))
        numbers.append(start + rows)
        start += len(store)
    pairs = cosine_pairs(np.concatenate(features), similarity)
    chosen = np.concatenate(numbers)
    return [
        (int(chosen[a]), int(chosen[b]), float(cosine)) for a, b, cosine in zip(*pairs, strict=True)
    ]


def _open_stores(paths: Sequence[Path]) -> list[FeatureStore]:
    """Open stores; raise ParameterError if a path is not one."""
    for path in paths:
        if not _is_store(path):
            raise ParameterError(
                f"{path}: is not a feature store, so --cosine has no features to compare; "
                "make one with `freezeframe extract-features`"
            )
    return [FeatureStore(path) for path in paths]
