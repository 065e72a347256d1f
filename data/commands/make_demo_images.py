"""The command `freezeframe make-demo-images`: draw the demo set."""

from __future__ import annotations

from pathlib import Path

import click

from ..output.options import Integer
from ..output.terminal import printable


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--per-class",
    default=120,
    type=Integer(1),
    show_default=True,
    help="Number of images of each class, planted copies included.",
)
@click.option("--seed", default=0, show_default=True, type=Integer(0), help="Seed of the drawings.")
def make_demo_images(out: Path, per_class: int, seed: int) -> None:
    """Draw the demo set into the new folder OUT.

    The images are synthetic head slices, with and without a lesion.
    """
    from ..demo.images import make_demo_images as draw

    folder = draw(out, per_class=per_class, seed=seed)
    click.echo(printable(f"{2 * per_class} synthetic images in {folder}"))
