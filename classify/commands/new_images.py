"""New images and the model that answers for them, for the commands that take both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...data.lists.skipped import skipped_lines
from ...data.output.options import check_idle
from ...data.output.terminal import printable
from ...errors import FreezeframeError

if TYPE_CHECKING:
    from ...data.output.slice_choice import SliceChoice
    from ..prediction.predictor import Predictor


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how the backbone is computed."""
    weights = click.option(
        "--weights",
        default="imagenet",
        metavar="imagenet|PATH",
        type=click.Path(),
        show_default=True,
        help="Weights of the backbone.",
    )
    engine = click.option(
        "--engine",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "keras", "mnn", "none"]),
        help="Engine: auto takes the one that computed the features of the training images.",
    )
    return weights(engine(command))


def check_engine(predictor: Predictor) -> None:
    """Print a note if another engine computes; raise ParameterError if --weights has no effect."""
    provenance = predictor.model.provenance
    if predictor.engine != provenance["engine"]:
        note = (
            f"note: the head was fitted on features of the engine {provenance['engine']}, "
            f"these are of {predictor.engine}: their low bits may differ"
        )
        click.echo(printable(note), err=True)
    random = str(provenance["weights_source"]).startswith("random")
    idle = random or predictor.engine == "none"
    check_idle("weights", idle, "on a head of pixels or of random weights")


def named_images(sources: Sequence[Path], choice: SliceChoice) -> list[Path]:
    """Return the images that arguments name; print the files of folders that are skipped.

    Args:
        sources: images, folders and lists.
        choice: the slices that are taken of volumes.
    """
    from ...data.lists.volume_slices import slice_paths

    files = [image for source in sources for image in _images(source)]
    return [path for file in files for path in slice_paths(file, choice)]


def _images(source: Path) -> list[Path]:
    from ...data.lists.folder_tree import find_images
    from ...data.lists.image_list import read_paths

    if source.is_dir():
        images, skipped = find_images(source)
        for line in skipped_lines(skipped):
            click.echo(printable(line), err=True)
        return images
    return read_paths(source) if source.suffix.lower() == ".csv" else [source]


def print_frames(frames: Counter[int]) -> None:
    """Print how many images have several frames, of which the first is taken."""
    from ...data.inspection.facts import frames_lines

    for line in frames_lines(frames):
        click.echo(printable(line), err=True)


def check_readable(errors: Sequence[tuple[str, str]], n_images: int) -> None:
    """Print the images that could not be read, then raise FreezeframeError if there are any.

    Args:
        errors: path and reason of each of them.
        n_images: number of all images.
    """
    for path, error in errors:
        click.echo(printable(f"unreadable: {path}: {error}"), err=True)
    # All results are printed before the error, so that one bad file costs no result.
    if errors:
        raise FreezeframeError(f"{len(errors)} of {n_images} images could not be read")
