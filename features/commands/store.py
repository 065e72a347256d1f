"""Command line of the features room."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...data.output.terminal import (
    console,
    counted,
    counts_by_name,
    megabytes,
    printable,
    progress_bar,
    table,
)
from ...errors import StoreError

if TYPE_CHECKING:
    from ..store import FeatureStore

LINES_SHOWN = 20
"""How many rows of a kind are told on the terminal."""

FILE = click.Path(path_type=Path)
STORE = click.argument("path", metavar="[STORE]", default="features.h5", type=FILE)


@click.group()
def store() -> None:
    """Look into feature stores; check, export, archive, merge and compare them."""


@store.command()
@STORE
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def info(path: Path, as_json: bool) -> None:
    """Show what STORE, by default features.h5, holds and what made it."""
    from ..differences import summary
    from ..store import FeatureStore

    told = summary(FeatureStore(path))
    if as_json:
        click.echo(json.dumps(told, indent=2))
    else:
        _print_summary(told)


@store.command()
@STORE
def verify(path: Path) -> None:
    """Check every row of STORE, by default features.h5, against its checksums; name those that are damaged."""
    from ..store import FeatureStore

    checked = FeatureStore(path)
    with progress_bar("checking") as progress:
        wrong = checked.verify(progress)
    for row, layer in wrong:
        click.echo(printable(f"damaged: {checked.paths[row]}: {layer}"))
    n = len(checked.rows())
    if wrong:
        rows = len({row for row, _ in wrong})
        raise StoreError(
            f"{path}: {rows} of {n} rows are not what was written; extract them again with --overwrite"
        )
    click.echo(
        f"{counted(n, 'row')} of {counted(len(checked.layers), 'layer')} are what was written"
    )


@store.command()
@click.argument("path", metavar="STORE", type=FILE)
@click.argument("out", type=FILE)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["npz", "parquet", "archive"]),
    help="By default what OUT ends in: .npz, .parquet, or .h5 for an archive.",
)
@click.option(
    "--layer",
    metavar="NAME",
    help="Whose features; by default the deepest layer. An archive has all.",
)
@click.option(
    "--pooling",
    type=click.Choice(["flat", "avg", "max"]),
    help="Of the features; by default none in npz, avg in Parquet. An archive keeps all as they are.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT, unless it is a feature store.")
def export(
    path: Path, out: Path, kind: str | None, layer: str | None, pooling: str | None, overwrite: bool
) -> None:
    """Write the features in STORE to OUT for other programs, or as a compressed archive.

    npz holds the arrays features, paths, sha256s, labels, splits, groups, pixels and duplicates.
    Parquet holds one line an image, with a column for each pooled feature: f0, f1, ... Both hold
    the rows that are done. An archive holds everything; `freezeframe store restore` makes a working
    store of it again.
    """
    from ..export import export as write
    from ..store import FeatureStore

    exported = FeatureStore(path)
    with progress_bar("exporting") as progress:
        write(
            exported,
            out,
            kind,
            layer=layer,
            pooling=pooling,
            overwrite=overwrite,
            progress=progress,
        )
    click.echo(
        f"{out}: {megabytes(out.stat().st_size)}, of a store of {megabytes(path.stat().st_size)}"
    )


@store.command()
@click.argument("archive", type=FILE)
@click.argument("out", type=FILE)
def restore(archive: Path, out: Path) -> None:
    """Make a working store OUT of ARCHIVE, equal to the one that was archived, and verify it."""
    from ..archive.restoration import restore as make

    with progress_bar("restoring") as progress:
        restored = make(archive, out, progress=progress)
    _tell_store(restored)


@store.command()
@click.argument("out", type=FILE)
@click.argument("paths", metavar="STORE...", nargs=-1, required=True, type=FILE)
def merge(out: Path, paths: tuple[Path, ...]) -> None:
    """Join the rows of several stores, made alike from different images, in a new store OUT."""
    from ..merge import merge as join

    with progress_bar("merging") as progress:
        merged = join(
            out,
            paths,
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            progress=progress,
        )
    _tell_store(merged)


@store.command()
@click.argument("a", type=FILE)
@click.argument("b", type=FILE)
@click.pass_context
def diff(context: click.Context, a: Path, b: Path) -> None:
    """Tell how the stores A and B differ; end with exit code 1 if they do.

    The order of rows, and provenance that decides no number (when, where, by which command), do not
    count.
    """
    from ..differences import difference
    from ..store import FeatureStore

    differs = difference(FeatureStore(a), FeatureStore(b))
    for kind, lines in differs.found.items():
        click.echo(f"{kind}: {len(lines)}")
        _print_some(lines)
    if differs.told:
        click.echo(f"told otherwise, which does not count: {len(differs.told)}")
        _print_some(differs.told)
    click.echo("the stores differ" if differs.found else "the stores hold the same")
    context.exit(0 if differs.equal else 1)


def _print_summary(told: Mapping[str, Any]) -> None:
    """What a store holds, as two columns."""
    lines = {
        "file": f"{told['path']}, {megabytes(told['file_bytes'])}, on the disk {megabytes(told['disk_bytes'])}",
        "rows": f"{told['rows']} ({counts_by_name(told['status'])})",
        "pictures": _pictures(told),
        "classes": counts_by_name(told["classes"]),
        "splits": counts_by_name(told["splits"]),
    }
    for name, layer in told["layers"].items():
        shape = " x ".join(map(str, layer["shape"]))
        lines[f"layer {name}"] = f"{shape}, {layer['dtype']}, {megabytes(layer['bytes'])}"
    lines |= {name: str(value) for name, value in told["provenance"].items()}
    lines["fingerprint"] = told["fingerprint"]
    _print_columns(lines)


def _print_columns(lines: Mapping[str, str]) -> None:
    columns = table("", "")
    columns.show_header = False
    columns.columns[1].no_wrap = False
    for name, value in lines.items():
        columns.add_row(printable(name), printable(value))
    console().print(columns)


def _print_some(lines: list[str]) -> None:
    for line in lines[:LINES_SHOWN]:
        click.echo(printable(f"  {line}"))
    if len(lines) > LINES_SHOWN:
        click.echo(f"  and {len(lines) - LINES_SHOWN} more")


def _tell_store(made: FeatureStore) -> None:
    layers = ", ".join(
        f"{name} {' x '.join(map(str, shape))}" for name, shape in made.layers.items()
    )
    click.echo(printable(f"{made.path}: {len(made.rows())} of {len(made)} images, {layers}"))


def _pictures(told: Mapping[str, Any]) -> str:
    """How many different pictures there are among the rows that are done."""
    if told["pictures"] is None:
        return (
            "not known; extract-features, run again on the same images, finds the near-duplicates"
        )
    return f"{told['pictures']} different ones, near-duplicates counted once"
