"""Figures of matplotlib: colours, names of classes, and PNG files."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import TYPE_CHECKING

from .terminal import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
"""Colours that the colour-blind can distinguish, too (Okabe and Ito).

The last one is for all classes without a colour of their own.
"""


def png(figure: Figure) -> bytes:
    """Return the PNG file of a figure."""
    file = BytesIO()
    # Class names may be in scripts that the font lacks; matplotlib would warn of each letter.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()


def short_name(label: str) -> str:
    """Return a class name for matplotlib: short, on one line, and not taken for a formula."""
    text = printable(str(label))
    return (text if len(text) <= 28 else f"{text[:14]}…{text[-13:]}").replace("$", r"\$")
