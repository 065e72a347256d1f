"""Command line of the audit: it takes stores, too, so it lives above the rooms of images and of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ...data.output.options import group_options, parse_classes
from ...data.output.terminal import printable, progress_bar
from ...errors import LeakError, ParameterError
from ...features.index import begins_as_store
from ...features.store import FeatureStore
from ..task.task import check_comparable

if TYPE_CHECKING:
    from ...data.audit.audit import Audit
    from ...data.audit.image_set import ImageSet
    from ...data.output.terminal import Progress


@click.command()
@click.argument("source", metavar="FOLDER|CSV|STORE", type=click.Path(path_type=Path))
@click.option(
    "--against",
    "others",
    multiple=True,
    metavar="FOLDER|CSV|STORE",
    type=click.Path(path_type=Path),
    help="Another set, a test set say, that should have nothing in common with it; may be given several times.",
)
@click.option(
    "--output",
    default="audit",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the report.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0.5, 1),
    help="From which score on two thumbnails count as one picture; by default 0.85. 1 finds copies only.",
)
@click.option(
    "--cosine",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SIMILARITY",
    help="Of stores: pictures with features so alike count as one, too; 0.99, say.",
)
@click.option(
    "--layer",
    metavar="NAME",
    help="Whose features --cosine compares; by default the deepest of the store.",
)
@click.option(
    "--classes",
    metavar="OLD=NEW,...",
    help="New names for classes, where two sets name them differently.",
)
@group_options
@click.option(
    "--strict",
    is_flag=True,
    help="End with exit code 3 if anything is on both sides of a split or set.",
)
@click.option("--no-cache", is_flag=True, help="Look at every image anew, and keep nothing of it.")
def audit(
    source: Path,
    others: tuple[Path, ...],
    output: Path,
    threshold: float | None,
    cosine: float | None,
    layer: str | None,
    classes: str | None,
    group_column: str | None,
    group_regex: str | None,
    strict: bool,
    no_cache: bool,
) -> None:
    """Find images that are the same, or nearly: in one set, on both sides of its split, or in another set.

    Nearly the same are pictures that were saved anew, resized, made brighter, cropped a little,
    mirrored or turned by quarter turns. The report is a page to open (index.html) that shows pairs
    side by side, one line a pair (audit.csv), and the group of each image (groups.csv), which no
    split should cut.
    """
    from ...data.audit.audit import audit as compare
    from ...data.duplicates.pairs import THRESHOLD
    from ...data.output.html import refuse_output_within

    if cosine is None and layer is not None:
        raise ParameterError("--layer is for --cosine, which is not given")
    for place in (source, *others):
        refuse_output_within(place, output)
    with progress_bar("looking at", "images") as progress:
        grouping = {"group_column": group_column, "group_regex": group_regex}
        sets = [
            _read(path, grouping, cache=not no_cache, progress=progress)
            for path in (source, *others)
        ]
    if any(grouping.values()) and not any(each.groups_are_common for each in sets):
        raise ParameterError("--group-column and --group-regex name no group of any image here")
    alike = [] if cosine is None else _alike((source, *others), sets, cosine, layer)
    with progress_bar("comparing", "pairs") as progress:
        found = compare(
            sets,
            threshold=THRESHOLD if threshold is None else threshold,
            classes=parse_classes(classes),
            alike=alike,
            cache=not no_cache,
            progress=progress,
        )
    _tell(found, _write(found, output))
    if strict and found.leaks:
        raise LeakError("images are on both sides of a split or in two sets (--strict)")


def _read(
    path: Path, grouping: Mapping[str, str | None], cache: bool, progress: Progress
) -> ImageSet:
    from ...data.audit.image_set import ImageSet
    from ...data.inspection.inspect import inspect_images
    from ...data.manifest import read_manifest

    if _is_store(path):
        return set_of_store(FeatureStore(path))  # its groups are those that it was extracted with
    wanted = (
        dict(grouping) if path.is_file() else {**grouping, "group_column": None}
    )  # folders have no columns
    manifest = read_manifest(path, **wanted, least_classes=1, require_groups=False)
    found = ImageSet.of(manifest, inspect_images(manifest, cache=cache, progress=progress))
    return replace(found, groups_are_common=any(wanted.values()) and any(found.groups))


def _is_store(path: Path) -> bool:
    return path.is_file() and begins_as_store(path)


def set_of_store(store: FeatureStore) -> ImageSet:
    """The images of a store, as it remembers them.

    Raises:
        StoreError: it was made by a version that did not remember what they look like.
    """
    from ...data.audit.image_set import ImageSet
    from ...data.fingerprints import THUMBNAIL

    rows = store.rows()
    thumbnails = np.zeros((len(store), THUMBNAIL, THUMBNAIL), np.uint8)
    thumbnails[rows] = store.thumbnails(rows)
    source = Path(str(store.provenance.get("source", "")))
    root = source if source.is_dir() else source.parent if source.is_file() else None
    return ImageSet(
        source.name or store.path.stem,
        store.paths.tolist(),
        store.sha256s.tolist(),
        store.labels.tolist(),
        store.splits.tolist(),
        store.groups.tolist(),
        store.pixels.tolist(),
        thumbnails,
        root,
    )


def _alike(
    paths: Sequence[Path], sets: Sequence[ImageSet], similarity: float, layer: str | None
) -> list[tuple[int, int, float]]:
    """Pairs of images of stores whose features are alike, numbered through all sets."""
    from ...data.duplicates.by_features import cosine_pairs
    from ...data.splits import join_groups

    if not similarity > 0:
        raise ParameterError(f"--cosine must be above 0, got {similarity}")
    for path in paths:
        if not _is_store(path):
            raise ParameterError(
                f"{path}: no feature store, so there are no features for --cosine to compare"
            )
    stores = [FeatureStore(path) for path in paths]
    layer = layer or list(stores[0].layers)[-1]
    for store in stores[1:]:
        check_comparable(stores[0], store, layer)
    sha256s, pixels = (
        [text for each in sets for text in getattr(each, name)] for name in ("sha256s", "pixels")
    )
    _, firsts = np.unique(
        join_groups(sha256s, pixels), return_index=True
    )  # copies need no comparing
    features, numbers, start = [], [], 0
    for store in stores:
        rows = np.intersect1d(store.rows(), firsts - start)
        features.append(store.features(layer, rows, "avg"))
        numbers.append(start + rows)
        start += len(store)
    found = cosine_pairs(np.concatenate(features), similarity)
    chosen = np.concatenate(numbers)
    return [
        (int(chosen[a]), int(chosen[b]), float(score)) for a, b, score in zip(*found, strict=True)
    ]


def _write(found: Audit, output: Path) -> Path:
    """Everything that belongs to the report; the page comes last."""
    from ...data.audit import report as audit_report
    from ...data.output.files import write_whole

    output.mkdir(parents=True, exist_ok=True)
    write_whole(output / "audit.csv", "".join(audit_report.audit_csv(found)))
    write_whole(output / "groups.csv", "".join(audit_report.groups_csv(found)))
    write_whole(output / "index.html", audit_report.page(found))
    return output / "index.html"


def _tell(found: Audit, page: Path) -> None:
    """What must be known comes first."""
    from ...data.audit.report import FINE, headlines, remarks

    worrying = headlines(found)
    for kind, text in worrying:
        click.secho(printable(f"{kind}: {text}"), fg="red", bold=True)
    if not worrying:
        click.echo(FINE)
    for text in remarks(found):
        click.echo(printable(text))
    click.echo(printable(f"report: {page} (pairs side by side), audit.csv, groups.csv"))
