"""Measure both guards on real stores: which pictures are refused, and what the guards cost.

    python scripts/checks/guard_check.py FOLDER STORE... [--photographs skimage/data]

Each STORE has the features of one set of scans. Of each, a quarter of the groups is held back, and
a distribution is fitted on the others, several times. The table has the share of images, in per
cent, that are beyond the 99th percentile: held-back images, the other sets, and odd pictures, which
are drawn into FOLDER and extracted once. Then sizes and times of both guards are printed.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from odd_pictures import natural_pictures, noise, pages
from PIL import Image

from freezeframe import FeatureStore, read_image
from freezeframe.classify.fit.part_features import PartFeatures
from freezeframe.classify.task.part import Part
from freezeframe.classify.task.relatives import near_duplicates
from freezeframe.classify.trust.guards.familiarity import FeatureDistribution
from freezeframe.classify.trust.guards.training_images import TrainingImages
from freezeframe.classify.trust.guards.training_lookup import TrainingLookup
from freezeframe.data.fingerprints import Fingerprint
from freezeframe.data.manifest import read_manifest
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.settings import Settings

N_SPLITS = 5
"""Times that a quarter of each set is held back."""

N_UPSIDE_DOWN = 80
"""Scans of each set that are turned upside down."""

SIZES = (4_600, 50_000)
"""Numbers of training images for which the lookup is timed."""

N_LOOKUPS = 100


def draw_odd(folder: Path, stores: Sequence[FeatureStore], photographs: Path | None) -> Path:
    """Write the odd pictures, and return the list of their paths and kinds."""
    rows = []

    def keep(kind: str, pixels: NDArray[np.uint8]) -> None:
        path = folder / "odd" / kind / f"{len(rows):05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        rows.append([str(path), kind])

    for pixels in natural_pictures(photographs):
        keep("natural", pixels)
    for kind, pixels in noise():
        keep(f"noise-{kind.replace('/', '_')}", pixels)
    for pixels in pages():
        keep("pages", pixels)
    rng = np.random.default_rng(5)
    for store in stores:
        source = Path(store.source)
        root = source if source.is_dir() else source.parent
        for path in rng.permutation(store.paths[store.rows()])[:N_UPSIDE_DOWN]:
            pixels = read_image(root / str(path))
            keep(f"down-{store.path.stem}", np.ascontiguousarray(pixels[::-1, ::-1]))
    paths = folder / "odd.csv"
    with paths.open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label"], *rows])
    return paths


def odd_store(
    folder: Path, stores: Sequence[FeatureStore], photographs: Path | None
) -> FeatureStore:
    """Return the store of the odd pictures, with the layers of the other stores."""
    path = folder / "odd.h5"
    if not path.exists():
        settings = Settings(layers=tuple(stores[0].layers), dtype="float16")
        extract_features(read_manifest(draw_odd(folder, stores, photographs)), path, settings)
    return FeatureStore(path)


def whole_part(store: FeatureStore) -> Part:
    """Return all rows of a store."""
    rows = store.rows()
    return Part.of_store(store, store.labels[rows], near_duplicates(store)[rows])


def refused(distribution: FeatureDistribution, features: NDArray[np.float32]) -> float:
    """Return the share of images that are not familiar, in per cent."""
    return 100 * float(np.mean([not distribution.familiarity(row).familiar for row in features]))


def print_refusals(layer: str, stores: Sequence[FeatureStore], odd: FeatureStore) -> None:
    """Print the shares of refused images of each kind, one line for each training set."""
    names = [store.path.stem for store in stores]
    read = [PartFeatures(whole_part(store), layer).guard_features(10**6) for store in stores]
    odd_features, _ = PartFeatures(whole_part(odd), layer).guard_features(10**6)
    kinds = np.array([label.partition("-")[0] for label in odd.labels[odd.rows()]])
    down = np.array([label.removeprefix("down-") for label in odd.labels[odd.rows()]])
    print(f"\n{layer}\n")
    print(f"| trained on | held back | natural | noise | pages | {' | '.join(names)} | turned |")
    print(f"|---|{'---|' * (5 + len(names))}")
    for name, (features, groups) in zip(names, read, strict=True):
        shares: list[list[float]] = []
        for seed in range(N_SPLITS):
            numbers = np.unique(groups, return_inverse=True)[1]
            held = (np.random.default_rng(seed).permutation(numbers.max() + 1) % 4 == 0)[numbers]
            distribution = FeatureDistribution.fit(features[~held], groups[~held])
            assert distribution is not None
            parts = [features[held]]
            parts += [odd_features[kinds == kind] for kind in ("natural", "noise", "pages")]
            parts += [features for features, _ in read]
            parts.append(odd_features[down == name])
            shares.append([refused(distribution, part) for part in parts])
        cells = [f"{share:.1f}" for share in np.mean(shares, axis=0)]
        # The set itself was trained on.
        cells[4 + names.index(name)] = ""
        worst = f"{cells[0]} (at most {max(share[0] for share in shares):.1f})"
        print(f"| {name} | {worst} | {' | '.join(cells[1:])} |")


def print_costs(layer: str, store: FeatureStore) -> None:
    """Print size and times of a distribution of 4,600 rows."""
    features, groups = PartFeatures(whole_part(store), layer).guard_features(10**6)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(features), SIZES[0])
    noisy = features[rows] * rng.uniform(0.9, 1.1, (len(rows), features.shape[1]))
    start = time.perf_counter()
    distribution = FeatureDistribution.fit(noisy.astype(np.float32), groups[rows])
    seconds = time.perf_counter() - start
    assert distribution is not None
    state = sum(array.nbytes for array in distribution.arrays.values())
    median = milliseconds(distribution.familiarity, list(features[:N_LOOKUPS]))
    print(f"{layer}: {state:,} bytes in the model file, fitted in {seconds:.1f} s, ", end="")
    print(f"{median:.2f} ms an image ({SIZES[0]:,} rows, {features.shape[1]} features)")


def milliseconds(act: Callable[..., object], arguments: Sequence[object]) -> float:
    """Return the median time of a call."""
    seconds = []
    for argument in arguments:
        start = time.perf_counter()
        act(argument)
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds))


def print_lookup(stores: Sequence[FeatureStore]) -> None:
    """Print sizes and times of lookups among thumbnails of the sets, and crops of them."""
    thumbnails = np.concatenate([store.thumbnails(store.rows()) for store in stores])
    rng = np.random.default_rng(0)
    for n in SIZES:
        images = np.stack([_crop(thumbnails[i % len(thumbnails)], rng) for i in range(n)])
        digests = rng.integers(0, 256, (2, n, 32)).astype(np.uint8)
        paths = [f"class/{number:08}.jpg" for number in range(n)]
        numbers = np.zeros(n, np.uint32)
        training = TrainingImages(digests[0], digests[1], images, numbers, ("class",), paths)
        size = sum(array.nbytes for array in training.arrays.values()) / n
        start = time.perf_counter()
        lookup = TrainingLookup(training)
        lookup.load()
        seconds = time.perf_counter() - start
        rows = rng.integers(0, n, N_LOOKUPS)
        same = [Fingerprint(digests[1][row].tobytes().hex(), images[row]) for row in rows]
        near = [Fingerprint("f" * 64, image[:, ::-1].copy()) for image in images[rows]]
        new = [Fingerprint("f" * 64, image) for image in rng.permutation(thumbnails)[:N_LOOKUPS]]
        find = partial(lookup.find, "")
        times = [milliseconds(find, part) for part in (same, near, new)]
        print(
            f"{n:,} training images: {size:,.0f} bytes an image, indexed in {seconds:.1f} s; "
            f"same pixels {times[0]:.2f} ms, mirrored {times[1]:.1f} ms, whole {times[2]:.1f} ms"
        )


def _crop(thumbnail: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a crop of a thumbnail, of 60 to 80 % of its sides, at the thumbnail's own size."""
    side = len(thumbnail)
    share = int(side * rng.uniform(0.6, 0.8))
    top, left = rng.integers(0, side - share + 1, 2)
    part = Image.fromarray(thumbnail[top : top + share, left : left + share])
    return np.asarray(part.resize((side, side)))


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("stores", nargs="+", type=FeatureStore)
    parser.add_argument("--photographs", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    odd = odd_store(options.folder, options.stores, options.photographs)
    for layer in options.stores[0].layers:
        print_refusals(layer, options.stores, odd)
    print()
    for layer in options.stores[0].layers:
        print_costs(layer, options.stores[0])
    print_lookup(options.stores)


if __name__ == "__main__":
    main()
