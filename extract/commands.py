"""Command line of the extract room."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import FreezeframeError, printable
from .backbone import BACKBONES

if TYPE_CHECKING:
    from ..data.manifest import Manifest
    from .extraction import Extraction, Settings

LISTED = 20
"""How many unreadable images are told on the terminal; the store keeps them all."""


@click.command()
@click.argument("source", metavar="[FOLDER|CSV]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME",
    default=("block5_pool",),
    show_default=True,
    help="A layer to keep; may be given several times, all come from one pass. An unknown name lists the known.",
)
@click.option(
    "--output", default="features.h5", show_default=True, type=click.Path(path_type=Path), help="The feature store."
)
@click.option("--backbone", default="vgg16", show_default=True, type=click.Choice(list(BACKBONES)), help="The network.")
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    metavar="imagenet|random|PATH",
    help="Where the weights come from; those of ImageNet are checked against a pinned digest.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of random weights.")
@click.option(
    "--resize",
    default="bilinear",
    show_default=True,
    type=click.Choice(["nearest", "bilinear", "bicubic", "lanczos"]),
    help="How images are brought to 224 x 224.",
)
@click.option(
    "--dtype", default="float32", show_default=True, type=click.Choice(["float32", "float16"]), help="As stored."
)
@click.option("--batch-size", default=8, show_default=True, help="Images in one forward pass.")
@click.option(
    "--max-failed",
    default=10.0,
    show_default=True,
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    help="End with an error if more of the images are unreadable.",
)
@click.option("--overwrite", is_flag=True, help="Start anew instead of going on with the store that is there.")
def extract_features(
    source: Path | None,
    layers: tuple[str, ...],
    output: Path,
    backbone: str,
    weights: str,
    seed: int,
    resize: str,
    dtype: str,
    batch_size: int,
    max_failed: float,
    overwrite: bool,
) -> None:
    """Run a frozen network once over all images of FOLDER and keep the features in one HDF5 file.

    FOLDER holds one folder a class (FOLDER/CLASS/IMAGE), or those below train, val and test. A CSV names
    path,label[,split][,group]. Without either, the built-in synthetic demo set is used.

    Stopped at any instant, the same command goes on where it was.
    """
    from ..data.manifest import read_manifest
    from .extraction import Settings

    settings = Settings(layers, backbone, weights, seed, resize, dtype, batch_size)
    if source is None:
        from ..data.demo import demo_folder

        source = demo_folder()
        click.echo(f"no folder given: using the built-in demo set of synthetic images in {source}", err=True)
    manifest = read_manifest(source)
    _tell_manifest(source, manifest)
    try:
        extraction = _extract(manifest, output, settings, overwrite)
    except KeyboardInterrupt:
        click.echo("finished images are kept; the same command goes on", err=True)
        raise
    _tell_extraction(extraction, len(manifest.images), output)
    share = 100 * len(extraction.failed) / len(manifest.images)
    if share > max_failed:
        raise FreezeframeError(
            f"{source}: {share:.1f} % of the images could not be read, more than the {max_failed:g} % of --max-failed"
        )


def _extract(manifest: Manifest, output: Path, settings: Settings, overwrite: bool) -> Extraction:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from .extraction import extract_features

    columns = (TextColumn("extracting"), BarColumn(), MofNCompleteColumn(), TextColumn("images, left"))
    console = Console(stderr=True)
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=None)
        return extract_features(
            manifest,
            output,
            settings,
            overwrite=overwrite,
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            progress=lambda finished, total: bar.update(task, completed=finished, total=total),
        )


def _tell_manifest(source: Path, manifest: Manifest) -> None:
    classes = ", ".join(f"{name} {count}" for name, count in manifest.classes.items())
    click.echo(printable(f"{source}: {len(manifest.images)} images ({classes})"), err=True)
    reasons: dict[str, list[str]] = {}
    for path, reason in manifest.skipped:
        reasons.setdefault(reason.partition(":")[0], []).append(path)
    for reason, paths in reasons.items():
        more = f" and {len(paths) - 3} more" * (len(paths) > 3)
        click.echo(printable(f"left out, {reason}: {', '.join(paths[:3])}{more}"), err=True)


def _tell_extraction(extraction: Extraction, n_images: int, output: Path) -> None:
    for path, reason in extraction.failed[:LISTED]:
        click.echo(printable(f"unreadable: {path}: {reason}"), err=True)
    if len(extraction.failed) > LISTED:
        click.echo(f"unreadable: {len(extraction.failed) - LISTED} more; all reasons are in {output}", err=True)
    layers = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in extraction.store.layers.items())
    done = n_images - len(extraction.failed)
    click.echo(f"{output}: {done} of {n_images} images, {layers}")
    if extraction.computed:
        rate = extraction.computed / extraction.seconds
        click.echo(f"{extraction.computed} computed in {extraction.seconds:.1f} s, {rate:.1f} images/s", err=True)
    else:
        click.echo("all were computed before; nothing to do", err=True)
