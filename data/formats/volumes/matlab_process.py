"""The program that reads MATLAB files of version 7.3, which are HDF5 files.

A damaged or hostile HDF5 file can crash the library or make it loop, so it is opened in this
process only. `matlab.py` runs it as `python -m` and exchanges JSON with it, one message a line:

    <- {"bytes": 524000, "dataset": "image"}    and so many bytes, the content of a file
    -> {"label": 2, "patient": "100360", "dtype": "int16", "shape": [512, 512], "bytes": 524288}
                                                and so many bytes, the dataset;
                                                or {"error": reason, "bytes": 0}

The program ends at the end of its input.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MOST_PIXELS = 100_000_000
"""Limit of the pixels of an image, checked before they are read."""

MATLAB_MEMORY_BYTES = 4 * 2**30
"""Limit of the memory of the process, where the system has one."""

_MOST_LETTERS = 200


def read_cjdata(content: bytes, dataset: str) -> tuple[dict[str, Any], bytes]:
    """Read the group `cjdata` of a file.

    Args:
        content: the content of the file.
        dataset: "image", or "tumorMask", which has the same size.

    Returns:
        The message that describes the dataset, and its bytes.

    Raises:
        ValueError: the file has another layout, or the dataset is too large.
    """
    import h5py

    with h5py.File(BytesIO(content), "r") as file:
        if not isinstance(file.get("cjdata", getlink=True), h5py.HardLink):
            raise ValueError("it has no cjdata")
        group = file["cjdata"]
        image = _dataset(group, dataset, MOST_PIXELS)
        if image.ndim != 2 or image.dtype.kind not in "iuf" or image.dtype.itemsize > 8:
            raise ValueError(f"its {dataset} is {image.dtype} of shape {image.shape}")
        # MATLAB stores columns one after another.
        levels: NDArray[Any] = np.ascontiguousarray(image[()].T)
        letters = _dataset(group, "PID", _MOST_LETTERS)[()].ravel().tolist()
        answer = {
            "label": int(_dataset(group, "label", 1)[()].ravel()[0]),
            "patient": "".join(chr(int(letter)) for letter in letters).strip(),
            "dtype": levels.dtype.str,
            "shape": levels.shape,
            "bytes": levels.nbytes,
        }
        return answer, levels.tobytes()


def _dataset(group: Any, name: str, most: int) -> Any:
    """Return a dataset in the file itself: a link or outer storage could name any file."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"its cjdata has no {name}")
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise ValueError(f"its {name} is no dataset")
    if not 0 < dataset.size <= most:
        raise ValueError(f"its {name} has {dataset.size} values")
    return dataset


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    for line in requests:
        request = json.loads(line)
        content = requests.read(request["bytes"])
        image = b""
        try:
            answer, image = read_cjdata(content, request["dataset"])
        # Damaged files make HDF5 raise nearly every class of exception.
        except Exception as error:
            answer = {"error": str(error) or type(error).__name__, "bytes": 0}
        answers.write(json.dumps(answer).encode() + b"\n" + image)
        answers.flush()


def main() -> None:
    """Serve on standard input and output; output of libraries goes to standard error."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MATLAB_MEMORY_BYTES, MATLAB_MEMORY_BYTES))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
