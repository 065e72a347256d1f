"""The versions of installed packages; nothing is imported."""

from __future__ import annotations

from importlib import metadata


def package_version(package: str) -> str:
    """Return the version of an installed package; "" if it is not installed, or damaged."""
    try:
        # Metadata without a version is what a broken installation leaves behind.
        return metadata.version(package) or ""
    except (metadata.PackageNotFoundError, KeyError, OSError, ValueError):
        return ""
