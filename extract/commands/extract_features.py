"""Command line of the extract room."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...data.output.options import group_options
from ...data.output.terminal import printable
from ...errors import FreezeframeError

if TYPE_CHECKING:
    from ...data.manifest import Manifest
    from ...features.store import FeatureStore
    from ..extraction import Extraction
    from ..filling import Progress
    from ..settings import Settings

STAGES = {"decode": "reading and decoding", "forward": "the forward pass", "write": "writing"}

LISTED = 20
"""How many unreadable images are told on the terminal; the store keeps them all."""


@click.command()
@click.argument("source", metavar="[FOLDER|CSV]", required=False, type=click.Path(path_type=Path))
@group_options
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
    "--output",
    default="features.h5",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The feature store.",
)
@click.option(
    "--backbone",
    default="vgg16",
    show_default=True,
    metavar="vgg16|pixels-N",
    help="The network; pixels-N keeps the images themselves, N x N, as --layer pixels (float16 holds them exactly).",
)
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    metavar="imagenet|random|PATH",
    help="Where the weights come from; those of ImageNet are checked against a pinned digest.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="Of random weights."
)
@click.option(
    "--resize",
    default="bilinear",
    show_default=True,
    type=click.Choice(["nearest", "bilinear", "bicubic", "lanczos"]),
    help="How images are brought to the size that the backbone takes, 224 x 224 of vgg16.",
)
@click.option(
    "--dtype",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "float16"]),
    help="As stored.",
)
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "keras", "mnn", "none"]),
    help="What runs the network; auto: mnn on a CPU, keras where there is an NVIDIA GPU, none for pixels-N.",
)
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="In which keras computes.",
)
@click.option(
    "--batch-size",
    type=int,
    help="Images in one forward pass of keras; by default what suits the memory.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes of mnn; by default one a core.")
@click.option(
    "--reuse",
    multiple=True,
    metavar="STORE",
    type=click.Path(path_type=Path),
    help="Another store, of the same provenance; images that are in it are not computed. May be given several times.",
)
@click.option(
    "--max-failed",
    default=10.0,
    show_default=True,
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    help="End with an error if more of the images are unreadable.",
)
@click.option(
    "--overwrite", is_flag=True, help="Start anew instead of going on with the store that is there."
)
def extract_features(
    source: Path | None,
    output: Path,
    group_column: str | None,
    group_regex: str | None,
    max_failed: float,
    overwrite: bool,
    workers: int | None,
    reuse: tuple[Path, ...],
    **asked: Any,
) -> None:
    """Run a frozen network once over all images of FOLDER and keep the features in one HDF5 file.

    FOLDER holds one folder a class (FOLDER/CLASS/IMAGE), or those below train, val and test. A CSV
    names path,label[,split][,group]. Without either, the built-in synthetic demo set is used.

    Stopped at any instant, the same command goes on where it was; when images were added, removed
    or changed, it computes those that are new.
    """
    from ...data.manifest import read_manifest
    from ..settings import Settings

    settings = Settings(**asked)
    if source is None:
        from ...data.demo.images import demo_folder

        source = demo_folder()
        click.echo(
            f"no folder given: using the built-in demo set of synthetic images in {source}",
            err=True,
        )
    manifest = read_manifest(source, group_column=group_column, group_regex=group_regex)
    how: dict[str, Any] = {"overwrite": overwrite, "workers": workers, "reuse": reuse}
    extract_and_tell(manifest, output, settings, max_failed=max_failed, **how)


def extract_and_tell(
    manifest: Manifest, output: Path, settings: Settings, *, max_failed: float = 10.0, **how: Any
) -> FeatureStore:
    """Extract what is missing in a store, and tell what is there and how far it is.

    Args:
        max_failed: percent of the images that may be unreadable.
        how: for `extract_features`.

    Raises:
        FreezeframeError: as `extract_features`, or more of the images are unreadable.
    """
    source = manifest.source
    _tell_manifest(source, manifest)
    try:
        extraction = _extract(manifest, output, settings, **how)
    except KeyboardInterrupt:
        click.echo("finished images are kept; the same command goes on", err=True)
        raise
    _tell_extraction(extraction, len(manifest.images), output)
    share = 100 * len(extraction.failed) / len(manifest.images)
    if share > max_failed:
        raise FreezeframeError(
            f"{source}: {share:.1f} % of the images could not be read, more than the {max_failed:g} % of --max-failed"
        )
    return extraction.store


def _extract(manifest: Manifest, output: Path, settings: Settings, **how: Any) -> Extraction:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from ..extraction import extract_features

    console = Console(stderr=True)
    rate_left = TextColumn("{task.fields[rate]} left")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        rate_left,
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("extracting", total=None, rate="images,")
        start = time.perf_counter()

        def show(progress: Progress) -> None:
            rate = progress.finished / (time.perf_counter() - start)
            shares = ", ".join(
                f"{stage} {share:.0%}" for stage, share in progress.seconds.shares().items()
            )
            told = f"images, {rate:.1f} images/s ({shares}),"
            bar.update(task, completed=progress.finished, total=progress.total, rate=told)

        def show_rest(what: str, finished: int, total: int) -> None:
            bar.update(task, description=what, completed=finished, total=total, rate="")

        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        how |= {"command": command, "progress": show, "afterwards": show_rest}
        return extract_features(manifest, output, settings, **how)


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
        click.echo(
            f"unreadable: {len(extraction.failed) - LISTED} more; all reasons are in {output}",
            err=True,
        )
    layers = ", ".join(
        f"{name} {' x '.join(map(str, shape))}" for name, shape in extraction.store.layers.items()
    )
    done = n_images - len(extraction.failed)
    click.echo(printable(f"{output}: {done} of {n_images} images, {layers}"))
    if extraction.reused:
        click.echo(f"{extraction.reused} images were taken from earlier stores", err=True)
    if extraction.computed:
        _tell_speed(extraction)
    elif not extraction.reused:
        click.echo(
            "all were computed before" + "; nothing to do" * (not extraction.recognised), err=True
        )
    _tell_pictures(extraction)


def _tell_pictures(extraction: Extraction) -> None:
    done, pictures = len(extraction.store.rows()), extraction.store.pictures
    if extraction.outdated:
        click.echo(
            f"warning: the store stays one of an earlier format, in which only byte-identical copies are known: to be "
            f"rewritten it needs {extraction.outdated / 1e9:.1f} GB on this disk",
            err=True,
        )
    elif extraction.unrecognised:
        path, reason = extraction.unrecognised[0]
        told = (
            f"{len(extraction.unrecognised)} images could not be read again, first {path}: {reason}"
        )
        click.echo(printable(f"{told}; copies of them are not recognised"), err=True)
    elif pictures is not None and pictures < done:
        click.echo(
            f"{done} images are {pictures} different pictures: copies, and the same saved anew, cropped, mirrored or "
            "turned, count once (freezeframe audit shows them)",
            err=True,
        )


def _tell_speed(extraction: Extraction) -> None:
    done, seconds = extraction.progress, extraction.seconds
    same = f", {done.same} of them with the same pixels as another" if done.same else ""
    click.echo(
        f"{done.finished} computed in {seconds:.1f} s, {done.finished / seconds:.1f} images/s{same}",
        err=True,
    )
    (limit, share), *others = done.seconds.shares().items()
    if done.computed:
        rest = ", ".join(f"{stage} {share:.0%}" for stage, share in others)
        click.echo(f"limited by {STAGES[limit]}: {share:.0%} of the time ({rest})", err=True)
