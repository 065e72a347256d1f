"""Formats of images that are not read, by the endings of their names."""

from __future__ import annotations

from .table import IMAGE_FORMATS

UNREAD_FORMATS = {
    ".mgh": "MGH",
    ".mgz": "MGH",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".npy": "NumPy",
    ".npz": "NumPy",
    ".mat": "MATLAB other than cjdata",
    ".svs": "SVS",
    ".ndpi": "NDPI",
    ".czi": "CZI",
    ".heic": "HEIC",
    ".heif": "HEIC",
    ".psd": "Photoshop",
    ".svg": "SVG",
    ".pdf": "PDF",
    ".zip": "ZIP",
}
"""Names of formats that hold images but that no decoder reads, by ending in lower case."""

NOT_AN_IMAGE = "not an image"
"""Reason to skip a file of no known format."""


def unread_reason(name: str) -> str:
    """Return the reason why a file that is in none of the formats is skipped.

    Args:
        name: name of the file.

    Examples:
        >>> unread_reason("brain.nrrd"), unread_reason("notes.txt")
        ('NRRD is not read', 'not an image')
    """
    for ending, kind in UNREAD_FORMATS.items():
        if name.lower().endswith(ending):
            return f"{kind} is not read"
    return NOT_AN_IMAGE


def is_unread(name: str) -> bool:
    """Return True if the ending of a name is that of a format in `UNREAD_FORMATS`."""
    return unread_reason(name) != NOT_AN_IMAGE


def read_formats() -> str:
    """Name the formats that are read, with the endings of their files."""
    endings = {row.name: " ".join(row.endings) or "cjdata" for row in IMAGE_FORMATS}
    return ", ".join(f"{name} ({text})" for name, text in endings.items())
