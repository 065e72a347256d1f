"""The check of VGG16's weights: where they are, and if they are the pinned ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .check import Check, shell_path
from .libraries import failure_check
from .probe import Failure, Findings
from .requirements import Library, is_place_of, reinstall_command

DOWNLOAD_MEGABYTES = 59

_NEED = "without VGG16's weights no features can be computed"


def weights_check(findings: Findings, libraries: Sequence[Library]) -> Check:
    """Check that the weights are here and have the pinned digest, or can be downloaded.

    Args:
        findings: those of the probe "weights".
        libraries: libraries among which a broken module's distribution is sought first.
    """
    place = findings.facts.get("weights") or {}
    path = place.get("path", "")
    facts = {"source": place.get("source"), "path": shell_path(path) if path else None}
    if findings.facts.get("verified"):
        seen = f"VGG16 from {place['source']}, the pinned digest is right"
        return Check("weights", "ok", seen, facts=facts)
    if failure := next(iter(findings.failures.values()), None):
        return _failed(failure, path, facts, libraries)
    if findings.facts.get("download"):
        seen = f"not here; the first extraction downloads {DOWNLOAD_MEGABYTES} MB"
        why = "the first extraction needs the network"
        return Check("weights", "warning", seen, why, extras=("offline",), facts=facts)
    seen = "not here, and Keras's download does not answer"
    return Check("weights", "missing", seen, _NEED, "", ("offline",), True, facts)


def _failed(
    failure: Failure, path: str, facts: dict[str, str | None], libraries: Sequence[Library]
) -> Check:
    """Return the check of weights that cannot be read, or are other ones."""
    if failure.kind == "MissingExtraError":
        seen = f"{facts['source']} has them, but onnx is not installed"
        return Check("weights", "missing", seen, _NEED, "", ("offline",), True, facts)
    if failure.kind != "WeightsError":
        return failure_check("weights", "h5py", failure, libraries, blocks=True)
    mend = f"rm {shell_path(path)}"
    for library in libraries:
        # A file of a package is not deleted but installed again.
        folder = library.name.replace("-", "_")
        if folder in Path(path).parts and is_place_of(library.name, path):
            mend = reinstall_command([library.requirement])
    # The advice at the end of the message is for those who pass --weights.
    error = failure.error.rpartition("; ")[0].replace(path, shell_path(path))
    return Check("weights", "broken", error, _NEED, mend, (), True, facts)
