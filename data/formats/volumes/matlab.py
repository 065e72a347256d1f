"""Images in MATLAB files of version 7.3 with the group `cjdata`: Cheng's brain tumour set.

Each file has one slice, its label, the patient and a mask. A process of its own reads them, see
`matlab_process.py`.

References:
    J. Cheng, brain tumor dataset, figshare (2017), doi:10.6084/m9.figshare.1512427
"""

from __future__ import annotations

import atexit
import hashlib
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ImageError
from ...output.piped_process import PipedProcess, WorkerDiedError
from ..limits import check_size
from . import matlab_process
from .volume import scale_volume

MATLAB_MAGIC = rb"MATLAB 7\.3 MAT-file"

MATLAB_LABELS = {1: "meningioma", 2: "glioma", 3: "pituitary"}
"""Names of the classes by the numbers in the files."""

FILE_SECONDS = 30
"""Seconds after which the process is ended, because a file makes it loop."""

_REMEMBERED = 8


class MatlabReader:
    """Reader of MATLAB files with the group `cjdata`."""

    def decode(self, data: bytes, *, max_pixels: int) -> NDArray[np.uint8]:
        """Decode the image of a file, scaled as a volume of one slice.

        Returns:
            uint8 RGB array of shape (height, width, 3).

        Raises:
            ImageError: the file has another layout, or is damaged or hostile.
        """
        levels = _file(data)["levels"]
        height, width = levels.shape
        check_size(height, width, max_pixels)
        return np.repeat(scale_volume(levels)[..., np.newaxis], 3, axis=2)

    def mode(self, data: bytes) -> str:
        """Return the type of the pixels, such as "int16"."""
        return str(_file(data)["levels"].dtype.name)

    def frames(self, data: bytes) -> int:
        """Return 1: a file has one image."""
        return 1


def read_matlab_patient(data: bytes) -> str:
    """Return the patient that a file names; "" for none."""
    return str(_file(data)["patient"])


def read_matlab_mask(data: bytes) -> NDArray[np.bool_]:
    """Return the mask of the tumour in a file, of shape (height, width)."""
    return np.asarray(_file(data, "tumorMask")["levels"] != 0)


def read_matlab_label(data: bytes) -> str:
    """Return the class that a file names.

    Raises:
        ImageError: the number of the class is unknown.
    """
    number = _file(data)["label"]
    if number not in MATLAB_LABELS:
        raise ImageError(f"MATLAB file of the unknown label {number}")
    return MATLAB_LABELS[number]


class _Process:
    """The process that reads files, started for the first one, and again after it died."""

    def __init__(self) -> None:
        self._process: PipedProcess | None = None
        self._files: OrderedDict[tuple[bytes, str], dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()
        atexit.register(self.close)

    def ask(self, data: bytes, dataset: str) -> dict[str, Any]:
        """Return the facts of a file and the levels of a dataset; the latest are remembered."""
        key = (hashlib.sha256(data).digest(), dataset)
        with self._lock:
            if key not in self._files:
                self._files[key] = self._read(data, dataset)
            while len(self._files) > _REMEMBERED:
                self._files.popitem(last=False)
            return self._files[key]

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _read(self, data: bytes, dataset: str) -> dict[str, Any]:
        if self._process is None:
            self._process = PipedProcess(matlab_process.__name__)
        try:
            with self._process.time_limit(FILE_SECONDS):
                self._process.send({"bytes": len(data), "dataset": dataset}, data)
                answer = self._process.read_message()
                content = self._process.read_content(answer["bytes"])
        except WorkerDiedError as error:
            self.close()
            raise ImageError(f"MATLAB file that crashes HDF5 ({error})") from None
        if "error" in answer:
            raise ImageError(f"MATLAB file that cannot be decoded: {answer['error']}"[:200])
        levels = np.frombuffer(content, answer["dtype"]).reshape(answer["shape"])
        return {"label": answer["label"], "patient": answer["patient"], "levels": levels}


_process = _Process()


def _file(data: bytes, dataset: str = "image") -> dict[str, Any]:
    return _process.ask(data, dataset)
