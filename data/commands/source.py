"""The folder or list that a command reads, and the lines about how it was understood."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..output.slice_choice import SliceChoice
from ..output.terminal import printable

if TYPE_CHECKING:
    from ..manifest import Manifest


def read_source(source: Path, choice: SliceChoice, **options: Any) -> Manifest:
    """Read a folder or list, and print what was skipped and what was not obvious.

    Args:
        source: the folder or CSV file.
        choice: the slices that are taken of volumes.
        options: see `read_manifest`.

    Raises:
        FreezeframeError: see `read_manifest`.
    """
    # Imports wait for the command, so that --help is quick.
    from ..manifest import listing_lines, read_manifest

    manifest = read_manifest(source, choice=choice, **options)
    for line in listing_lines(manifest):
        click.echo(printable(line), err=True)
    return manifest
