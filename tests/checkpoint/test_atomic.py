from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from fastgan.checkpoint import replacing


def test_the_order_is_sync_rename_sync_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    sync, rename = os.fsync, os.replace

    def seen_sync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def seen_rename(source: Path, target: Path) -> None:
        calls.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", seen_sync)
    monkeypatch.setattr(os, "replace", seen_rename)
    with replacing(tmp_path / "a.txt") as partial:
        assert partial.parent == tmp_path
        partial.write_text("new")
    assert calls == ["file", "rename", "folder"]
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failing_block_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as partial:
        partial.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("gone", [False, True])
def test_an_error_of_the_system_names_the_file(tmp_path: Path, gone: bool) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(OSError) as caught, replacing(folder / "a.txt") as partial:
        partial.write_text("half")
        if gone:
            shutil.rmtree(folder)
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(folder / "a.txt")
    reason = f"the folder {folder} does not exist" if gone else "No space left on device"
    assert (caught.value.errno, caught.value.strerror) == (2 if gone else 28, reason)
    assert not gone or not folder.exists()
    assert gone or list(folder.iterdir()) == []


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    (tmp_path / ".a.txt.partial").write_text("litter that is longer")
    with replacing(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]
