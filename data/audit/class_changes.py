"""Changes of classes where image sets name them differently: new names, and classes left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...errors import ParameterError
from ..output.terminal import counted


@dataclass(frozen=True)
class ClassChanges:
    """New names of classes, and classes that are left out, for all image sets of a command.

    Attributes:
        new_names: as {old: new}.
        dropped: names of the classes that are left out, before any gets a new name.
    """

    new_names: Mapping[str, str] = field(default_factory=dict)
    dropped: Collection[str] = ()

    def check(self, labels: Collection[str]) -> None:
        """Raise ParameterError if a class does not exist, or is both renamed and left out.

        Args:
            labels: of the images of all sets. A class may occur in one set only.
        """
        for option, names in (("--classes", self.new_names), ("--drop-class", self.dropped)):
            for name in names:
                if name not in labels:
                    listed = ", ".join(sorted(labels))
                    raise ParameterError(
                        f"{option}: no image is labelled {name!r}; labels are {listed}"
                    )
        both = sorted(set(self.new_names) & set(self.dropped))
        if both:
            raise ParameterError(
                f"--drop-class: {both[0]!r} is renamed by --classes, too; give one of the two"
            )

    def rename(self, labels: Sequence[str]) -> list[str]:
        """Return the labels with their new names."""
        return [self.new_names.get(label, label) for label in labels]

    def keeps(self, labels: Sequence[str]) -> NDArray[np.bool_]:
        """Return True for each label that is not left out, of shape (n_labels,)."""
        return np.array([label not in self.dropped for label in labels], dtype=bool)

    def n_dropped(self, labels: Sequence[str]) -> dict[str, int]:
        """Return the number of images of each class that is left out."""
        return dict(sorted(Counter(label for label in labels if label in self.dropped).items()))


def dropped_text(counts: Mapping[str, int]) -> str:
    """Write how many images are left out: "12 images of class other are left out (--drop-class)".

    Args:
        counts: from `ClassChanges.n_dropped`, not empty.
    """
    n = sum(counts.values())
    classes = f"class{'es' * (len(counts) > 1)} {', '.join(counts)}"
    verb = "is" if n == 1 else "are"
    return f"{counted(n, 'image')} of {classes} {verb} left out (--drop-class)"
