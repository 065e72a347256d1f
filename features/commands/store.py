"""The command `freezeframe store`: look into stores, check, export, merge and compare them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...data.output.json import json_text
from ...data.output.terminal import (
    console,
    counted,
    counts_by_name,
    first_names,
    megabytes,
    printable,
    progress_bar,
    table,
)
from ...errors import StoreError

if TYPE_CHECKING:
    from ..store import FeatureStore

LINES_SHOWN = 20
"""The most lines that `diff` prints for a kind of difference."""

FILE = click.Path(path_type=Path)
STORE = click.argument("path", metavar="[STORE]", default="features.h5", type=FILE)


@click.group()
def store() -> None:
    """Look into feature stores; check, export, archive, merge and compare them."""


@store.command()
@STORE
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")
def info(path: Path, as_json: bool) -> None:
    """Show the contents and the provenance of STORE, by default features.h5."""
    # Imports wait for the command, so that --help is quick.
    from ..differences import summary
    from ..store import FeatureStore

    contents = summary(FeatureStore(path))
    if as_json:
        click.echo(json_text(contents))
    else:
        _print_summary(contents)


@store.command()
@STORE
def verify(path: Path) -> None:
    """Check every row of STORE, by default features.h5, against its checksums.

    The command lists damaged rows. Rows that are not computed yet are no damage; it counts them.
    """
    from ..store import FeatureStore

    opened = FeatureStore(path)
    with progress_bar("checking") as progress:
        mismatches = opened.verify(progress)
    for row, name in mismatches:
        click.echo(printable(f"damaged: {opened.paths[row]}: {name}"))
    n = opened.n_done
    if not opened.has_row_checksums:
        text = (
            f"format version {opened.format_version} has checksums of features only: status, "
            "sizes, pixels, thumbnails and near-duplicates cannot be checked; extract-features "
            "rewrites the store in today's version"
        )
        click.echo(printable(text))
    if mismatches:
        # A row may be damaged in several layers.
        n_damaged = len({row for row, _ in mismatches})
        # What a row holds beside features is repaired by the next extraction, with all of the row.
        mended = {row for row, name in mismatches if name == "status"}
        features = any(name in opened.layers and row not in mended for row, name in mismatches)
        advice = "extract them again with --overwrite" if features else "run extract-features again"
        raise StoreError(
            f"{path}: {n_damaged} of {counted(len(opened), 'row')} not what was written; {advice}"
        )
    click.echo(
        f"{counted(n, 'row')} of {counted(len(opened.layers), 'layer')} are what was written"
    )
    _print_pending(opened)


@store.command()
@click.argument("path", metavar="STORE", type=FILE)
@click.argument("out", type=FILE)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["npz", "parquet", "archive"]),
    help="Format of OUT; by default its ending decides: .npz, .parquet, or .h5 for an archive.",
)
@click.option(
    "--layer",
    metavar="NAME",
    help="Layer to export; by default the deepest. An archive holds all layers.",
)
@click.option(
    "--pooling",
    type=click.Choice(["flat", "avg", "max"]),
    help="Pooling of the features; by default none in npz, avg in Parquet. "
    "An archive holds them unpooled.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT, unless it is a feature store.")
def export(
    path: Path, out: Path, kind: str | None, layer: str | None, pooling: str | None, overwrite: bool
) -> None:
    """Export the features in STORE to OUT for other programs, or as a compressed archive.

    npz holds the arrays features, paths, sha256s, labels, splits, groups, pixels and duplicates.
    Parquet holds one line per image, with a column for each pooled feature: f0, f1, ... Both hold
    only the rows that are done. If rows are not computed yet, OUT names them (npz in the array
    pending, Parquet in the metadata freezeframe_pending), and the exit code is 1. An archive holds
    everything; `freezeframe store restore` makes a working store from it.
    """
    from ..exports.export import export as export_store
    from ..exports.export import is_archive
    from ..store import FeatureStore

    opened = FeatureStore(path)
    with progress_bar("exporting") as progress:
        export_store(
            opened,
            out,
            kind,
            layer=layer,
            pooling=pooling,
            overwrite=overwrite,
            progress=progress,
        )
    sizes = [megabytes(file.stat().st_size) for file in (out, path)]
    click.echo(printable(f"{out}: {sizes[0]}, of a store of {sizes[1]}"))
    # Nothing in the features shows that rows are missing, so a script must not go on. A store that
    # an archive gives back says itself which rows are pending.
    if opened.pending_text and not is_archive(out, kind):
        raise StoreError(
            f"{out}: lacks rows: {opened.pending_text}; run extract-features on {path}, then "
            "export again with --overwrite"
        )
    _print_pending(opened)


@store.command("map")
@STORE
@click.option("--layer", metavar="NAME", help="Layer of the features; by default the deepest.")
@click.option(
    "--pooling",
    type=click.Choice(["flat", "avg", "max"]),
    default="avg",
    show_default=True,
    help="Pooling of the features.",
)
@click.option(
    "--output",
    default="map",
    show_default=True,
    type=FILE,
    help="Folder for map.png and map.csv.",
)
def draw_store_map(path: Path, layer: str | None, pooling: str, output: Path) -> None:
    """Draw the images of STORE, by default features.h5, so that similar ones are close.

    Each point is an image, placed by the first two principal components of its features. Some
    images are drawn. Clusters of one class, of one scanner or of one patient become visible.
    """
    from ...data.output.figures import png
    from ...data.output.reports import ReportFolder
    from ..exports.feature_map import MAP_COLUMNS, draw_map, feature_map, map_csv
    from ..store import FeatureStore

    opened = FeatureStore(path)
    folder = ReportFolder(output, "store map", {"map.csv": MAP_COLUMNS})
    folder.check(["map.csv", "map.png"], [])
    # Layers are in the order of the network.
    chosen = layer or list(opened.layers)[-1]
    places = feature_map(opened, chosen, pooling=pooling)
    folder.write("map.csv", map_csv(opened, places))
    picture = folder.write("map.png", png(draw_map(opened, places)))
    left_out = opened.n_done - len(places.rows)
    note = f", a random sample; {left_out} are left out" * bool(left_out)
    click.echo(printable(f"{picture}: {counted(len(places.rows), 'image')} by {chosen}{note}"))


@store.command()
@click.argument("archive", type=FILE)
@click.argument("out", type=FILE)
def restore(archive: Path, out: Path) -> None:
    """Restore the archived store from ARCHIVE to the new file OUT, and verify it."""
    from ..archive.restoration import restore as restore_store

    with progress_bar("restoring") as progress:
        restored = restore_store(archive, out, progress=progress)
    _print_store(restored)


@store.command()
@click.argument("out", type=FILE)
@click.argument("paths", metavar="STORE...", nargs=-1, required=True, type=FILE)
def merge(out: Path, paths: tuple[Path, ...]) -> None:
    """Merge several stores of different images into a new store OUT.

    All stores must have the same backbone, layers and other settings.
    """
    from ..copies.merge import merge as merge_stores

    # Provenance records the command, quoted so that a user can run it again.
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    with progress_bar("merging") as progress:
        merged = merge_stores(out, paths, command=command, progress=progress)
    _print_store(merged)


@store.command()
@click.argument("a", type=FILE)
@click.argument("b", type=FILE)
@click.pass_context
def diff(context: click.Context, a: Path, b: Path) -> None:
    """Print how the stores A and B differ; exit with code 1 if they do.

    Two things do not count: the order of rows, and provenance that does not affect the features
    (time, folder, command).
    """
    from ..differences import difference
    from ..store import FeatureStore

    result = difference(FeatureStore(a), FeatureStore(b))
    for kind, lines in result.differences.items():
        click.echo(printable(f"{kind}: {len(lines)}"))
        _print_first(lines)
    n = len(result.harmless)
    if n:
        verb = "differs" if n == 1 else "differ"
        text = f"{counted(n, 'provenance field')} {verb} without affecting the features"
        click.echo(printable(text))
        _print_first(result.harmless)
    click.echo("the stores hold the same" if result.equal else "the stores differ")
    # As `diff` does, so that a script can test the exit code.
    context.exit(0 if result.equal else 1)


def _print_summary(contents: Mapping[str, Any]) -> None:
    """Print the summary of a store, as two columns."""
    file_size = megabytes(contents["file_bytes"])
    disk_size = megabytes(contents["disk_bytes"])
    lines = {
        "file": f"{contents['path']}, {file_size}, on the disk {disk_size}",
        "rows": f"{contents['rows']} ({counts_by_name(contents['status'])})",
        "not computed": _paths_text(contents["pending"], "extract-features, run again, does it"),
        "damaged": _paths_text(
            contents["damaged"], "their status; extract-features, run again, computes them again"
        ),
        "pictures": _pictures_text(contents["pictures"]),
        "classes": counts_by_name(contents["classes"]),
        "splits": counts_by_name(contents["splits"]),
    }
    for name, layer in contents["layers"].items():
        shape = " x ".join(map(str, layer["shape"]))
        lines[f"layer {name}"] = f"{shape}, {layer['dtype']}, {megabytes(layer['bytes'])}"
    lines |= {name: str(value) for name, value in contents["provenance"].items()}
    lines["fingerprint"] = contents["fingerprint"]
    _print_columns({name: text for name, text in lines.items() if text})


def _paths_text(paths: list[str], advice: str) -> str:
    """Describe rows by the first of their paths; "" for no rows."""
    return f"{counted(len(paths), 'row')} ({first_names(paths)}); {advice}" if paths else ""


def _pictures_text(pictures: int | None) -> str:
    """Describe the number of different pictures; None if it is unknown."""
    if pictures is None:
        return "unknown; extract-features, run again on the same images, finds the near-duplicates"
    return f"{pictures} different ones, near-duplicates counted once"


def _print_columns(lines: Mapping[str, str]) -> None:
    # Long values, such as the command, may fold onto more lines.
    columns = table("", "")
    columns.show_header = False
    columns.columns[1].no_wrap = False
    for name, value in lines.items():
        columns.add_row(printable(name), printable(value))
    console().print(columns)


def _print_first(lines: list[str]) -> None:
    """Print the first `LINES_SHOWN` lines, and how many more there are."""
    for line in lines[:LINES_SHOWN]:
        click.echo(printable(f"  {line}"))
    if len(lines) > LINES_SHOWN:
        click.echo(printable(f"  and {len(lines) - LINES_SHOWN} more"))


def _print_store(opened: FeatureStore) -> None:
    layers = ", ".join(
        f"{name} {' x '.join(map(str, shape))}" for name, shape in opened.layers.items()
    )
    click.echo(printable(f"{opened.path}: {len(opened.rows())} of {len(opened)} images, {layers}"))
    _print_pending(opened)


def _print_pending(opened: FeatureStore) -> None:
    """Print a line if rows are not computed yet: nothing may look whole that is not."""
    if opened.pending_text:
        click.echo(printable(f"{opened.pending_text}; run extract-features again"))
