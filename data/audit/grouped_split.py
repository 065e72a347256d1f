"""A split of readable images in which copies, near-duplicates and groups stay on one side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...errors import FreezeframeError
from ..duplicates.pairs import THRESHOLD
from ..groups import cause_named
from ..inspection.facts import ImageFacts, check_readable
from ..manifest import Manifest
from ..output.terminal import Progress
from ..splits import Split, split_groups
from .audit import Audit, audit
from .image_set import ImageSet


@dataclass(frozen=True)
class SideCounts:
    """Numbers of images and groups on one side of a split.

    Attributes:
        side: "train", "validation", "test", or "" if no side is held out.
        n_images: number of images.
        n_groups: number of groups.
        classes: number of images of each class, by name; classes without images included.
    """

    side: str
    n_images: int
    n_groups: int
    classes: dict[str, int]


@dataclass(frozen=True, eq=False)
class GroupedSplit:
    """The split of a manifest, and the audit that found its groups.

    Attributes:
        manifest: the images that can be read, without earlier splits.
        audit: their pairs and groups.
        split: side and fold of each image.
        unreadable: paths of the images that cannot be read.
    """

    manifest: Manifest
    audit: Audit
    split: Split
    unreadable: tuple[str, ...]

    def counts(self) -> list[SideCounts]:
        """Count images and groups on each side that has images."""
        labels = np.array(self.audit.labels)
        names = sorted(set(self.audit.labels))
        counts = []
        for side in ("train", "validation", "test", ""):
            rows = self.split.sides == side
            # A split may have no validation part, or no sides at all.
            if rows.any():
                classes = {name: int((labels[rows] == name).sum()) for name in names}
                n_groups = len(np.unique(self.audit.groups[rows]))
                counts.append(SideCounts(side, int(rows.sum()), n_groups, classes))
        return counts


def split_images(
    manifest: Manifest,
    facts: Sequence[ImageFacts],
    *,
    test: float = 0.2,
    validation: float = 0.0,
    n_folds: int = 0,
    seed: int = 0,
    threshold: float | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> GroupedSplit:
    """Split the readable images of a manifest so that no group is cut.

    Args:
        manifest: the images; their earlier splits are ignored.
        facts: of each image, from `inspect_images`.
        test: share of the images to test on; 0 for none.
        validation: share of the images for choosing among heads; 0 for none.
        n_folds: number of cross-validation folds of the images outside the test part; 0 for none.
        seed: seed of the split.
        threshold: two thumbnails with at least this score count as one picture; None takes
            `THRESHOLD`.
        cache: see `audit`.
        progress: called with the number of compared pairs of thumbnails, and of all pairs.

    Raises:
        ParameterError: see `split_groups`.
        ManifestError: no image can be read.
        FreezeframeError: images of fewer than two classes can be read, or a class has too few
            groups.
    """
    check_readable(manifest.source, facts)
    # An earlier split would make the audit look for leaks across it.
    pairs = list(zip(manifest.images, facts, strict=True))
    images = tuple(replace(image, split="") for image, fact in pairs if fact.fingerprint)
    unreadable = tuple(image.path for image, fact in pairs if not fact.fingerprint)
    if len({image.label for image in images}) < 2:
        raise FreezeframeError(
            f"{manifest.source}: fewer than two classes have readable images; "
            "add readable images of another class"
        )
    # An unreadable image has no fingerprint: its copies could end on the other side.
    manifest = replace(manifest, images=images)
    readable = [fact for fact in facts if fact.fingerprint]
    audited = audit(
        [ImageSet.from_manifest(manifest, readable)],
        threshold=THRESHOLD if threshold is None else threshold,
        cache=cache,
        progress=progress,
    )
    names = audited.sets[0].names
    with cause_named(manifest.source, audited.labels, audited.groups, names):
        split = split_groups(
            audited.labels,
            audited.groups,
            test=test,
            validation=validation,
            n_folds=n_folds,
            seed=seed,
        )
    return GroupedSplit(manifest, audited, split, unreadable)
