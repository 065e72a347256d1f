"""Checks before anything is computed: a store has the requested settings, the disk has room."""

from __future__ import annotations

from ...data.output.capacity import check_free
from ...errors import StoreError
from ...features.copies.copying import stored_row_bytes
from ...features.layout import DONE, PENDING
from ...features.store import FeatureStore
from ..provenance import deciding_fields, versions
from ..settings import Settings

OUTPUT_ADVICE = "give another --output, or --overwrite to start again"
ROOM_ADVICE = "make room, give another --output, fewer layers or --dtype float16"


def check_alike(
    store: FeatureStore, settings: Settings, *, with_versions: bool, advice: str = OUTPUT_ADVICE
) -> None:
    """Raise `StoreError` if a store was made with other settings.

    Args:
        store: any store.
        settings: resolved settings.
        with_versions: compare the versions of the libraries, too: rows will be computed or copied.
        advice: last part of the message, which says what the user can do.

    Raises:
        StoreError: the message names the field that differs.
    """
    fields = deciding_fields(settings)
    # Other versions may change the last bits; they matter only where rows are added.
    if with_versions:
        fields |= versions(settings)
    for name, requested in fields.items():
        existing = store.provenance.get(name)
        if existing != requested:
            raise StoreError(
                f"{store.path}: made with {name} {existing!r}, asked for {requested!r}; {advice}"
            )
    for layer in settings.layers:
        if layer not in store.layers:
            layers = ", ".join(store.layers)
            raise StoreError(
                f"{store.path}: made with layers {layers}, asked for {layer}; {advice}"
            )


def check_room(store: FeatureStore) -> None:
    """Raise `StoreError` if the disk has no room for a store's pending rows.

    The file is sparse: layers and thumbnails of pending rows take no space yet.
    """
    n_pending = int((store.status == PENDING).sum())
    check_free(store.path, n_pending * stored_row_bytes(store), ROOM_ADVICE)


def rows_by_content(store: FeatureStore) -> dict[str, int]:
    """Return the finished rows of a store by the SHA-256 of their files."""
    return {
        str(store.sha256s[row]): int(row)
        for row in (store.status == DONE).nonzero()[0]
        if store.sha256s[row]
    }
