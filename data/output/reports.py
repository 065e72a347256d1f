"""Folders of reports, in which a command replaces only files that it wrote itself."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...errors import FreezeframeError, ParameterError
from .csv import csv_line
from .files import write_whole

_HEAD_BYTES = 4096
"""Bytes at the beginning of a file in which its mark is looked for."""

_HEAD_OF_PNG = 33
"""Bytes of a PNG file before its second chunk: the signature, and the chunk with its size."""


class ReportFolder:
    """The folder that a command writes its report into.

    A file of an earlier report is replaced; a file that somebody else wrote is not. Files are
    recognised by a mark near their beginning: pages and pictures name the command, CSV files have
    its header. Files of other kinds must name the command in the text `name`.

    Args:
        path: the folder; it may not exist yet.
        command: name of the command, "audit" say.
        headers: cells of the header of each CSV file, by the name of the file.
    """

    def __init__(self, path: Path, command: str, headers: Mapping[str, Sequence[str]]) -> None:
        self.path = path
        self.name = f"freezeframe {command}"
        self._command = command
        self._headers = headers

    def check(self, names: Iterable[str], sources: Iterable[Path]) -> None:
        """Raise if the report cannot be written; called before images are read, which takes long.

        Args:
            names: file names of the report, as far as they are known.
            sources: the folders, lists or stores that the report is about.

        Raises:
            ParameterError: the path is not a folder, is inside a folder of images, or a file of
                the report exists that the command did not write.
        """
        for source in sources:
            _refuse_output_within(source, self.path)
        # The nearest existing folder is the one that new folders are made in.
        nearest = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        if not nearest.is_dir():
            raise ParameterError(
                f"--output {self.path}: {nearest} is not a folder; choose another folder"
            )
        for name in names:
            self._check_own(self.path / name)

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file of the report, whole or not at all, and return its path.

        Raises:
            ParameterError: a file of this name exists that the command did not write.
            FreezeframeError: the folder cannot be made, or the file cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FreezeframeError(
                f"--output {self.path}: cannot be made ({error.strerror}); choose another folder"
            ) from None
        self._check_own(self.path / name)
        data = content.encode() if isinstance(content, str) else content
        try:
            write_whole(self.path / name, self._marked(name, data))
        except OSError as error:
            raise FreezeframeError(
                f"--output {self.path}: {name} cannot be written ({error.strerror}); "
                "choose another folder"
            ) from None
        return self.path / name

    def _marked(self, name: str, data: bytes) -> bytes:
        """Return the content of a file with the mark of the command."""
        # The header of a CSV file is its mark already.
        if name.endswith(".html"):
            return data.replace(b"<head>", b"<head>\n" + self._page_mark, 1)
        if name.endswith(".png"):
            return data[:_HEAD_OF_PNG] + self._picture_mark + data[_HEAD_OF_PNG:]
        return data

    @property
    def _page_mark(self) -> bytes:
        return f'<meta name="generator" content="{self.name}">'.encode()

    @property
    def _picture_mark(self) -> bytes:
        """The chunk of a PNG file that names the software."""
        body = b"tEXtSoftware\0" + self.name.encode()
        # The length does not count the type of the chunk, which has four bytes.
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    def _check_own(self, path: Path) -> None:
        """Raise ParameterError if a file exists that the command did not write."""
        # A link leads to a file that somebody else has put somewhere.
        if os.path.lexists(path) and (path.is_symlink() or not self._is_own(path)):
            raise ParameterError(
                f"{path}: was not written by freezeframe {self._command}; "
                "choose another --output, or move it away"
            )

    def _is_own(self, path: Path) -> bool:
        """Return True for a file that begins as a file of the command does."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if path.name in self._headers:
            return head.startswith(csv_line(self._headers[path.name]).encode())
        marks = {".html": self._page_mark, ".png": self._picture_mark}
        return marks.get(path.suffix, self.name.encode()) in head


def _refuse_output_within(source: Path, output: Path) -> None:
    """Raise ParameterError if a report would be written into a folder of images.

    The next run would read the plots as images of a class.
    """
    # The images of a CSV are listed one by one, so new files beside them do no harm.
    if not source.is_dir():
        return
    # Links are followed, and samefile also recognises another spelling of a name.
    place = output.resolve()
    folders = (folder for folder in (place, *place.parents) if folder.exists())
    if any(folder.samefile(source) for folder in folders):
        raise ParameterError(
            f"--output {output}: is inside {source}, among its images; choose a folder elsewhere"
        )
