"""Command line of splits: a list of images in which no picture, and no patient, is on two sides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ...errors import FreezeframeError, ParameterError
from ..output.options import group_options
from ..output.terminal import printable, progress_bar

if TYPE_CHECKING:
    from ..audit.audit import Audit
    from ..partition import Split


@click.command()
@click.argument("source", metavar="FOLDER|CSV", type=click.Path(path_type=Path))
@click.option(
    "--output",
    default="manifest.csv",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The list to be made.",
)
@click.option(
    "--test", default=0.2, show_default=True, help="Share of the images to test on; 0 for none."
)
@click.option(
    "--validation",
    default=0.0,
    show_default=True,
    help="Share of the images to choose by; 0 for none.",
)
@click.option(
    "--folds", default=0, metavar="FOLDS", help="Number folds of those that are not tested, too."
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**32 - 1),
    help="Of the dealing.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0.5, 1),
    help="From which score on two thumbnails count as one picture; by default 0.85. See freezeframe audit.",
)
@group_options
@click.option("--no-cache", is_flag=True, help="Look at every image anew, and keep nothing of it.")
def split(
    source: Path,
    output: Path,
    test: float,
    validation: float,
    folds: int,
    seed: int,
    threshold: float | None,
    group_column: str | None,
    group_regex: str | None,
    no_cache: bool,
) -> None:
    """Make a list of the images in FOLDER or CSV with a split that cuts no group.

    Copies, near-duplicates and images of one patient or study stay on one side; classes are dealt
    out evenly. Splits that were there before are replaced. The list is what extract-features and
    other tools take.
    """
    from ..audit.audit import audit
    from ..audit.image_set import ImageSet
    from ..duplicates.pairs import THRESHOLD
    from ..inspection.inspect import inspect_images
    from ..manifest import read_manifest
    from ..output.files import write_whole
    from ..partition import manifest_lines, split_groups

    if output.exists():
        raise ParameterError(f"{output}: is there already; remove it, or give another --output")
    if not output.resolve().parent.is_dir():
        raise ParameterError(f"{output}: there is no such folder to write into")
    manifest = read_manifest(source, group_column=group_column, group_regex=group_regex)
    with progress_bar("looking at", "images") as progress:
        inspected = inspect_images(manifest, cache=not no_cache, progress=progress)
    both = list(zip(manifest.images, inspected, strict=True))
    unread = [image.path for image, found in both if found.fingerprint is None]
    kept = tuple(replace(image, split="") for image, found in both if found.fingerprint is not None)
    if len({image.label for image in kept}) < 2:
        raise FreezeframeError(
            f"{source}: images of fewer than two classes can be read, so there is nothing to split"
        )
    manifest = replace(manifest, images=kept)
    readable = [found for _, found in both if found.fingerprint is not None]
    with progress_bar("comparing", "pairs") as progress:
        limit = THRESHOLD if threshold is None else threshold
        audited = audit(
            [ImageSet.of(manifest, readable)],
            threshold=limit,
            cache=not no_cache,
            progress=progress,
        )
    made = split_groups(
        audited.labels, audited.groups, test=test, validation=validation, n_folds=folds, seed=seed
    )
    write_whole(
        output, "".join(manifest_lines(manifest, audited.groups, made, output.resolve().parent))
    )
    _tell(audited, made, output, unread)


def _tell(found: Audit, made: Split, output: Path, unread: list[str]) -> None:
    from ..audit.report import headlines

    labels = np.array(found.labels)
    for side in ("train", "validation", "test", ""):
        rows = made.sides == side
        if rows.any():
            classes = ", ".join(
                f"{name} {int((labels[rows] == name).sum())}" for name in sorted(set(found.labels))
            )
            n_groups = len(np.unique(found.groups[rows]))
            click.echo(
                printable(
                    f"{side or 'all'}: {int(rows.sum())} images in {n_groups} groups ({classes})"
                )
            )
    if made.folds.any():
        sizes = ", ".join(str(size) for size in np.bincount(made.folds)[1:])
        click.echo(f"folds: {sizes} images")
    click.echo(printable(f"list: {output}; no group is on two sides"))
    if unread:
        click.echo(
            printable(f"left out, unreadable: {', '.join(unread[:3])}{' ...' * (len(unread) > 3)}"),
            err=True,
        )
    for kind, text in headlines(found):
        if kind == "CONFLICT":
            click.echo(f"warning: {text}; freezeframe audit lists them", err=True)
