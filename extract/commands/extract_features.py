"""The command `freezeframe extract-features`: compute the features of images into a store."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from ...data.output.options import (
    MAX_FAILED_OPTION,
    Integer,
    check_idle,
    group_options,
    layout_option,
    volume_options,
)
from ...data.output.slice_choice import SliceChoice
from ...data.output.terminal import printable


@click.command()
@click.argument("source", metavar="[FOLDER|CSV]", required=False, type=click.Path(path_type=Path))
@group_options
@layout_option
@volume_options
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME",
    default=("block5_pool",),
    show_default=True,
    help="Layer whose features are stored. Repeat the option for more layers, at no extra time. "
    "An unknown name lists all layers.",
)
@click.option(
    "--output",
    default="features.h5",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Feature store to write.",
)
@click.option(
    "--backbone",
    default="vgg16",
    show_default=True,
    metavar="vgg16|pixels-N",
    help="Frozen network. pixels-N stores the images, N x N, as --layer pixels (float16 is exact).",
)
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    metavar="imagenet|random|PATH",
    type=click.Path(),
    help="Weights of the network; ImageNet's are verified against a pinned digest.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=Integer(0, 2**32 - 1),
    help="Seed of random weights.",
)
@click.option(
    "--resize",
    default="bilinear",
    show_default=True,
    type=click.Choice(["nearest", "bilinear", "bicubic", "lanczos"]),
    help="Method that resizes images to the input size of the backbone, 224 x 224 for vgg16.",
)
@click.option(
    "--dtype",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "float16"]),
    help="Type that features are stored in.",
)
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "keras", "mnn", "none"]),
    help="Engine: auto takes mnn on a CPU, keras with an NVIDIA GPU, none for pixels-N.",
)
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="Precision that Keras computes in.",
)
@click.option(
    "--batch-size",
    type=Integer(1, 1024),
    help="Number of images in one forward pass of Keras  [default: fits the memory]",
)
@click.option(
    "--workers",
    type=Integer(1),
    help="Number of processes of mnn  [default: one for each core]",
)
@click.option(
    "--reuse",
    multiple=True,
    metavar="STORE",
    type=click.Path(path_type=Path),
    help="Store of the same provenance to copy features from. Repeat the option for more stores.",
)
@MAX_FAILED_OPTION
@click.option(
    "--overwrite", is_flag=True, help="Replace an existing store instead of continuing it."
)
def extract_features(
    source: Path | None,
    output: Path,
    group_column: str | None,
    group_regex: str | None,
    ignore_patient_ids: bool,
    layout: str | None,
    choice: SliceChoice,
    max_failed: float,
    overwrite: bool,
    workers: int | None,
    reuse: tuple[Path, ...],
    **options: Any,
) -> None:
    """Run a frozen network once over all images of FOLDER and store the features in one HDF5 file.

    FOLDER has one folder for each class (FOLDER/CLASS/IMAGE), or such folders below train, val and
    test. A CSV lists path,label[,split][,group][,patient]. Without FOLDER and CSV, the command uses
    the built-in synthetic demo set.

    After a stop or a crash, run the same command again to continue. When images were added, removed
    or changed, it computes only the new ones.
    """
    # Imports wait for the command, so that --help is quick.
    from ...data.manifest import read_manifest
    from ..report import extract_and_report
    from ..settings import Settings

    # Wrong options must fail before the images are read.
    check_idle("seed", options["weights"] != "random", "without --weights random")
    settings = Settings(**options)
    # A first try needs no data: the demo set is drawn here.
    if source is None:
        from ...data.demo.images import demo_folder

        source = demo_folder()
        text = f"no folder given: using the built-in demo set of synthetic images in {source}"
        click.echo(printable(text), err=True)
    manifest = read_manifest(
        source,
        group_column=group_column,
        group_regex=group_regex,
        read_patients=not ignore_patient_ids,
        layout=layout,
        choice=choice,
    )
    extract_and_report(
        manifest,
        output,
        settings,
        log=partial(click.echo, err=True),
        result=click.echo,
        max_failed=max_failed,
        overwrite=overwrite,
        workers=workers,
        reuse=reuse,
    )
