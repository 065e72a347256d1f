"""Classes that a test set names differently: files that both sets have say which is which."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from ...data.audit.class_changes import ClassChanges
from ...data.manifest import Image, Manifest
from ...data.output.options import class_text, parse_classes
from ...data.output.terminal import counted, printable
from ...errors import ParameterError
from .settings import StudySettings
from .sources import StudyImages, read_images

LEAST_COPIES = 5
"""Files of a class that both sets must have, so that they can name the class."""

LEAST_AGREEING = 0.9
"""Smallest share of these files that must name the same class: some labels may be wrong."""


@dataclass(frozen=True)
class ClassMatch:
    """A class of a test set and the training class of the same files.

    Attributes:
        name: the class in the test set.
        trained: the class in the training set.
        n_agreeing: distinct files of the class that are in the training class, too.
        n_copies: distinct files of the class that are in the training set.
    """

    name: str
    trained: str
    n_agreeing: int
    n_copies: int

    @property
    def is_clear(self) -> bool:
        """True if enough files agree."""
        enough = self.n_copies >= LEAST_COPIES
        return enough and self.n_agreeing >= LEAST_AGREEING * self.n_copies


@dataclass(frozen=True)
class NamedClasses:
    """The classes of a study, after those of its test sets got the names of the training set.

    Attributes:
        settings: the settings, with the new names.
        trained: classes of the training images, by their names in the files; none without tests.
        sentences: one for each new name: where it is from.
    """

    settings: StudySettings
    trained: frozenset[str]
    sentences: Sequence[str]


def name_classes(
    settings: StudySettings, training: StudyImages, tests: Sequence[StudyImages]
) -> NamedClasses:
    """Give each class of a test set the name that the training set gives to the same files.

    Classes that the training set has, or that the settings name, keep their names. No name is
    guessed: where too few files are in both sets, the user must name the class. A name means the
    same in all test sets.

    Args:
        settings: the settings.
        training: the images to train on.
        tests: the image sets to test on.

    Raises:
        ParameterError: a class of the settings does not exist, or too few files say which class is
            which, or they say otherwise in two test sets.
        ManifestError: the images cannot be listed.
    """
    changes = ClassChanges(parse_classes(settings.classes), settings.drop_class)
    if not tests:
        # To list a set reads all its files, and the steps do that anyway.
        return NamedClasses(settings, frozenset(), ())
    manifests = [read_images(settings, source) for source in (training, *tests)]
    changes.check({name for manifest in manifests for name in manifest.classes})
    trained, *held_out = manifests
    names = _kept_classes(changes, trained)
    trained_names = set(names.values())
    matches: dict[str, ClassMatch] = {}
    sentences = []
    unknown: dict[str, Manifest] = {}
    for test in held_out:
        pairs = _kept_classes(changes, test).items()
        own = {old for old, new in pairs if new not in trained_names}
        unknown |= dict.fromkeys(sorted(own), test)
        present = {new for _, new in pairs}
        for match in match_classes(trained, test, own):
            # Two classes of a set must not become one, and none becomes one that is left out.
            if names.get(match.trained, "") in ("", *present):
                continue
            if matches.setdefault(match.name, match).trained != match.trained:
                raise ParameterError(_two_meanings(test, match, matches[match.name]))
            sentences.append(_sentence(test, match, names[match.trained]))
    for name, test in unknown.items():
        if name not in matches:
            raise ParameterError(_no_match(test, name, trained_names))
    renamed = [class_text(match.name, names[match.trained]) for match in matches.values()]
    settings = replace(settings, classes=(*settings.classes, *renamed))
    return NamedClasses(settings, frozenset(trained.classes), sentences)


def _kept_classes(changes: ClassChanges, manifest: Manifest) -> dict[str, str]:
    """Return the new name of each class that is not left out."""
    names = [name for name in manifest.classes if name not in changes.dropped]
    return dict(zip(names, changes.rename(names), strict=True))


def match_classes(training: Manifest, test: Manifest, unknown: Collection[str]) -> list[ClassMatch]:
    """Match classes of a test set with the training classes of files with the same bytes.

    Args:
        training: the images to train on.
        test: the images to test on.
        unknown: classes of the test set to match.

    Returns:
        The clear matches; none of two classes that would become one.
    """
    trained = _labels_of_files(training.images)
    counts: dict[str, Counter[str]] = {name: Counter() for name in unknown}
    for sha256, labels in _labels_of_files(test.images).items():
        # A file with two labels in one set does not say which class is which.
        if len(labels) == len(trained.get(sha256, ())) == 1 and labels <= counts.keys():
            counts[min(labels)].update(trained[sha256])
    matches = [
        ClassMatch(name, *count.most_common(1)[0], count.total())
        for name, count in sorted(counts.items())
        if count
    ]
    uses = Counter(match.trained for match in matches)
    return [match for match in matches if match.is_clear and uses[match.trained] == 1]


def _labels_of_files(images: Sequence[Image]) -> dict[str, set[str]]:
    """Return the labels of each distinct file, by its digest."""
    labels: dict[str, set[str]] = {}
    for image in images:
        if image.sha256:
            labels.setdefault(image.sha256, set()).add(image.label)
    return labels


def _sentence(test: Manifest, match: ClassMatch, trained: str) -> str:
    return printable(
        f"{test.source.name}: class {match.name} is taken as {trained}: {match.n_agreeing} of its "
        f"{counted(match.n_copies, 'file')} that the training images have, too, are of class "
        f"{match.trained} in training; --classes gives it another name"
    )


def _two_meanings(test: Manifest, match: ClassMatch, earlier: ClassMatch) -> str:
    return (
        f"{test.source}: its files show that class {match.name!r} is {match.trained}, and those of "
        f"another test set that it is {earlier.trained}; rename the class in one of the sets, or "
        "give each set a study of its own"
    )


def _no_match(test: Manifest, name: str, trained: Collection[str]) -> str:
    new_name = shlex.quote(class_text(name, "CLASS"))
    return (
        f"{test.source}: class {name!r} is none of the training classes "
        f"{', '.join(sorted(trained))}, and too few files of both sets show which one it is; "
        f"rename it with --classes {new_name}, or leave it out with --drop-class "
        f"{shlex.quote(name)}"
    )
