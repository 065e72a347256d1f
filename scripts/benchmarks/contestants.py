"""The contestants of `benchmark.py`, each run in a process of its own.

So libraries do not disturb each other and the memory of each is known. The contestants turn the
same images into block3_pool and block5_pool of VGG16, in float32. `loop` and `keras batched` go
from image files to .npy files, as people write it (they do not wait for the disk; ours does). The
bare contestants are forward passes over decoded arrays: each library gets the input that suits it
before its time begins, and all read both layers back. Each contestant writes its block5_pool
features to `<name>.npy`, to compare them with Keras's. `measure_parts` and `measure_device` fill
other tables of the benchmark.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from freezeframe.data.manifest import read_manifest
from freezeframe.extract.backbones.table import BACKBONES, CAFFE_MEANS
from freezeframe.extract.backbones.weights import load_weights, random_weights
from freezeframe.extract.engines.devices import cpu_cores
from freezeframe.extract.engines.keras import KerasEngine, import_keras
from freezeframe.extract.engines.mnn import MnnEngine, mnn_model, onnx_model, onnx_tensors
from freezeframe.extract.extraction import extract_features
from freezeframe.extract.pipeline import ImageSource, load_image
from freezeframe.extract.settings import Settings
from freezeframe.extract.workers.pool import ROWS_A_BATCH
from freezeframe.features.layout import DECIDING_FIELDS, IDENTITY_COLUMNS
from freezeframe.features.new_store import create_store
from freezeframe.features.store_lock import store_lock
from freezeframe.features.writer import StoreWriter

VGG16 = BACKBONES["vgg16"]
LAYERS = ("block3_pool", "block5_pool")
CHECKED = "block5_pool"
BATCH = 8
"""Batch size of bare forward passes; KerasEngine takes it on a CPU."""

Outputs = list[NDArray[np.float32]]
"""Features by layer, of shape (b, height, width, channels)."""
Forward = Callable[[Any], Outputs]


class Work:
    """The images that the benchmark left in a folder.

    Attributes:
        place: the folder.
        files: paths of the images.
        pixels: of shape (n, 224, 224, 3), uint8.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.files: list[str] = json.loads((place / "files.json").read_text())
        self.pixels: NDArray[np.uint8] = np.load(place / "pixels.npy", mmap_mode="r")

    def save(self, name: str, features: NDArray[np.float32]) -> None:
        """Save block5_pool features, to compare them later."""
        np.save(self.place / f"{name}.npy", features)

    def batches(self, size: int) -> NDArray[np.uint8]:
        """Return pixels of shape (n_batches, size, 224, 224, 3).

        The first images fill the last batch.
        """
        n = len(self.files)
        rows = np.arange(-(-n // size) * size) % n
        return self.pixels[rows].reshape(-1, size, *self.pixels.shape[1:])


def plain_keras() -> Any:
    """Return VGG16 with both layers as outputs, as in the Keras guide."""
    keras = import_keras()
    weights = load_weights()[0]
    network = keras.applications.VGG16(
        include_top=False, weights=None, input_shape=(*VGG16.input_size, 3)
    )
    for layer in network.layers:
        if layer.weights:
            layer.set_weights([weights[f"{layer.name}/kernel"], weights[f"{layer.name}/bias"]])
    return keras.Model(network.input, [network.get_layer(name).output for name in LAYERS])


def read_as_keras(path: str) -> NDArray[np.float32]:
    """Read an image as the guide does, but bilinear: all contestants see the same pixels."""
    import keras

    image = keras.utils.load_img(path, target_size=VGG16.input_size, interpolation="bilinear")
    return np.asarray(keras.utils.img_to_array(image))


def loop(work: Work) -> dict[str, Any]:
    """Run the loop people write."""
    model = plain_keras()
    from keras.applications.vgg16 import preprocess_input

    outputs: list[Outputs] = []
    warm = 0.0
    for path in work.files:
        pixels = preprocess_input(np.expand_dims(read_as_keras(path), axis=0))
        outputs.append(model.predict(pixels, verbose=0))
        warm = warm or time.monotonic()
    for number, name in enumerate(LAYERS):
        features = np.concatenate([layers[number] for layers in outputs])
        np.save(work.place / f"loop-{name}.npy", features)
    last = time.monotonic()
    work.save("loop", np.load(work.place / f"loop-{CHECKED}.npy"))
    return {"first": last, "last": last, "warm": warm, "warm_rows": 1}


def keras_batched(work: Work) -> dict[str, Any]:
    """Decode all images, then call `predict` once.

    Keras traces its graph after decoding, so this is not counted as start.
    """
    model = plain_keras()
    from keras.applications.vgg16 import preprocess_input

    warm = time.monotonic()
    pixels = preprocess_input(np.stack([read_as_keras(path) for path in work.files]))
    outputs = model.predict(pixels, batch_size=32, verbose=0)
    for name, features in zip(LAYERS, outputs, strict=True):
        np.save(work.place / f"batched-{name}.npy", features)
    last = time.monotonic()
    work.save("keras batched", outputs[LAYERS.index(CHECKED)])
    return {"first": last, "last": last, "warm": warm, "warm_rows": 0}


def timed(forward: Forward, batches: Any) -> tuple[float, NDArray[np.float32]]:
    """Return the images per second over all batches, after a warm-up, and the checked features."""
    for _ in range(2):
        forward(batches[0])
    start = time.perf_counter()
    parts = [forward(batch)[LAYERS.index(CHECKED)] for batch in batches]
    seconds = time.perf_counter() - start
    features = np.concatenate(parts)
    return len(features) / seconds, features


def bare(work: Work, name: str, forward: Forward, batches: Any) -> dict[str, Any]:
    """Measure a forward pass."""
    rate, features = timed(forward, batches)
    work.save(name, features[: len(work.files)])
    return {"rate": rate, "note": f"batch {len(batches[0])}"}


def keras_bare(work: Work) -> dict[str, Any]:
    """Run Keras as our engine does; all contestants are compared with these features."""
    engine = KerasEngine(VGG16, load_weights()[0], LAYERS, BATCH)
    return bare(
        work, "keras bare", lambda batch: list(engine.forward(batch).values()), work.batches(BATCH)
    )


def tensorflow_xla_bare(work: Work) -> dict[str, Any]:
    """Run the same network compiled by XLA."""
    import tensorflow

    engine = KerasEngine(VGG16, load_weights()[0], LAYERS, BATCH)
    run = tensorflow.function(lambda batch: engine._model(batch, training=False), jit_compile=True)

    def forward(batch: Any) -> Outputs:
        outputs = run(batch)
        return [outputs[name].numpy() for name in LAYERS]

    return bare(
        work,
        "tensorflow xla bare",
        forward,
        [tensorflow.constant(batch) for batch in work.batches(BATCH)],
    )


def onnxruntime_bare(work: Work) -> dict[str, Any]:
    """Run ONNX Runtime on all cores, with the faster batch size of 1 and 8 on the first images."""
    import onnx
    import onnxruntime

    tensors = onnx_tensors(VGG16, load_weights()[0], LAYERS)
    model = onnx.load_from_string(onnx_model(VGG16, tensors, LAYERS))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_cores()

    def session(size: int) -> Forward:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = size
        network = onnxruntime.InferenceSession(
            model.SerializeToString(), options, ["CPUExecutionProvider"]
        )
        return lambda batch: [
            array.transpose(0, 2, 3, 1) for array in network.run(list(LAYERS), {"pixels": batch})
        ]

    def inputs(size: int, most: int | None = None) -> list[NDArray[np.float32]]:
        batches = work.batches(size)[:most]
        return [
            np.ascontiguousarray(batch.transpose(0, 3, 1, 2), dtype=np.float32) for batch in batches
        ]

    rates = {size: timed(session(size), inputs(size, 32 // size))[0] for size in (1, BATCH)}
    best = max(rates, key=rates.__getitem__)
    return bare(work, "onnxruntime bare", session(best), inputs(best))


def pytorch_bare(work: Work) -> dict[str, Any]:
    """Run PyTorch with channels last."""
    import torch

    torch.set_num_threads(cpu_cores())
    weights = load_weights()[0]
    steps: list[Any] = []
    for name, (_, _, channels) in list(VGG16.layers.items())[
        : list(VGG16.layers).index(LAYERS[-1]) + 1
    ]:
        if name.endswith("_pool"):
            steps.append((name, torch.nn.MaxPool2d(2)))
            continue
        kernel = np.ascontiguousarray(weights[f"{name}/kernel"].transpose(3, 2, 0, 1))
        convolution = torch.nn.Conv2d(kernel.shape[1], channels, 3, padding=1)
        convolution.weight.data = torch.from_numpy(kernel)
        convolution.bias.data = torch.from_numpy(weights[f"{name}/bias"].copy())
        steps.append((name, torch.nn.Sequential(convolution, torch.nn.ReLU(inplace=True))))
    network = torch.nn.ModuleDict(steps).to(memory_format=torch.channels_last).eval()

    def forward(batch: Any) -> Outputs:
        outputs = []
        with torch.inference_mode():
            for name, step in network.items():
                batch = step(batch)
                if name in LAYERS:
                    outputs.append(batch.permute(0, 2, 3, 1).contiguous().numpy())
        return outputs

    means = np.array(CAFFE_MEANS, np.float32)
    blue_first = [
        np.ascontiguousarray((batch - means)[..., ::-1].transpose(0, 3, 1, 2))
        for batch in work.batches(BATCH)
    ]
    inputs = [torch.from_numpy(batch).to(memory_format=torch.channels_last) for batch in blue_first]
    return bare(work, "pytorch bare", forward, inputs)


def mnn_bare(work: Work) -> dict[str, Any]:
    """Run MNN in a process for each core, all at once, and in one process alone; add the rates."""
    cores = cpu_cores()
    (work.place / "model").write_text(str(mnn_model(VGG16, load_weights()[0], LAYERS)))
    (alone,) = _mnn_processes(work, [0], cores)
    rates = _mnn_processes(work, list(range(cores)), cores)
    features = np.empty((len(work.files), *VGG16.layers[CHECKED]), np.float32)
    for part in range(cores):
        features[part::cores] = np.load(work.place / f"part-{part}.npy")
    work.save("mnn bare", features)
    return {"rate": sum(rates), "note": f"{cores} processes; one alone {alone:.2f} images/s"}


def _mnn_processes(work: Work, parts: list[int], count: int) -> list[float]:
    """Return the rates of processes that take every count-th image and begin together."""
    script = Path(__file__).with_name("benchmark.py")
    command = [
        sys.executable,
        str(script),
        str(work.place),
        "--child",
        "mnn one",
        "--count",
        str(count),
        "--part",
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen([*command, str(part)], text=True, **pipes) for part in parts]  # type: ignore[call-overload]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [float(process.communicate()[0]) for process in processes]


def mnn_one(work: Work, part: int, count: int) -> None:
    """Run a process of `mnn_bare`: print that it is ready, wait for the start, print the rate."""
    engine = MnnEngine(VGG16, Path((work.place / "model").read_text()), LAYERS)
    images = np.array(work.pixels[part::count])[:, np.newaxis]
    engine.forward(images[0])
    print("ready", flush=True)
    sys.stdin.readline()
    rate, features = timed(lambda image: list(engine.forward(image).values()), images)
    np.save(work.place / f"part-{part}.npy", features)
    print(rate)


CONTESTANTS: dict[str, Callable[[Work], dict[str, Any]]] = {
    "keras bare": keras_bare,
    "loop": loop,
    "keras batched": keras_batched,
    "mnn bare": mnn_bare,
    "onnxruntime bare": onnxruntime_bare,
    "tensorflow xla bare": tensorflow_xla_bare,
    "pytorch bare": pytorch_bare,
}


def measure_parts(work: Work, repeat: int) -> list[dict[str, Any]]:
    """Measure decoding alone, and writing both layers alone with StoreWriter and with `np.save`.

    Returns:
        Median rates. `np.save` is followed by fsync, since StoreWriter waits for the disk too.
    """
    sources = [ImageSource(row, Path(path)) for row, path in enumerate(work.files)]
    features = {name: _random_features(len(sources), name) for name in LAYERS}
    gigabytes = sum(array.nbytes for array in features.values()) / 1e9
    rates: dict[tuple[str, str], list[float]] = {}

    def note(part: str, unit: str, rate: float) -> None:
        rates.setdefault((part, unit), []).append(rate)

    for _ in range(repeat):
        for threads in (1, 2):
            rate = len(sources) / _decode(sources, threads)
            note(f"decode, threads: {threads}", "images/s", rate)
        note("write, np.save and fsync", "GB/s", gigabytes / _save(work, features))
        note("write, StoreWriter", "GB/s", gigabytes / _write(work, features))
    return [
        {"part": part, "rate": median(values), "unit": unit}
        for (part, unit), values in rates.items()
    ]


def _decode(sources: list[ImageSource], threads: int) -> float:
    """Return the seconds to read, decode and resize all images."""
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda source: load_image(source, VGG16.input_size, "bilinear"), sources):
            pass
    return time.perf_counter() - start


def _random_features(n: int, layer: str) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((n, *VGG16.layers[layer]), np.float32)


def _save(work: Work, features: dict[str, NDArray[np.float32]]) -> float:
    """Return the seconds to save arrays as .npy files and bring them to the disk."""
    start = time.perf_counter()
    for name, array in features.items():
        with (work.place / f"plain-{name}.npy").open("wb") as file:
            np.save(file, array)
            file.flush()
            os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    for name in features:
        (work.place / f"plain-{name}.npy").unlink()
    return seconds


def _write(work: Work, features: dict[str, NDArray[np.float32]]) -> float:
    """Return the seconds to write the same into a new store, with checksums and flushes.

    Creating the store is not timed; a flush follows each 16 rows, as in an extraction.
    """
    path = work.place / "parts.h5"
    n = len(work.files)
    rows = {
        name: [f"{row}" for row in range(n)] if name == "path" else [""] * n
        for name in IDENTITY_COLUMNS
    }
    provenance: dict[str, Any] = {name: kind() for name, kind in DECIDING_FIELDS.items()} | {
        "dtype": "float32"
    }
    with store_lock(path):
        create_store(path, rows, {name: VGG16.layers[name] for name in LAYERS}, provenance)
        start = time.perf_counter()
        with StoreWriter(path) as writer:
            for first in range(0, n, ROWS_A_BATCH):
                part = range(first, min(n, first + ROWS_A_BATCH))
                batch = {name: array[part.start : part.stop] for name, array in features.items()}
                writer.write(part, batch, [VGG16.input_size] * len(part))
        seconds = time.perf_counter() - start
    path.unlink()
    return seconds


def measure_device(images: int, precision: str, batch_size: int) -> dict[str, Any]:
    """Measure Keras on the device of its backend: forward passes, and extraction of JPEG files.

    The weights are random. Forward rates include moving pixels to the device and both layers back.
    The files are in memory where the system can do that, the store is in the temporary folder. Both
    rates count from the second batch on.
    """
    rng = np.random.default_rng(0)
    engine = KerasEngine(VGG16, random_weights(0), LAYERS, batch_size, precision)
    batch = list(rng.integers(0, 256, (batch_size, *VGG16.input_size, 3), np.uint8))
    batches = [batch] * max(4, -(-images // batch_size))
    forward = timed(lambda batch: list(engine.forward(batch).values()), batches)[0]
    memory = Path("/dev/shm")
    with (
        TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        TemporaryDirectory() as place,
    ):
        for number in range(images):
            label = Path(folder) / f"class-{number % 2}"
            label.mkdir(exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
            coarse.resize((512, 512), Image.Resampling.BICUBIC).save(
                label / f"{number}.jpg", quality=90
            )
        settings = Settings(
            LAYERS, weights="random", engine="keras", precision=precision, batch_size=batch_size
        )
        seen: list[tuple[float, int]] = []
        extraction = extract_features(
            read_manifest(folder),
            Path(place) / "device.h5",
            settings,
            progress=lambda progress: seen.append((time.perf_counter(), progress.finished)),
        )
    (begun, early), (ended, late) = seen[0], seen[-1]
    whole = (late - early) / (ended - begun) if late > early else None
    shares = ", ".join(
        f"{name} {share:.0%}" for name, share in extraction.progress.seconds.shares().items()
    )
    return {"device": device_name(), "forward": forward, "end_to_end": whole, "time": shares}


def device_name() -> str:
    """Return the name of the device that the Keras backend in use computes on."""
    backend = import_keras().backend.backend()
    name = "CPU"
    if backend == "tensorflow":
        import tensorflow

        for device in tensorflow.config.list_physical_devices("GPU")[:1]:
            name = tensorflow.config.experimental.get_device_details(device).get(
                "device_name", "GPU"
            )
    elif backend == "jax":
        import jax

        name = jax.devices()[0].device_kind
    else:
        import torch

        name = torch.cuda.get_device_name() if torch.cuda.is_available() else name
    return f"{backend} on {name}"


def print_result(measure: Callable[[], Any]) -> None:
    """Run a measurement in this process and print its result as JSON, on a line of its own."""
    try:
        result = measure()
    except ImportError as error:
        result = {"missing": error.name or str(error)}
    print(f"\n{json.dumps(result)}", flush=True)
