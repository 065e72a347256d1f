"""The doctor, as a user calls it on machines that are whole, bare or broken."""

from __future__ import annotations

import configparser
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from freezeframe.data.output.capacity import container_limits
from freezeframe.extract.backbones.table import BACKBONES
from freezeframe.extract.doctor import libraries, machine, trial
from freezeframe.extract.doctor.check import STATUSES, Check
from freezeframe.extract.doctor.diagnosis import with_commands
from freezeframe.extract.doctor.probe import Failure, Findings, Probe
from freezeframe.extract.doctor.requirements import DEVELOPER_EXTRAS, Library, extras, required
from freezeframe.extract.settings import Settings

from ..conftest import REPOSITORY

CODES = [
    "freezeframe",
    "python",
    "system",
    "processor",
    "cores",
    "memory",
    "gpu",
    "libraries",
    "engine",
    "mnn",
    "keras",
    "weights",
    "cache",
    "keras-folder",
    "stores",
    "temporary",
]
FACTS = {
    "freezeframe": {"version", "installed_version"},
    "python": {"version", "implementation", "bits"},
    "system": {"system", "machine"},
    "processor": {"name", "vector_features"},
    "cores": {"usable", "machine"},
    "memory": {"bytes"},
    "gpu": {"megabytes", "used"},
    "libraries": set(),
    "engine": {"engine", "reason"},
    "mnn": {"versions"},
    "keras": {"versions", "backend"},
    "weights": {"source", "path"},
    "cache": {"folder", "bytes", "free_bytes", "writable"},
    "keras-folder": {"folder", "bytes", "writable"},
    "stores": {"folder", "free_bytes", "writable"},
    "temporary": {"folder", "free_bytes"},
}
"""The facts of each check where all is well."""

NO_NETWORK = {"https_proxy": "http://127.0.0.1:9"}
"""A proxy that refuses at once, so that no test asks a server."""

on_posix = pytest.mark.skipif(os.name != "posix", reason="signals and modes of POSIX")


def run(
    *arguments: str, python: Path = Path(sys.executable), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the doctor in a process of its own."""
    return subprocess.run(
        [python, "-m", "freezeframe", "doctor", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **NO_NETWORK, **environment},
        stdin=subprocess.DEVNULL,
    )


def checks_of(process: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """Return the checks of a process that printed JSON, by code."""
    assert "Traceback" not in process.stderr, process.stderr
    return {check["code"]: check for check in json.loads(process.stdout)["checks"]}


def module(folder: Path, name: str, code: str) -> str:
    """Write a module and return its folder, for PYTHONPATH."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(code)
    return str(folder)


def closure(names: list[str]) -> Iterator[metadata.Distribution]:
    """Yield the distributions with these names, and all that they require here."""
    seen: set[str] = set()
    while names:
        name = names.pop()
        if name.lower() in seen:
            continue
        seen.add(name.lower())
        distribution = metadata.distribution(name)
        yield distribution
        wanted = [Requirement(line) for line in distribution.requires or ()]
        names += [r.name for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the base installation only: links to what is installed here."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    variables = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", vars=variables))
    for distribution in closure(["freezeframe"]):
        root = Path(str(distribution.locate_file("")))
        entries = {file.parts[0] for file in distribution.files or ()}
        for entry in entries - {"..", "__pycache__"}:
            target = REPOSITORY if entry == "freezeframe" else root / entry
            # The files of an editable installation would lead to another checkout.
            if not entry.startswith("__editable__") and not (site / entry).exists():
                (site / entry).symlink_to(target)
    if not (site / "freezeframe").exists():
        (site / "freezeframe").symlink_to(REPOSITORY)
    return folder / "bin" / "python"


def test_a_whole_installation_is_ready(tmp_path: Path) -> None:
    """The JSON has the keys that the page documents, and no name of the user."""
    home = tmp_path / "home-of-alice"
    home.mkdir()
    process = run("--json", HOME=str(home), XDG_CACHE_HOME=str(home / "cache"), KERAS_BACKEND="")
    assert process.returncode == 0, process.stdout + process.stderr
    assert "alice" not in process.stdout
    document = json.loads(process.stdout)
    assert list(document) == ["schema", "version", "ready", "mend", "checks", "extras"]
    assert (document["schema"], document["ready"], document["mend"]) == (1, True, [])
    checks = checks_of(process)
    assert list(checks) == CODES
    for code, check in checks.items():
        assert list(check) == ["code", "status", "seen", "why", "mend", "blocks", "facts"]
        assert check["status"] == "ok", check
        assert set(check["facts"]) == FACTS[code]
    assert checks["engine"]["facts"]["engine"] == "mnn"
    assert "the pinned digest is right" in checks["weights"]["seen"]
    assert checks["cache"]["facts"]["folder"] == "~/cache/freezeframe"


def test_every_check_is_on_the_page() -> None:
    page = (REPOSITORY / "extract" / "README.md").read_text()
    problems = ["libraries-missing", "libraries-broken", "libraries-version"]
    for code in (*CODES, *problems, "keras-import", "job"):
        assert f"`{code}`" in page, code


def test_a_bare_installation_names_the_extras_to_install(bare_python: Path) -> None:
    process = run(python=bare_python, PYTHONPATH="")
    assert process.returncode == 1, process.stdout + process.stderr
    command = re.search(r"-> (.* install .*)", process.stdout)
    assert command is not None
    assert re.search(r"python -m pip install \S*.*\[cpu,offline\]'$", command[1])
    assert re.search(r"1\. engine, weights, mnn, keras: missing", process.stdout)
    assert re.search(r"^cpu +no +MNN, keras, onnx, ", process.stdout, re.MULTILINE)
    assert process.stderr.strip() == (
        f"error: the main job cannot run here (engine, weights); {command[1]}"
    )


@on_posix
def test_each_broken_part_is_named_with_its_own_mend(tmp_path: Path) -> None:
    place = module(tmp_path / "modules", "MNN", "raise RuntimeError('half installed')")
    keras = tmp_path / "keras"
    (keras / "models").mkdir(parents=True)
    (keras / "keras.json").write_text("{broken")
    published = BACKBONES["vgg16"].published
    assert published is not None
    (keras / "models" / published.keras_file).write_text("no weights")
    (tmp_path / "file").touch()
    driver = tmp_path / "bin" / "nvidia-smi"
    driver.parent.mkdir()
    driver.write_text("#!/bin/sh\necho no driver; exit 9\n")
    driver.chmod(0o755)
    process = run(
        "--json",
        PYTHONPATH=place,
        KERAS_HOME=str(keras),
        XDG_CACHE_HOME=str(tmp_path / "file"),
        PATH=f"{driver.parent}:{os.environ['PATH']}",
    )
    assert process.returncode == 1
    checks = checks_of(process)
    states = {code: check["status"] for code, check in checks.items() if check["status"] != "ok"}
    assert states == {
        "gpu": "broken",
        "engine": "broken",
        "mnn": "broken",
        "weights": "broken",
        "cache": "warning",
        "keras-folder": "warning",
    }
    assert [code for code, check in checks.items() if check["blocks"]] == ["engine", "weights"]
    assert checks["engine"]["seen"] == "MNN: RuntimeError: half installed"
    assert f"rename {place}/MNN.py" in checks["engine"]["mend"]
    assert checks["weights"]["mend"] == f"rm {keras / 'models' / published.keras_file}"
    assert checks["keras-folder"]["mend"] == f"rm {keras / 'keras.json'}"
    assert "XDG_CACHE_HOME" in checks["cache"]["mend"]
    assert process.stderr.startswith("error: the main job cannot run here (engine, weights); ")


def test_a_library_below_all_others_is_named_once(tmp_path: Path) -> None:
    """NumPy ends the process when it is imported; whatever imports NumPy is not to blame."""
    place = module(tmp_path / "modules", "numpy", "raise SystemExit('half there')")
    process = run(PYTHONPATH=place)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert re.findall(r"^\d\. (.*)$", process.stdout, re.MULTILINE) == [
        "libraries-broken, engine, weights: broken"
    ]
    assert "numpy: SystemExit: half there" in process.stdout
    assert f"-> rename {place}/numpy.py" in process.stdout


@on_posix
def test_wrong_settings_and_no_home_are_survived(tmp_path: Path) -> None:
    """The user has no name, no home and a wrong backend, and works in a folder that is gone."""
    gone = tmp_path / "gone"
    gone.mkdir()
    code = (
        "import os, pwd, runpy, sys\n"
        "def no_entry(user): raise KeyError(user)\n"
        "pwd.getpwuid = no_entry\n"
        "for name in ('HOME', 'XDG_CACHE_HOME', 'KERAS_HOME'): os.environ.pop(name, None)\n"
        "os.rmdir(os.getcwd())\n"
        "sys.argv = ['freezeframe', 'doctor', '--json']\n"
        "runpy.run_module('freezeframe', run_name='__main__')\n"
    )
    process = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=gone,
        capture_output=True,
        text=True,
        env={**os.environ, **NO_NETWORK, "KERAS_BACKEND": "nonsense"},
    )
    assert process.returncode == 1
    checks = checks_of(process)
    assert checks["engine"]["status"] == "broken"
    assert checks["engine"]["mend"] == checks["keras"]["mend"] == "unset KERAS_BACKEND"
    assert checks["engine"]["seen"].startswith("KERAS_BACKEND is nonsense, ")
    assert checks["stores"]["mend"] == "cd to a folder that exists"
    assert checks["weights"]["status"] == "ok"


@on_posix
def test_a_read_only_disk_is_named(tmp_path: Path) -> None:
    """A real one: a mount that only this process sees."""
    disk = tmp_path / "disk"
    (disk / "cache" / "freezeframe").mkdir(parents=True)
    mount = f"mount --bind '{disk}' '{disk}' && mount -o remount,ro,bind '{disk}'"
    shell = ["unshare", "--mount", "sh", "-c"]
    tried = shutil.which("unshare") and subprocess.run([*shell, mount], capture_output=True)
    if not tried or tried.returncode:
        pytest.skip("no mount here without root")
    code = (
        "import json\n"
        "from freezeframe.extract.doctor import probe, process, storage\n"
        "name, search = next(process.engine_facts())\n"
        "cache = storage.cache_check(probe.Findings({name: search()}), needed=True)\n"
        "stores = storage.store_check()\n"
        "print(json.dumps([stores.status, stores.seen, stores.mend, cache.status, cache.seen]))\n"
    )
    command = f"{mount} && cd '{disk}' && exec '{sys.executable}' -c \"$0\""
    environment = {**os.environ, "XDG_CACHE_HOME": str(disk / "cache")}
    process = subprocess.run(
        [*shell, command, code], capture_output=True, text=True, env=environment, check=True
    )
    status, seen, mend, cache_status, cache_seen = json.loads(process.stdout)
    assert (status, seen) == ("warning", f"{disk} cannot be written")
    assert "--output" in mend
    assert cache_status == "warning"
    assert "cannot be written" in cache_seen


@pytest.mark.parametrize("name", ["rich", "packaging"])
def test_a_library_of_the_doctor_itself_is_named(tmp_path: Path, name: str) -> None:
    place = module(tmp_path / "modules", name, "raise ValueError('torn')")
    process = run(PYTHONPATH=place)
    assert process.returncode == 1
    assert process.stderr == (
        f"error: {name}: cannot be imported (torn); pip install --force-reinstall {name}\n"
    )


@on_posix
def test_a_library_that_kills_or_hangs_ends_its_probe_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = module(tmp_path / "modules", "kills", "import os; os.kill(os.getpid(), 11)")
    module(tmp_path / "modules", "leaves", "import os; os._exit(0)")
    module(tmp_path / "modules", "talks", "print('{\"end\": true}')")
    module(tmp_path / "modules", "hangs", "import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", place)
    names = ["kills", "leaves", "talks", "json"]
    failures = libraries._failures(names, Probe("imports", names))
    assert {name: failure.error for name, failure in failures.items()} == {
        "kills": "its process died (signal 11)",
        "leaves": "its process died (exit code 0)",
    }
    findings = Probe("imports", ["talks", "hangs"], seconds=5).findings()
    assert findings.facts == {"talks": "talks"}
    assert "its process died (it took more than 5 s" in findings.failures["hangs"].error


def test_a_missing_or_old_library_is_named() -> None:
    wanted = [Library("one", "", ">=2", ""), Library("two", "", ">=2", "1.9")]
    missing, old = libraries.library_checks(wanted, {}, blocks=True)
    assert (missing.code, missing.status, missing.blocks) == ("libraries-missing", "missing", True)
    assert (old.code, old.status, old.blocks) == ("libraries-version", "warning", False)
    assert old.seen == "two 1.9, needed is >=2"
    assert old.mend.endswith("install 'two>=2'")
    # A library of an extra is missing because nobody wanted it.
    assert libraries.library_checks(wanted[:1], {}, blocks=False) == []


def test_a_broken_library_is_installed_again() -> None:
    """With what it requires: the fault may be there."""
    failure = Failure("ImportError: no symbol", "ImportError", "sklearn", "")
    check = libraries.failure_check("engine", "sklearn", failure, required(), blocks=True)
    assert check.mend.endswith("install --force-reinstall scikit-learn")


def test_extras_and_their_libraries_are_those_of_setup_cfg() -> None:
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    declared = config["options.extras_require"]
    assert [extra.name for extra in extras()] == [
        name for name in declared if name not in DEVELOPER_EXTRAS
    ]
    for extra in extras():
        lines = [line for line in declared[extra.name].splitlines() if line]
        needed = [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate()]
        assert [library.requirement.lower() for library in extra.libraries] == [
            str(Requirement(str(r).partition(";")[0])).lower() for r in needed
        ]
    base = {r.name for r in map(Requirement, config["options"]["install_requires"].split())}
    assert {library.name for library in required()} <= base


def test_one_command_installs_all_extras_that_are_needed() -> None:
    checks = [
        Check("engine", "missing", "", extras=("cpu", "offline"), blocks=True),
        Check("weights", "missing", "", extras=("offline",), blocks=True),
        Check("mnn", "missing", "", extras=("cpu",)),
        Check("gpu", "warning", "", extras=("gpu",)),
        Check("python", "ok", ""),
    ]
    engine, weights, mnn, gpu, python = with_commands(checks)
    assert engine.mend == weights.mend == mnn.mend
    assert "[cpu,offline]" in engine.mend
    assert "[gpu]" in gpu.mend
    assert python.mend == ""


def test_mnn_is_taken_where_keras_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr("freezeframe.extract.engines.keras.find_spec", lambda name: None)
    assert Settings().choose_engine()[0] == "mnn"
    assert Settings().resolved().engine == "mnn"


@pytest.mark.parametrize(
    ("settings", "variables", "reason"),
    [
        ({}, {"KERAS_BACKEND": "jax"}, "KERAS_BACKEND is set"),
        ({"batch_size": 4}, {}, "a batch size is set"),
        ({"precision": "float16"}, {}, "the precision is float16"),
    ],
)
def test_the_choice_of_keras_has_a_reason(
    settings: Mapping[str, Any],
    variables: Mapping[str, str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings(**settings).choose_engine() == ("keras", reason)


X86 = """processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8481C
flags\t\t: fpu fma avx2 avx512f avx512_vnni amx_bf16 amx_int8 amx_tile
processor\t: 1
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm bf16 sve\nCPU part\t: 0xd40\n"


@pytest.mark.parametrize(
    ("text", "features"),
    [
        (X86, ["AMX bf16", "AMX int8", "AVX-512 VNNI", "AVX-512", "AVX2", "FMA"]),
        (ARM, ["SVE", "NEON i8mm", "NEON bf16", "NEON dot product", "NEON"]),
        ("", []),
    ],
    ids=["x86", "arm", "unknown"],
)
def test_vector_features_are_read_from_linux(
    text: str, features: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    linux = machine.processor(tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "processor", lambda: linux)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64" if text == X86 else "aarch64")
    check = machine.processor_check()
    assert check.facts["vector_features"] == features
    assert check.status == "ok"


@on_posix
def test_vector_features_are_read_from_macos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sysctl` is replaced by its recorded answer: no Mac is at hand."""
    program = tmp_path / "sysctl"
    program.write_text(
        "#!/bin/sh\ncat <<'END'\nmachdep.cpu.brand_string: Apple M2\nhw.optional.neon: 1\n"
        "hw.optional.arm.FEAT_BF16: 1\nhw.optional.arm.FEAT_SME: 0\nEND\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    check = machine.processor_check()
    assert check.facts == {"name": "Apple M2", "vector_features": ["NEON bf16", "NEON"]}


@pytest.mark.parametrize(
    ("groups", "files", "limits"),
    [
        ("0::/a/b\n", {"a/memory.max": "5000", "a/b/memory.max": "max"}, [5000]),
        ("0::/\n", {"memory.max": "7000\n"}, [7000]),
        (
            "4:cpu,memory:/x\n0::/\n",
            {"memory/memory.limit_in_bytes": "9000", "memory/x/memory.limit_in_bytes": "800"},
            [800, 9000],
        ),
        ("1:name=systemd:/\n", {"memory.max": "7000"}, []),
        ("", {}, []),
    ],
    ids=["v2", "v2 in a container", "v1", "no memory group", "no group"],
)
def test_the_memory_limit_of_a_container_counts(
    groups: str, files: Mapping[str, str], limits: list[int], tmp_path: Path
) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert container_limits(tmp_path / "proc", tmp_path / "cgroup") == limits


def test_memory_for_one_process_a_core_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_bytes", lambda: 2_000_000_000)
    many = Findings({"cores": 16, "engine": ["mnn", ""]})
    check = machine.memory_check(many)
    assert (check.status, check.mend) == ("warning", "freezeframe extract-features --workers 3")
    assert machine.memory_check(Findings({"cores": 3, "engine": ["mnn", ""]})).status == "ok"


def test_every_status_is_one_of_the_table() -> None:
    from freezeframe.extract.commands.doctor import STATUS_COLOURS

    assert tuple(STATUS_COLOURS) == STATUSES


def test_a_trial_that_fails_says_what_the_command_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "TRIAL_COMMANDS", (("extract-features", "nowhere"),))
    steps: list[str] = []
    check = trial.trial_check(steps.append)
    assert (check.code, check.status, check.blocks) == ("job", "broken", True)
    assert check.seen == "extract-features: nowhere: no such folder or file; check the path"
    assert steps == ["trying extract-features"]


@pytest.mark.slow
def test_the_trial_does_the_main_job() -> None:
    process = run("--try", "--json")
    assert process.returncode == 0, process.stdout + process.stderr
    checks = checks_of(process)
    assert list(checks) == [*CODES, "keras-import", "job"]
    assert checks["job"]["status"] == checks["keras-import"]["status"] == "ok"
