"""The collection of images that a store was made of, compared with that of a manifest."""

from __future__ import annotations

from ...data.groups import split_names
from ...data.manifest import Image, Manifest
from ...errors import StoreError
from ...features.layout import DONE
from ...features.store import FeatureStore
from .preflight import OUTPUT_ADVICE

ROWS_A_COMPARISON = 65536
"""Number of rows that are compared at a time; a million rows at once would take 760 MB."""


def has_images(store: FeatureStore, manifest: Manifest) -> bool:
    """Return True if the rows of a store are the images of a manifest, in its order."""
    if len(store) != len(manifest.images):
        return False
    # Block by block: Python strings of a million rows would take much memory.
    for start in range(0, len(store), ROWS_A_COMPARISON):
        part = slice(start, start + ROWS_A_COMPARISON)
        identity = store.identity(part)
        for name in store.layout.identity_columns:
            pairs = zip(identity[name], manifest.images[part], strict=True)
            if not all(_is_of_image(text, name, image, store) for text, image in pairs):
                return False
    return True


def _is_of_image(text: str, name: str, image: Image, store: FeatureStore) -> bool:
    """Return True if a store has this text for an image in an identity column."""
    # Without a column for patients, a store has one of the image's names as its group.
    if name == "group" and "patient" not in store.layout.rows:
        return text in ({image.group, *split_names(image.patient)} - {""} or {""})
    return text == str(getattr(image, name))


def check_same_collection(store: FeatureStore, manifest: Manifest) -> None:
    """Raise `StoreError` if less than half of a store's finished images are in the manifest.

    Otherwise a run on another folder would replace the store.
    """
    sha256s = {image.sha256 for image in manifest.images}
    # Rows that hold no features are no loss: all paths of a list may have been wrong.
    finished = store.sha256s[store.status == DONE].tolist()
    n_common = sum(sha256 in sha256s for sha256 in finished)
    # A collection that lost a few images is still the same collection.
    if 2 * n_common < len(finished):
        raise StoreError(
            f"{store.path}: only {n_common} of its {len(finished)} images are in this folder "
            f"or list; {OUTPUT_ADVICE}"
        )
