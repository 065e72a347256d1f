"""Tests of the folder of caches: users without a home, read-only homes, folders of other users."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from freezeframe.__main__ import cli
from freezeframe.data.inspection.cache import CACHE_VERSION
from freezeframe.data.output.cache_folder import cache_place
from freezeframe.errors import CacheWarning

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and modes of POSIX")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty temporary folder, the only one of this process."""
    folder = tmp_path / "temporary"
    folder.mkdir(mode=0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without an entry in passwd and without HOME, as in a container."""

    def no_entry(user: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {user}")

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    for name in ("HOME", "XDG_CACHE_HOME", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)


def warned_folder(match: str) -> Path:
    with pytest.warns(CacheWarning, match=match):
        return cache_place("demo").parent


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("home", [None, ""])
def test_commands_work_without_a_home(
    home: str | None, folder: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if home is not None:
        monkeypatch.setenv("HOME", home)
    result = CliRunner().invoke(cli, ["split", str(folder), "--output", str(folder / "list.csv")])
    assert result.exit_code == 0, result.output
    place = temporary / f"freezeframe-{os.getuid()}"
    lines = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert lines == [
        f"warning: this user has no home folder; {place} is used instead, set XDG_CACHE_HOME to "
        "choose another folder"
    ]
    assert {path.name for path in place.iterdir()} >= {f"inspected-{CACHE_VERSION}.sqlite"}
    assert place.stat().st_mode & 0o777 == 0o700


def test_a_home_that_cannot_be_written_is_replaced(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A file in the way: tests may run as root, who may write into every folder.
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    first = warned_folder(
        r"file/freezeframe: cannot be used \(Not a directory\); /.* is used instead"
    )
    assert first.parent == temporary
    assert warned_folder("is used instead") == first


def test_a_read_only_folder_keeps_its_caches(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = cache_place("demo").parent
    (folder / "demo").touch()
    access = os.access
    # For root every folder can be written.
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder and access(path, mode))
    assert cache_place("demo") == folder / "demo"
    with pytest.warns(CacheWarning, match="freezeframe: cannot be written; .* is used instead"):
        assert cache_place("mnn/new").is_relative_to(temporary)


@pytest.mark.parametrize(("mode", "trusted"), [(0o700, 1), (0o755, 1), (0o775, 0), (0o757, 0)])
def test_a_folder_that_others_can_write_is_refused(
    *, mode: int, trusted: int, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = cache_place("demo").parent
    assert folder == tmp_path / "freezeframe"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(mode)
    if trusted:
        assert cache_place("demo").parent == folder
    else:
        other = warned_folder(r"other users can write into it; chmod -R go-w .*/freezeframe\)")
        assert other.parent == temporary


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    os.chown(cache_place("demo").parent, 4242, -1)
    shared = warned_folder("it belongs to another user")
    assert shared.parent == temporary
    # Another user may have made the temporary folder, too.
    os.chown(shared, 4242, -1)
    assert warned_folder("it belongs to another user") not in (shared, tmp_path / "freezeframe")


@pytest.mark.usefixtures("homeless")
def test_a_link_in_the_temporary_folder_is_not_followed(temporary: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    (temporary / f"freezeframe-{os.getuid()}").symlink_to(mine)
    folder = warned_folder("no home folder")
    assert folder.resolve() != mine
    assert list(mine.iterdir()) == []


@pytest.mark.usefixtures("homeless")
def test_commands_work_without_any_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    result = CliRunner().invoke(cli, ["split", str(folder), "--output", str(folder / "list.csv")])
    assert result.exit_code == 0, result.output
    assert "no temporary folder can be written; set XDG_CACHE_HOME" in result.stderr


def test_a_file_in_the_place_of_a_closed_stream_is_not_silenced(tmp_path: Path) -> None:
    """A program that was started with `2>&-` opens its first file as descriptor 2."""
    code = (
        "from freezeframe.extract.engines.silence import silenced\n"
        "file = open('results.txt', 'w')\n"
        "assert file.fileno() == 2\n"
        "with silenced(1, 2):\n"
        "    print('everything', file=file, flush=True)\n"
        "    print('noise', flush=True)\n"
        "print('shown')\n"
    )
    command = f'exec "{sys.executable}" -c "$0" 2>&-'
    result = subprocess.run(
        ["sh", "-c", command, code], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert (result.returncode, result.stdout) == (0, "shown\n")
    assert (tmp_path / "results.txt").read_text() == "everything\n"
