"""Files written aside, what killed processes leave of them, and locks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from freezeframe import StoreError
from freezeframe.__main__ import cli
from freezeframe.data.output import locks
from freezeframe.data.output.files import remove_leftovers, whole_file, write_whole
from freezeframe.data.output.locks import file_lock
from freezeframe.features.store_lock import store_lock

posix = pytest.mark.skipif(os.name != "posix", reason="links, masks, SIGKILL, flock")

HOLDER = """
import errno, fcntl, sys, time
from pathlib import Path
from freezeframe.data.output.files import whole_file
from freezeframe.data.output.locks import file_lock
def no_locks(*_):
    raise OSError(errno.ENOLCK, "No locks available")
path = Path(sys.argv[1])
with whole_file(path) as temporary:
    temporary.write_bytes(b"half")
    fcntl.flock = no_locks
    with file_lock(path.with_suffix(".lock")):
        print(temporary.name, flush=True)
        time.sleep(60)
"""
"""Writes a file aside, then holds a lock as on a file system without locks."""


@posix
def test_no_link_is_followed_and_the_mask_decides_the_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".a.txt.new").symlink_to(victim)
    mask = os.umask(0o027)
    try:
        write_whole(tmp_path / "a.txt", "new")
    finally:
        os.umask(mask)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
    # Somebody who guesses the random name gains nothing.
    monkeypatch.setattr("secrets.token_hex", lambda n: "0" * 2 * n)
    (tmp_path / f".a.txt-{'0' * 16}.new").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "a.txt", "newer")
    assert victim.read_text() == "precious"
    assert (tmp_path / "a.txt").read_text() == "new"


@posix
@pytest.mark.filterwarnings("ignore::freezeframe.errors.LockWarning")
def test_leftovers_of_dead_writers_go_and_files_of_live_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    aside = tmp_path / process.stdout.readline().strip()
    others = [tmp_path / ".b.txt-0123456789abcdef.new", tmp_path / ".a.txt-01234567.new"]
    for file in others:
        file.write_text("of another file, or of another version")
    monkeypatch.setattr("fcntl.flock", raising(errno.ENOLCK))
    alive = rf"process {process.pid} on \S+ \(delete a.lock.holder if it has ended\)"
    with pytest.raises(TimeoutError, match=alive), file_lock(tmp_path / "a.lock"):
        pass
    monkeypatch.undo()
    write_whole(path, "new")
    remove_leftovers(tmp_path, "a.txt")
    assert aside.read_text() == "half"
    process.send_signal(signal.SIGKILL)
    process.wait()
    # Without locks, nobody knows who lives.
    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", raising(errno.ENOLCK))
        write_whole(path, "newer")
        assert aside.exists()
        with file_lock(tmp_path / "a.lock"):
            pass
    write_whole(path, "newest")
    assert not aside.exists()
    assert {file.name for file in tmp_path.iterdir()} == {"a.txt", *(file.name for file in others)}
    remove_leftovers(tmp_path)
    assert not others[0].exists()


def raising(number: int) -> object:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@posix
@pytest.mark.filterwarnings("ignore::freezeframe.errors.LockWarning")
@pytest.mark.parametrize("number", sorted(locks.NO_LOCKS))
def test_a_file_system_without_locks_is_reported_and_works(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    monkeypatch.setattr("fcntl.flock", raising(number))
    path = tmp_path / "a.h5"
    # An earlier attempt may have left this file; it blocks nobody.
    Path(f"{path}.lock").touch()
    for _ in range(2):
        with store_lock(path):
            message = rf"a\.h5: process {os.getpid()} on \S+ \(delete a\.h5\.lock\.holder if it"
            with pytest.raises(StoreError, match=message), store_lock(path):
                pass
    assert list(tmp_path.iterdir()) == []
    # A process of another machine may be alive.
    Path(f"{path}.lock.holder").write_text("1\nanother-machine\n")
    with pytest.raises(StoreError, match="process 1 on another-machine"), store_lock(path):
        pass


@posix
def test_a_lock_file_is_removed_while_it_is_held(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "a.lock"
    with file_lock(path):
        waiting = path.open("r+b")
        with pytest.raises(BlockingIOError):
            fcntl.flock(waiting, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(TimeoutError, match=r"^another process$"), file_lock(path):
            pass
        assert path.exists()
    assert not path.exists()
    # The lock on a file without a name keeps nobody out.
    with waiting:
        fcntl.flock(waiting, fcntl.LOCK_EX)
        with file_lock(path):
            # A user deletes the lock, and another process takes a new one.
            path.unlink()
            path.touch()
        assert path.exists()


@pytest.mark.parametrize("command", ["audit", "split"])
def test_a_full_disk_names_the_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    output = tmp_path / "out"
    monkeypatch.setattr("os.fsync", raising(errno.ENOSPC))
    arguments = [command, str(folder), "--output", str(output), "--no-cache"]
    result = CliRunner().invoke(cli, arguments, prog_name="freezeframe")
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith((f"error: {output}", f"error: --output {output}: audit.csv cannot be"))
    assert "No space left on device" in last
    assert not list(tmp_path.rglob("*.new"))


@posix
def test_a_command_names_a_file_system_without_locks_on_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.flock", raising(errno.ENOLCK))
    arguments = ["extract-features", str(folder), "--output", str(tmp_path / "a.h5")]
    arguments += ["--backbone", "pixels-8", "--layer", "pixels"]
    result = CliRunner().invoke(cli, arguments, prog_name="freezeframe")
    assert result.exit_code == 0, result.stderr
    line = f"warning: {tmp_path}: this file system has no locks; files .lock.holder replace them"
    assert result.stderr.splitlines().count(line) == 1
    assert [file.name for file in tmp_path.glob("*a.h5*")] == ["a.h5"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_standard_output_is_named() -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "freezeframe", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert result.returncode == 1
    assert result.stderr == "error: standard output: No space left on device\n"


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error, whole_file(tmp_path / "a.txt"):
        (tmp_path / "none").read_bytes()
    assert error.value.filename == str(tmp_path / "none")
