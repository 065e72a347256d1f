"""Check a head's maps and print the measurements, for `explain --check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
import numpy as np
from numpy.typing import NDArray

from ...data.output.options import check_slices_idle
from ...data.output.terminal import console, counted, message_console, printable, table
from ...errors import ParameterError

if TYPE_CHECKING:
    from ...data.output.slice_choice import SliceChoice
    from ...features.store import FeatureStore
    from ..fit.map_check import MapCheck
    from ..runs.model_file import FittedHead
    from ..scores.roc_area import Interval
    from ..task.task import Task

LEAST_DECIMAL = 5e-4
"""Least number that three decimals show."""

_ROWS = (
    ("images whose class is predicted", ("right",), True),
    ("error of the sum, logit", ("error",), False),
    ("logit from that of the mean, absolute", ("distance",), False),
    ("fall of the logit without the top 10 % of cells", ("top",), False),
    ("... without as many random cells", ("random",), False),
    ("... without as many cells in the centre", ("centre",), False),
    ("... top minus random", ("top", "random"), False),
    ("... top minus centre", ("top", "centre"), False),
)
"""Rows of the table: heading, measurements (the second is subtracted), and if it is a share."""

_MASK_ROWS = (
    ("positive evidence inside the mask", ("inside",), True),
    ("... share of the image that the mask covers", ("area",), True),
    ("... inside, of a Gaussian in the centre", ("centre_inside",), True),
    ("... evidence minus covered share", ("inside", "area"), True),
    ("the mask touches the cell of most evidence", ("hit",), True),
    ("... touches a random cell", ("hit_area",), True),
    ("... touches the cell in the centre", ("hit_centre",), True),
    ("... most evidence minus random", ("hit", "hit_area"), True),
)


def check_and_print(
    place: Path,
    source: Path,
    choice: SliceChoice,
    masks: Path | None,
    *,
    weights: str,
    engine: str,
) -> None:
    """Refit a model's kind of head on folds of a store, and print what its maps are worth.

    Args:
        place: model file or run folder.
        source: store, folder or list of images.
        choice: the slices that are taken of volumes, and where labels come from.
        masks: folder of masks, or None.
        weights: weights of the backbone, for images.
        engine: engine of the backbone, for images.

    Raises:
        FreezeframeError: the model, the images or the masks cannot be read or do not fit.
    """
    from ..fit.map_check import CHECK_FOLDS, check_maps, refuse_long_fits
    from ..prediction.model_place import find_model
    from ..runs.model_file import load_model
    from ..task.task import make_task

    model = load_model(find_model(place))
    # Before the features of a folder are computed.
    refuse_long_fits(model.head.name)
    with _store(model, source, choice, weights, engine) as store:
        masks_by_path = {} if masks is None else _read_masks(masks, store)
        with message_console().status("", spinner="line") as line:
            task = make_task(
                store,
                layer=model.layer,
                pooling=model.pooling,
                n_folds=CHECK_FOLDS,
                status=line.update,
            )
            checks = check_maps(model, task, masks_by_path, line.update)
    _print(model, task, checks, len(masks_by_path))


@contextmanager
def _store(
    model: FittedHead, source: Path, choice: SliceChoice, weights: str, engine: str
) -> Iterator[FeatureStore]:
    """Yield the store that a path names, or that of its images, made for this check alone."""
    from ...data.manifest import listing_lines, read_manifest
    from ...extract.extraction import extract_features
    from ...features.index import begins_as_store
    from ...features.store import FeatureStore
    from ..prediction.model_settings import model_settings

    if source.is_file() and begins_as_store(source):
        check_slices_idle()
        yield FeatureStore(source)
        return
    manifest = read_manifest(source, choice=choice)
    for text in listing_lines(manifest):
        click.echo(printable(text), err=True)
    with TemporaryDirectory() as folder:
        path = Path(folder, "features.h5")
        with message_console().status("computing features", spinner="line"):
            extraction = extract_features(manifest, path, model_settings(model, weights, engine))
        yield extraction.store


def _read_masks(folder: Path, store: FeatureStore) -> dict[str, NDArray[np.bool_]]:
    """Read the masks of a folder, each named as its image, by path of the image.

    Raises:
        ParameterError: no image has a mask.
        ImageError: a mask cannot be read.
    """
    from ...data.formats.image_file import read_mask
    from ...data.lists.labels import find_masks

    paths = find_masks(folder, store.paths.tolist())
    masks = {path: read_mask(mask) for path, mask in paths.items()}
    if not masks:
        raise ParameterError(f"--masks {folder}: no file in it is named as an image; check --masks")
    return masks


def _print(model: FittedHead, task: Task, checks: Sequence[MapCheck], n_masks: int) -> None:
    """Print both heads side by side."""
    from ..fit.map_check import CHECK_FOLDS, CONTROL_FOLDS, is_calibrated_again
    from ..scores.grades import risk_lines
    from ..task.grade import fold_grade

    n_groups = len(np.unique(task.train.groups))
    title = (
        f"{model.head.name}, {model.layer} {model.pooling}: refitted on {CHECK_FOLDS} folds of "
        f"{counted(len(task.train.rows), 'image')} in {counted(n_groups, 'group')}, with shuffled "
        f"labels on {CONTROL_FOLDS}; maps of images that the head was not fitted on"
    )
    click.echo(printable(title))
    grade = fold_grade(task.train)
    click.echo(printable(f"grade: {grade or 'unknown'}"))
    for line in risk_lines({grade}):
        click.echo(printable(line), err=True)
    if model.head.calibration.biases and not is_calibrated_again(model.head):
        click.echo(
            "the refitted heads are not calibrated: that changes the unit of the logits, "
            "not what the maps show"
        )
    rows = table("mean (95 %)")
    for heading in ("head", "labels shuffled"):
        rows.add_column(heading, justify="right", no_wrap=True)
    for heading, measures, is_share in (*_ROWS, *(_MASK_ROWS if n_masks else ())):
        cells = [_cell(*check.mean(*measures), is_share) for check in checks]
        rows.add_row(printable(heading), *cells)
    console().print(rows)
    if n_masks:
        click.echo(printable(f"{counted(n_masks, 'image')} with a mask"))


def _cell(mean: float, interval: Interval, is_share: bool) -> str:
    """Format a mean and its interval; shares are in per cent."""
    values = [100 * value if is_share else value for value in (mean, *interval)]
    if np.isnan(values[0]):
        return "-"
    # The error of a sum may be that of rounding.
    tiny = 0 < abs(values[0]) < LEAST_DECIMAL
    style = ".1e" if tiny else ".1f" if is_share else ".3f"
    middle, low, high = (format(value, style) for value in values)
    return middle if np.isnan(values[1]) else f"{middle} ({low} to {high})"
