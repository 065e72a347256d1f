"""The command `freezeframe store`: verify, mistakes, full disks, and the shell."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from freezeframe import FeatureStore
from freezeframe.features.exports.export import export
from freezeframe.features.hdf5_file import DeferredErrorFile
from freezeframe.features.rows.pooling import pool

from ..conftest import MakeStore
from .stores import LABELS, call, damage, forge


def test_verify(make_store: MakeStore) -> None:
    path = make_store("a.h5", LABELS, failed=1)
    result = call("verify", path)
    assert (result.exit_code, result.output) == (0, "5 rows of 2 layers are what was written\n")
    damage(path, 1)
    damage(path, 3, "block3_pool")
    with h5py.File(path, "r+") as file:
        # Not even text.
        file["checksums/block5_pool"][3] = b"\xff" * 64
    result = call("verify", path)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "damaged: ü/3.png: block3_pool",
        "damaged: y/1.png: block5_pool",
        "damaged: ü/3.png: block5_pool",
    ]
    assert result.stderr == (
        f"error: {path}: 2 of 6 rows not what was written; extract them again with --overwrite\n"
    )


def test_no_command_takes_a_half_filled_store_for_a_whole_one(make_store: MakeStore) -> None:
    path = make_store("a.h5", LABELS, pending=5)
    pending = "5 of 6 rows not computed yet (y/1.png, x/2.png, ü/3.png and 2 more)"
    line = f"{pending}; run extract-features again\n"
    verified = call("verify", path)
    assert (verified.exit_code, verified.output) == (
        0,
        f"1 row of 2 layers are what was written\n{line}",
    )
    shown = call("info", path).stdout
    assert "5 rows (y/1.png, x/2.png, ü/3.png and 2 more); extract-features" in shown
    assert len(json.loads(call("info", path, "--json").stdout)["pending"]) == 5
    assert call("merge", "all.h5", path).stdout.endswith(line)
    assert call("export", path, "archive.h5").stdout.endswith(line)
    assert call("restore", "archive.h5", "restored.h5").stdout.endswith(line)
    for out in ("a.npz", "a.parquet"):
        exported = call("export", path, out)
        assert exported.exit_code == 1
        assert f"error: {out}: lacks rows: {pending}; run extract-features on" in exported.stderr
    with np.load("a.npz", allow_pickle=False) as file:
        assert file["paths"].tolist() == ["x/0.png"]
        assert file["pending"].tolist() == FeatureStore(path).paths[1:].tolist()
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_schema("a.parquet").metadata[b"freezeframe_pending"].decode() == pending


def test_a_whole_store_has_no_pending_rows(make_store: MakeStore) -> None:
    path = make_store("a.h5", LABELS, failed=1)
    for command in (["verify", path], ["export", path, "a.npz"], ["merge", "all.h5", path]):
        result = call(*command)
        assert result.exit_code == 0
        assert "not computed" not in result.output
    with np.load("a.npz", allow_pickle=False) as file:
        assert file["pending"].tolist() == []


def test_every_mistake_is_reported_in_one_line(make_store: MakeStore, tmp_path: Path) -> None:
    good = make_store("good.h5", LABELS)
    empty = make_store("empty.h5", LABELS, pending=6)
    export(FeatureStore(good), "archive.h5")
    Path("there.npz").write_text("precious")
    Path("text.h5").write_text("no store")
    Path("folder.npz").mkdir()
    for arguments, code, message in [
        (["export"], 2, "Missing argument"),
        (["info", "none.h5"], 1, "none.h5: no such file"),
        (["info", "archive.h5"], 1, "archive.h5: an archive, not a working store"),
        (["verify", "text.h5"], 1, "text.h5: not a feature store"),
        (
            ["export", good, "a.csv"],
            2,
            "a.csv: the format is unknown; give --format npz, parquet, archive, "
            "or a name that ends in .npz",
        ),
        (["export", good, "there.npz"], 2, "there.npz: exists already"),
        (
            ["export", good, "folder.npz", "--overwrite"],
            2,
            "folder.npz: exists and is not a regular file",
        ),
        (
            ["export", good, good, "--overwrite"],
            2,
            "good.h5: is a feature store, which is never overwritten",
        ),
        (
            ["export", good, "a.npz", "--layer", "block9"],
            2,
            "no layer 'block9'; it has block3_pool, block5_pool",
        ),
        (
            ["export", good, "a.h5", "--pooling", "avg"],
            2,
            "an archive keeps all layers unpooled",
        ),
        (
            ["export", good, "nowhere/a.npz"],
            1,
            "nowhere/a.npz: cannot be written .No such file or directory",
        ),
        (
            ["export", good, "nowhere/a.h5"],
            1,
            "nowhere/a.h5: cannot be written .No such file or directory",
        ),
        (["export", empty, "a.npz"], 1, "empty.h5: no row is done"),
        (["restore", good, "a.h5"], 1, "good.h5: not an archive of a feature store"),
        (["restore", "archive.h5", good], 2, "good.h5: exists already"),
        (["merge", "a.h5"], 2, "Missing argument 'STORE...'"),
        (["merge", "a.h5", good, "text.h5"], 1, "text.h5: not a feature store"),
        (["diff", good, "none.h5"], 1, "none.h5: no such file"),
    ]:
        result = call(*arguments)
        assert (arguments, result.exit_code) == (arguments, code)
        last = result.stderr.splitlines()[-1]
        assert last.startswith("error: "), arguments
        assert re.search(message, last), last
        assert "Traceback" not in result.output
    assert Path("there.npz").read_text() == "precious"
    assert not list(tmp_path.glob("*.new"))


def test_provenance_that_hdf5_cannot_hold_is_reported(make_store: MakeStore) -> None:
    """A store is read without HDF5, so it can hold provenance that HDF5 refuses."""
    path = make_store("a.h5", LABELS)
    forge(path, lambda index: index["provenance"].__setitem__("source", "a\0b"))
    for command in (["export", path, "b.h5"], ["merge", "b.h5", path]):
        result = call(*command)
        assert result.exit_code == 1
        assert re.match(r"error: .*a\.h5: cannot be (archived|merged) \(", result.stderr), (
            result.stderr
        )


@pytest.mark.skipif(os.name != "posix", reason="a limit on the size of files")
def test_a_full_disk_is_reported(make_store: MakeStore, tmp_path: Path) -> None:
    """HDF5 alone would end some of these processes with a segmentation fault."""
    path = make_store("a.h5", LABELS)
    code = (
        "import resource, signal, sys; from freezeframe.__main__ import cli\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))\n"
        "cli(sys.argv[1:])"
    )
    export(FeatureStore(path), "archive.h5")
    for arguments in (
        ["export", path, "b.npz"],
        ["export", path, "b.h5"],
        ["merge", "b.h5", path],
        ["restore", "archive.h5", "b.h5"],
    ):
        command = [sys.executable, "-c", code, "store", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 1, result.stderr
        assert re.fullmatch(
            r"error: \.?b\.\w+(-\w+\.new)?: .*(written|write).*\n", result.stderr
        ), result.stderr
    assert not list(tmp_path.glob("b.*"))


def test_a_deferred_error_file_holds_all_written_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads back what the disk refused, and reports the error when `check` is called."""

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def write(self, data: memoryview) -> int:
            if self.file.tell() >= 10:
                raise OSError(28, "No space left on device")
            return int(self.file.write(data[: 10 - self.file.tell()]))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    with DeferredErrorFile(tmp_path / "a") as file:
        monkeypatch.setattr(file, "_file", Full(file._file))
        file.check()
        for place, data in ((0, b"abcdef"), (4, b"ghijklmnop"), (20, b"z"), (2, b"xy")):
            file.seek(place)
            assert file.write(data) == len(data)
        file.seek(0)
        assert file.read() == b"abxyghijklmnop\0\0\0\0\0\0z"
        assert file.seek(0, os.SEEK_END) == file.tell() == 21
        with pytest.raises(OSError, match="No space left on device"):
            file.check()
    assert (tmp_path / "a").stat().st_size == 10


def test_as_a_shell_runs_it(make_store: MakeStore) -> None:
    path = make_store("a.h5", LABELS)
    for arguments, code in (
        (["verify", path], 0),
        (["info", path], 0),
        (["export", path, "b.npz"], 0),
        (["export", path, "b.npz"], 2),
        (["diff", path, path], 0),
    ):
        command = [sys.executable, "-m", "freezeframe", "store", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr
    with np.load("b.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(
            file["features"], pool(FeatureStore(path).memmap("block5_pool"), None)
        )


NOISY = """
import os
from freezeframe.__main__ import main
from freezeframe.features.exports import export

write = export._write_npz
def write_and_print(*arguments):
    write(*arguments)
    # As libraries do that are written in C.
    os.write(1, b"noise")
export._write_npz = write_and_print
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the streams")
@pytest.mark.parametrize("streams", [">&-", "<&- >&- 2>&-"])
def test_closed_streams_change_neither_results_nor_exit_codes(
    make_store: MakeStore, tmp_path: Path, streams: str
) -> None:
    """The first file that a program opens would get the number of a closed stream."""
    path = make_store("a.h5", LABELS)
    export(FeatureStore(path), tmp_path / "expected.npz")
    store = f'"{sys.executable}" -c "$0" store'
    commands = (
        f"{store} export a.h5 b.npz {streams}; echo $?; {store} info none.h5 {streams}; echo $?"
    )
    result = subprocess.run(
        ["sh", "-c", commands, NOISY], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.stdout == "0\n1\n"
    assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "expected.npz").read_bytes()


def test_help_loads_no_library() -> None:
    code = (
        "import sys\nfrom freezeframe.__main__ import cli\n"
        "for name in ('', 'info', 'verify', 'export', 'restore', 'merge', 'diff'):\n"
        "    try: cli(['store', *name.split(), '--help'])\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "heavy = ('h5py', 'pandas', 'numpy', 'pyarrow', 'hdf5plugin', 'rich')\n"
        "print('loaded:', [name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "loaded: []"
