"""The command `freezeframe audit`; it also reads stores, so it is above the folder data/."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...data.output.options import (
    Number,
    check_slices_idle,
    class_options,
    group_options,
    layout_option,
    parse_classes,
    volume_options,
)
from ...data.output.slice_choice import SliceChoice
from ...data.output.terminal import counted, printable, progress_bar
from ...errors import FreezeframeError, LeakError, ParameterError

if TYPE_CHECKING:
    from ...data.audit.audit import Audit
    from ...data.audit.image_set import ImageSet


@click.command()
@click.argument("source", metavar="FOLDER|CSV|STORE", type=click.Path(path_type=Path))
@click.option(
    "--against",
    "references",
    multiple=True,
    metavar="FOLDER|CSV|STORE",
    type=click.Path(path_type=Path),
    help="Another set that should share no image with the first, a test set say. "
    "Repeat it for more sets.",
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
    type=Number(0.5, 1),
    help="Score from which on two thumbnails count as one picture, 0.85 by default. "
    "1 finds copies only.",
)
@click.option(
    "--cosine",
    type=Number(0, 1, min_open=True),
    metavar="SIMILARITY",
    help="For stores: pictures also count as one if the cosine of their features is at least "
    "this, 0.99 say.",
)
@click.option(
    "--layer",
    metavar="NAME",
    help="Layer that --cosine compares; by default the deepest layer of the store.",
)
@class_options
@group_options
@layout_option
@volume_options
@click.option(
    "--strict",
    is_flag=True,
    help="End with exit code 3 if an image is on both sides of a split or in two sets, "
    "or could not be looked at.",
)
@click.option("--no-cache", is_flag=True, help="Inspect each image again, and write no cache.")
def audit(
    source: Path,
    references: tuple[Path, ...],
    output: Path,
    threshold: float | None,
    cosine: float | None,
    layer: str | None,
    classes: tuple[str, ...],
    drop_classes: tuple[str, ...],
    group_column: str | None,
    group_regex: str | None,
    ignore_patient_ids: bool,
    layout: str | None,
    choice: SliceChoice,
    strict: bool,
    no_cache: bool,
) -> None:
    """Find images that show the same picture: in one set, across its splits, or in other sets.

    These are copies, and pictures that were saved again, resized, made brighter, cropped a little,
    mirrored or turned by quarter turns. The report has three files: a page with pairs side by side
    (index.html), one line for each pair (audit.csv), and the group of each image (groups.csv). No
    split should cut a group.
    """
    from ...data.audit.audit import audit as audit_sets
    from ...data.audit.report import AUDIT_FILES, report_folder, write_report
    from ...data.duplicates.pairs import THRESHOLD
    from ...features.index import begins_as_store
    from ..task.image_sets import feature_pairs

    if cosine is None and layer is not None:
        raise ParameterError("--layer: has no effect without --cosine; give both or none")
    renamed = parse_classes(classes)
    paths = (source, *references)
    # This check comes before the images are read, which may take minutes.
    folder = report_folder(output)
    folder.check(AUDIT_FILES, paths)
    if all(path.is_file() and begins_as_store(path) for path in paths):
        check_slices_idle()
    sets = _read(
        paths,
        group_column=group_column,
        group_regex=group_regex,
        layout=layout,
        choice=choice,
        read_patients=not ignore_patient_ids,
        cache=not no_cache,
    )
    # Features are compared only on request: similar features need not mean the same picture.
    alike = [] if cosine is None else feature_pairs(paths, sets, cosine, layer)
    with progress_bar("comparing", "pairs") as progress:
        result = audit_sets(
            sets,
            threshold=THRESHOLD if threshold is None else threshold,
            classes=renamed,
            drop_classes=drop_classes,
            alike=alike,
            cache=not no_cache,
            progress=progress,
        )
    # The report is written first: it exists even if the strict exit code stops a script.
    _print(result, write_report(result, folder))
    if strict and result.leaks:
        raise LeakError("images are on both sides of a split or in two sets (--strict)")
    # An image that nobody looked at may be a leak, so a build must not pass.
    n_unread = int(result.unread.sum())
    if strict and n_unread:
        raise LeakError(f"{counted(n_unread, 'image')} could not be looked at (--strict)")
    if strict and result.uncertain_groups:
        raise LeakError("groups may be the same in two sets (--strict)")
    if strict and result.incomparable_patients:
        raise LeakError("patients cannot be compared (--strict)")
    for images in result.sets:
        if not any(images.pixels):
            raise FreezeframeError(
                f"{images.name}: none of its {counted(len(images), 'image')} could be looked at; "
                "check the files, or finish the store with extract-features"
            )


def _read(
    paths: tuple[Path, ...],
    *,
    group_column: str | None,
    group_regex: str | None,
    layout: str | None,
    choice: SliceChoice,
    read_patients: bool,
    cache: bool,
) -> list[ImageSet]:
    """Read all sets behind a progress bar."""
    from ..task.image_sets import read_image_set

    if layout is not None and not any(path.is_dir() for path in paths):
        raise ParameterError("--layout: lists and stores have no folders; leave it out")

    with progress_bar("inspecting", "images") as progress:
        sets = [
            read_image_set(
                path,
                group_column=group_column,
                group_regex=group_regex,
                layout=layout,
                choice=choice,
                read_patients=read_patients,
                cache=cache,
                message=partial(click.echo, err=True),
                progress=progress,
            )
            for path in paths
        ]
    _check_source(sets, "--group-column", group_column and f"column {group_column}")
    _check_source(sets, "--group-regex", group_regex and f"expression {group_regex}")
    return sets


def _check_source(sets: list[ImageSet], option: str, source: str | None) -> None:
    """Raise ParameterError if an option names no image: a misspelt name must not look like none."""
    if source and not any(source in images.group_source for images in sets):
        raise ParameterError(
            f"{option}: no image has such a group; check the name or the expression"
        )


def _print(result: Audit, page: Path) -> None:
    """Print the headlines, then the remarks."""
    from ...data.audit.findings import NO_LEAKS, headlines, remarks

    lines = headlines(result)
    for kind, text in lines:
        # Colour is for terminals; click leaves it out elsewhere.
        click.secho(printable(f"{kind}: {text}"), fg="red", bold=True)
    # An empty result needs a sentence, too.
    if not lines:
        click.echo(NO_LEAKS)
    for text in remarks(result):
        click.echo(printable(text))
    click.echo(printable(f"report: {page} (pairs side by side), audit.csv, groups.csv"))
