"""The program of a probe: a child process that looks for facts and answers with one JSON a line.

The first message names the probe. For each fact the answer is `{"fact": name}` when the search
begins, then `{"fact": name, "value": ...}` or `{"fact": name, "failure": {...}}`; last
`{"end": true}`. A library that kills the process is so the one whose search had begun.

Modules are imported as late as possible: a broken one must spoil its own facts only.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import Any

from ...errors import FreezeframeError

Search = tuple[str, Callable[[], Any]]
"""The name of a fact and the function that returns it."""


def engine_facts() -> Iterator[Search]:
    """Look for cores, GPU, backends and the engine that `auto` chooses; start that engine."""

    def backends() -> dict[str, bool]:
        from ..engines.keras import KERAS_BACKENDS

        return {name: find_spec(name) is not None for name in ("keras", *KERAS_BACKENDS)}

    def backend() -> str:
        from ..engines.keras import choose_keras_backend

        return choose_keras_backend()

    def engine() -> list[str]:
        from ..settings import Settings

        engine, reason = Settings().choose_engine()
        chosen[:] = [engine]
        return [engine, reason]

    def started() -> str:
        from ..settings import Settings

        # The settings check more than an import does: that the backend exists, say.
        Settings(engine=chosen[0]).resolved()
        return _start(chosen[0])

    chosen: list[str] = []
    yield "cache", _cache
    yield "cores", _cores
    yield "gpu", _gpu
    yield "backends", backends
    yield "backend", backend
    yield "engine", engine
    if chosen:
        yield "started", started


def _cache() -> dict[str, str]:
    """Return the folder of caches, and the reason if it is not the usual one."""
    from ...data.output.cache_folder import cache_place

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        folder = cache_place("doctor").parent
    return {"folder": str(folder), "problem": str(caught[0].message) if caught else ""}


def _cores() -> int:
    from ..engines.devices import cpu_cores

    return cpu_cores()


def _gpu() -> dict[str, int]:
    """Return the memory in MB of the GPU, and of the one that Keras would use."""
    from ..engines.devices import gpu_megabytes, usable_gpu_megabytes

    try:
        usable = usable_gpu_megabytes()
    # Without a backend there is nothing to use a GPU.
    except FreezeframeError:
        usable = 0
    return {"megabytes": gpu_megabytes(), "usable_megabytes": usable}


def _start(engine: str) -> str:
    """Import the libraries of an engine; return the device that computes, if it is known."""
    if engine == "mnn":
        from MNN import Interpreter  # noqa: F401

        for module in ("_tools", "onnx"):
            import_module(module)
        return "cpu"
    return keras_device()


def keras_device() -> str:
    """Import Keras with its backend, and return the devices of the backend."""
    from ..engines.keras import import_keras

    keras = import_keras()
    return ", ".join(keras.distribution.list_devices())


def weights_facts() -> Iterator[Search]:
    """Look for VGG16's weights, and compare them with the pinned digest."""
    located: list[Any] = []

    def models() -> str:
        from ..backbones.weights import keras_models

        return str(keras_models() or "")

    def find() -> dict[str, str] | None:
        from ..backbones.weights import find_weights

        located[:] = find_weights() or []
        return {"source": located[0], "path": str(located[1])} if located else None

    def verify() -> bool:
        from ..backbones.weights import DEFAULT_BACKBONE, read_pinned

        read_pinned(located[1], DEFAULT_BACKBONE)
        return True

    def download() -> bool:
        from ..backbones.weights import download_answers

        return download_answers()

    yield "models", models
    yield "weights", find
    yield ("verified", verify) if located else ("download", download)


def import_facts(modules: Sequence[str]) -> Iterator[Search]:
    """Import modules one by one."""

    def imported(module: str) -> Callable[[], str]:
        return lambda: str(import_module(module).__name__)

    for module in modules:
        yield module, imported(module)


def keras_facts() -> Iterator[Search]:
    """Import Keras with its backend."""
    yield "keras", keras_device


PROBES: dict[str, Callable[..., Iterator[Search]]] = {
    "engine": engine_facts,
    "weights": weights_facts,
    "imports": import_facts,
    "keras": keras_facts,
}
"""The searches of each probe by its name."""


def main() -> None:
    """Answer the message on standard input; output of libraries goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    message = json.loads(sys.stdin.readline())
    for name, search in PROBES[message["probe"]](*message["details"]):
        answer(fact=name)
        try:
            answer(fact=name, value=search())
        # A half-installed library may raise anything, `SystemExit` too.
        except BaseException as error:
            answer(fact=name, failure=describe(error))
    answer(end=True)


def describe(error: BaseException) -> dict[str, str]:
    """Describe an error: its text, and the library in which it was raised."""
    kind = type(error).__name__
    text = " ".join(str(error).split())[:200]
    # A message of this package explains itself.
    if not isinstance(error, FreezeframeError):
        text = f"{kind}: {text}" if text else kind
    library, place = _culprit(error.__traceback__)
    return {"error": text, "kind": kind, "library": library, "place": place}


def _culprit(trace: TracebackType | None) -> tuple[str, str]:
    """Return the top module and the file of the innermost frame that is in a library."""
    # Python's own machinery and this package only pass the error on.
    passing = {__package__.partition(".")[0], "__main__", *sys.stdlib_module_names}
    culprit = ("", "")
    while trace is not None:
        frame = trace.tb_frame
        module = frame.f_globals.get("__name__", "").partition(".")[0]
        if module not in passing:
            culprit = (module, frame.f_code.co_filename)
        trace = trace.tb_next
    return culprit


if __name__ == "__main__":
    main()
