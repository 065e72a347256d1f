"""The devices of this machine: GPU memory and CPU cores."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress

from ...errors import MissingExtraError
from .keras import choose_keras_backend
from .packages import package_version

CPU_BATCH_SIZE = 8
"""Batch size of Keras without a GPU.

VGG16 to block5_pool on 2 cores: 13.1 images/s with 1, 15.0 with 4, 15.2 with 8, 15.1 with 16.
"""

MAX_GPU_BATCH_SIZE = 64

MEGABYTES_AN_IMAGE = 200
"""Estimate of the GPU memory for one image of a batch, on the high side.

VGG16's largest layers take 13 MB an image, and convolutions need more memory for their work.
"""


def cpu_cores() -> int:
    """Return the number of cores for this process, by its affinity and its container's quota."""
    from joblib import cpu_count

    return int(cpu_count())


def gpu_megabytes() -> int:
    """Return the memory of the first visible NVIDIA GPU in MB; 0 without a GPU.

    No library is loaded.
    """
    # An empty list or -1 hides all GPUs from CUDA, but not from nvidia-smi.
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
    if hidden or not shutil.which("nvidia-smi"):
        return 0
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    # A driver that does not answer means that there is no usable GPU.
    with suppress(OSError, ValueError, IndexError, subprocess.SubprocessError):
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
        return int(answer.stdout.split()[0])
    return 0


def usable_gpu_megabytes() -> int:
    """Return the memory in MB of the GPU that Keras would use; 0 without a GPU or without Keras.

    TensorFlow's CPU build uses no GPU.

    Raises:
        ParameterError: `KERAS_BACKEND` names no backend.
    """
    builds = {name for name in ("tensorflow", "tensorflow-cpu") if package_version(name)}
    try:
        backend = choose_keras_backend()
    # MNN runs without Keras, so its absence is no error here.
    except MissingExtraError:
        return 0
    if backend == "tensorflow" and builds == {"tensorflow-cpu"}:
        return 0
    return gpu_megabytes()


def fitting_batch_size(megabytes: int) -> int:
    """Return the largest power of two from 8 to 64 for which GPU memory suffices.

    Args:
        megabytes: memory of the GPU in MB; 0 without a GPU.

    Examples:
        >>> fitting_batch_size(8_000)
        32
    """
    images = megabytes // MEGABYTES_AN_IMAGE
    power_of_two = 1 << max(0, images.bit_length() - 1)
    return max(CPU_BATCH_SIZE, min(MAX_GPU_BATCH_SIZE, power_of_two))
