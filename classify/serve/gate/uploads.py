"""Images of a request: read into memory, never onto a disk, and never by a name in the request."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

from flask import Request, abort

from .limits import ServerLimits

PART = "image"
"""Name of the parts of a form that hold images."""

RAW_TYPES = ("application/octet-stream", "application/dicom", "image/")
"""Beginnings of the types that a body with one image may have; its content decides its format."""


@dataclass(frozen=True)
class Upload:
    """An image of a request.

    Attributes:
        name: name of the file as the client sent it, only to be repeated in the answer.
        content: the bytes of the file.
    """

    name: str
    content: bytes

    @property
    def digest(self) -> str:
        """The first digits of the SHA-256 of its bytes, for the log."""
        return hashlib.sha256(self.content).hexdigest()[:12]


class MemoryRequest(Request):  # type: ignore[misc]
    """A request whose files stay in memory; Werkzeug writes those of over 500 kB to a disk."""

    def _get_file_stream(self, *_: Any, **__: Any) -> io.BytesIO:
        return io.BytesIO()


def read_uploads(request: Request, limits: ServerLimits) -> list[Upload]:
    """Read the images of a request: the parts `image` of a form, or a body that is one image.

    Raises:
        HTTPException: 400, 413 or 415; the request holds no image, too many, or another type.
    """
    kind = request.mimetype
    if kind == "multipart/form-data":
        # A form that is cut off leaves no image.
        uploads = [Upload(file.filename or "", file.read()) for file in request.files.getlist(PART)]
        if not uploads:
            abort(
                400,
                f"the form has no part named {PART!r} with a file, is damaged, or names it in "
                "other letters than UTF-8; send an image to classify",
            )
        # A misspelt name would cost an image its answer.
        if len(request.files) > 1 or request.form:
            abort(400, f"the form has parts that are no file named {PART!r}; leave them out")
    elif kind.startswith(RAW_TYPES):
        uploads = [Upload("", request.get_data())]
        if not uploads[0].content:
            abort(400, "the body is empty; send the bytes of an image file")
    else:
        abort(
            415,
            f"the type {kind or 'of the body is missing'!r} is not accepted; send "
            "multipart/form-data, image/png or application/octet-stream, for example",
        )
    if len(uploads) > limits.images:
        abort(413, f"{len(uploads)} images are more than {limits.images}; send fewer at a time")
    return uploads
