"""The command `freezeframe split`: write a list of images with a split that cuts no group."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ...errors import ParameterError
from ..output.options import Integer, Number, group_options, layout_option, volume_options
from ..output.slice_choice import SliceChoice
from ..output.terminal import counted, counts_by_name, printable, progress_bar
from .source import read_source

if TYPE_CHECKING:
    from ..audit.grouped_split import GroupedSplit

MAX_UNREADABLE = 3
"""Most unreadable images that the command prints by name."""


@click.command()
@click.argument("source", metavar="FOLDER|CSV", type=click.Path(path_type=Path))
@click.option(
    "--output",
    default="manifest.csv",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Path of the new list, a CSV file.",
)
@click.option(
    "--test",
    default=0.2,
    show_default=True,
    type=Number(0, 1, max_open=True),
    help="Share of the images to test on; 0 for none.",
)
@click.option(
    "--validation",
    default=0.0,
    type=Number(0, 1, max_open=True),
    show_default=True,
    help="Share of the images for choosing among heads; 0 for none.",
)
@click.option(
    "--folds",
    default=0,
    show_default=True,
    metavar="FOLDS",
    type=Integer(0),
    help="Number of cross-validation folds of the images outside the test part; 0 for none.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=Integer(0, 2**32 - 1),
    help="Seed of the split.",
)
@click.option(
    "--threshold",
    type=Number(0.5, 1),
    help="Least score at which two thumbnails count as one picture; see freezeframe audit. "
    "[default: 0.85]",
)
@group_options
@layout_option
@volume_options
@click.option("--no-cache", is_flag=True, help="Inspect every image again; write no cache.")
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
    ignore_patient_ids: bool,
    layout: str | None,
    choice: SliceChoice,
    no_cache: bool,
) -> None:
    """List the images in FOLDER or CSV with a split that cuts no group.

    Copies, near-duplicates and images of one patient or study stay on one side. Each side has
    nearly the same shares of the classes. Earlier splits are replaced. extract-features and other
    tools read the list.
    """
    # Imports wait for the command, so that --help is quick.
    from ..audit.grouped_split import split_images
    from ..inspection.inspect import inspect_images
    from ..manifest import manifest_lines
    from ..output.files import check_output, write_whole

    # Checked first: reading the images may take minutes.
    if folds == 1:
        raise ParameterError("--folds: 1 fold leaves nothing to train on; give 0, or 2 and more")
    check_output(output)
    folder = output.resolve().parent
    if not folder.is_dir():
        raise ParameterError(f"{output}: its folder does not exist; create it first")
    manifest = read_source(
        source,
        choice,
        group_column=group_column,
        group_regex=group_regex,
        read_patients=not ignore_patient_ids,
        layout=layout,
    )
    with progress_bar("inspecting", "images") as progress:
        facts = inspect_images(manifest, cache=not no_cache, progress=progress)
    with progress_bar("comparing", "pairs") as progress:
        result = split_images(
            manifest,
            facts,
            test=test,
            validation=validation,
            n_folds=folds,
            seed=seed,
            threshold=threshold,
            cache=not no_cache,
            progress=progress,
        )
    # Paths in the list are relative to its own folder.
    lines = manifest_lines(result.manifest, result.audit.groups, result.split, folder)
    write_whole(output, "".join(lines))
    _print(result, output)


def _print(result: GroupedSplit, output: Path) -> None:
    from ..audit.findings import headlines
    from ..inspection.facts import frames_lines

    for counts in result.counts():
        text = f"{counts.side or 'all'}: {counts.n_images} images in {counts.n_groups} groups"
        click.echo(printable(f"{text} ({counts_by_name(counts.classes)})"))
    if result.split.folds.any():
        # Fold 0 means an image in no fold, so counting starts with fold 1.
        sizes = ", ".join(str(size) for size in np.bincount(result.split.folds)[1:])
        click.echo(printable(f"folds: {sizes} images"))
    doubt = ""
    if result.manifest.patients_ignored:
        doubt = "; PatientIDs are ignored, so one patient may be on two"
    click.echo(printable(f"list: {output}; no group is on two sides{doubt}"))
    for line in frames_lines(Counter(result.audit.sets[0].frames)):
        click.echo(printable(line))
    if result.unreadable:
        names = ", ".join(result.unreadable[:MAX_UNREADABLE])
        if len(result.unreadable) > MAX_UNREADABLE:
            names += " ..."
        n_unreadable = counted(len(result.unreadable), "image")
        text = f"skipped, not in the list: {n_unreadable} that cannot be read: {names}"
        click.echo(printable(text), err=True)
    # The new split removes leaks, but not contradicting labels.
    for kind, text in headlines(result.audit):
        if kind == "CONFLICT":
            click.echo(printable(f"warning: {text}; freezeframe audit lists them"), err=True)
