"""Command-line options that commands of several rooms share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource

from ...errors import ParameterError
from .slice_choice import AXES, SliceChoice

Command = Callable[..., Any]

_PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def is_plain_number(text: str) -> bool:
    """Return True for digits as 10, -0.5 or 1e-3; False for nan, 1_0, 0x10 and " 1"."""
    # Python's own `float` takes what no user means: a typing error must not become a number.
    return _PLAIN_NUMBER.fullmatch(text) is not None


class Integer(click.IntRange):
    """Type of an option: an integer in plain digits, within a range."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the integer; anything else is a usage error."""
        if isinstance(value, str) and not is_plain_number(value):
            self.fail(f"{value!r} is not a number; write digits, as in 10", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """Type of an option: a finite number in plain digits, within a range."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the number; anything else is a usage error."""
        if isinstance(value, str) and not is_plain_number(value):
            self.fail(f"{value!r} is not a number; write digits, as in 0.5 or 1e-3", param, ctx)
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is too large; give a smaller number", param, ctx)
        return number


MAX_FAILED_OPTION = click.option(
    "--max-failed",
    default=10.0,
    show_default=True,
    metavar="PERCENT",
    type=Number(0, 100),
    help="Share of unreadable images above which the command ends with an error.",
)


def check_idle(name: str, idle: bool, reason: str) -> None:
    """Raise ParameterError if the user set an option that has no effect here.

    Args:
        name: name of the option's parameter in the function of the running command.
        idle: True if the option has no effect.
        reason: when it has none, as in "without --cv".
    """
    context = click.get_current_context()
    if not idle or context.get_parameter_source(name) is ParameterSource.DEFAULT:
        return
    option = next(option for option in context.command.params if option.name == name)
    raise ParameterError(f"{option.opts[0]}: has no effect {reason}; leave it out")


def group_options(command: Command) -> Command:
    """Add the options that name the patient or study of each image."""
    column = click.option(
        "--group-column",
        metavar="NAME",
        help="CSV column that names the patient or study; "
        "all images of one stay on one side of a split.",
    )
    regex = click.option(
        "--group-regex",
        metavar="REGEX",
        help="Regular expression that finds the patient or study in each path: "
        "its first group, or the whole match.",
    )
    return column(regex(patient_option(command)))


def patient_option(command: Command) -> Command:
    """Add --ignore-patient-ids, for anonymised files that all have one PatientID."""
    return click.option(
        "--ignore-patient-ids",
        is_flag=True,
        help="Ignore the PatientID of DICOM files: anonymised files may all have the same one.",
    )(command)


def layout_option(command: Command) -> Command:
    """Add --layout, which says whether folders are classes or splits."""
    return click.option(
        "--layout",
        metavar="class|split/class|class/split",
        help="Meaning of the top folders of FOLDER, and of the folders in them. "
        "[default: by their names]",
    )(command)


def volume_options(command: Command) -> Command:
    """Add --label-from-mask to the `slice_options`."""
    return click.option(
        "--label-from-mask",
        metavar="FOLDER[:N]",
        # What it may be is more than a path, but shells complete it as one.
        type=click.Path(),
        help="Label each image by the mask of its name in FOLDER: positive if at least N pixels of "
        "the mask are not zero (1 if N is left out). Else, or without a mask, it is negative.",
    )(slice_options(command))


def slice_options(command: Command) -> Command:
    """Add the options on slices of volumes, which the command gets as one argument, `choice`."""

    @wraps(command)
    def with_choice(
        *arguments: Any, slices: str, axis: str, label_from_mask: str | None = None, **options: Any
    ) -> Any:
        choice = SliceChoice(slices, axis, label_from_mask)
        return command(*arguments, choice=choice, **options)

    chosen = click.option(
        "--slices",
        default="all",
        show_default=True,
        metavar="all|content|middle:N|every:K",
        help="Slices of volumes to take: all, those that are not blank, the N in the middle, or "
        "each K-th one.",
    )
    axis = click.option(
        "--axis",
        default="axial",
        show_default=True,
        type=click.Choice(AXES),
        help="Axis of the body that volumes are cut across.",
    )
    return chosen(axis(with_choice))


def check_slices_idle() -> None:
    """Raise ParameterError if an option of `volume_options` is set for stores alone."""
    for name in ("slices", "axis", "label_from_mask"):
        check_idle(name, True, "on stores, which have their images already")


def class_options(command: Command) -> Command:
    """Add --classes and --drop-class, for image sets that name their classes differently."""
    rename = click.option(
        "--classes",
        multiple=True,
        metavar="OLD=NEW,...",
        help="New names for classes, where two image sets name them differently. Repeat it for "
        "more. A name with a comma or an equals sign takes double quotes within the argument: "
        """'"mass, large"=lesion'.""",
    )
    drop = click.option(
        "--drop-class",
        "drop_classes",
        multiple=True,
        metavar="CLASS",
        help="Class whose images are left out of all sets, by its name in the files. Repeat it for "
        "more classes.",
    )
    return rename(drop(command))


# A name in quotes may hold anything; a quote within it is doubled, as in CSV.
_QUOTED = r'"(?:[^"]|"")*"'
_PAIR = re.compile(rf'\s*({_QUOTED}|[^",=][^,=]*)\s*=\s*({_QUOTED}|[^",][^,]*)\s*(?:,|$)')


def parse_classes(texts: Sequence[str]) -> dict[str, str]:
    """Parse values of --classes, such as `yes=tumor,no=healthy`, to {old: new}.

    Raises:
        ParameterError: a part is not OLD=NEW, or a class has two new names.

    Examples:
        >>> parse_classes(["yes=tumor,no=healthy", '"mass, large"=tumor'])
        {'yes': 'tumor', 'no': 'healthy', 'mass, large': 'tumor'}
    """
    renamed: dict[str, str] = {}
    for text in texts:
        start = 0
        while start < len(text):
            pair = _PAIR.match(text, start)
            if pair is None:
                raise ParameterError(
                    f"--classes must be OLD=NEW,OLD=NEW,..., got {text[start:]!r}; put a name with "
                    "a comma or an equals sign in double quotes, or leave a class out with "
                    "--drop-class"
                )
            start = pair.end()
            old, new = map(_unquoted, pair.groups())
            # The last one would win in silence.
            if old in renamed:
                raise ParameterError(
                    f"--classes: {old!r} has two new names, {renamed[old]!r} and {new!r}; give one"
                )
            renamed[old] = new
    return renamed


def class_text(old: str, new: str) -> str:
    """Write a new name of a class as `parse_classes` reads it.

    Examples:
        >>> class_text("yes", "tumor")
        'yes=tumor'
        >>> class_text("mass, large", "tumor")
        '"mass, large"=tumor'
    """
    return f"{_quoted(old)}={_quoted(new)}"


def _quoted(name: str) -> str:
    """Put a name in quotes if it needs them."""
    plain = not set(name) & set(',="') and name == name.strip()
    return name if plain else '"' + name.replace('"', '""') + '"'


def _unquoted(name: str) -> str:
    name = name.strip()
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
