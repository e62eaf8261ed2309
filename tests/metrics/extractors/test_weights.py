"""Files of weights: where they are looked for, and which are refused."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from fastgan.metrics.extractors.weights import WeightFile


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A file of weights in torch's folder."""
    path = tmp_path / "hub" / "checkpoints" / "second.pth"
    path.parent.mkdir(parents=True)
    torch.save(nn.Linear(2, 3).state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def known(path: Path, digits: int = 64) -> WeightFile:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:digits]
    return WeightFile("a linear layer", ("first.pth", "second.pth"), digest, path.stat().st_size)


def test_a_file_is_found_by_its_path_its_folder_or_torchs(stored: Path, tmp_path: Path) -> None:
    file = known(stored)
    assert file.find() == file.find(stored) == file.find(stored.parent) == stored
    other = stored.rename(tmp_path / "any name")
    assert file.find(other) == other
    for path, message in (
        (
            None,
            r"there is none of first.pth, second.pth in .*checkpoints: put there first.pth \(a linear layer, [\d,]+",
        ),
        (stored.parent, "there is none of first.pth, second.pth in .*checkpoints"),
        (tmp_path / "nowhere", "there is no .*nowhere; it should be first.pth"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            file.load(path)


@pytest.mark.parametrize("digits", [0, 8, 64])
def test_what_is_loaded_is_what_the_file_holds(stored: Path, digits: int) -> None:
    found, before = known(stored, digits).load(), torch.get_rng_state()
    network = found.fill(lambda: nn.Linear(2, 3))
    assert torch.equal(torch.get_rng_state(), before)  # a training that is measured goes on as it would
    state = torch.load(stored, weights_only=True)
    assert found.path == stored and found.sha256 == hashlib.sha256(stored.read_bytes()).hexdigest()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    with pytest.raises(ValueError, match="(?s)second.pth does not hold the weights of Linear: .*size mismatch"):
        found.fill(lambda: nn.Linear(3, 3))


@pytest.mark.parametrize("digits", [8, 64])
def test_another_file_is_refused_before_it_is_read(stored: Path, digits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    file, content = known(stored, digits), stored.read_bytes()
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    stored.write_bytes(content[:-1])
    with pytest.raises(
        ValueError, match=rf"second.pth has [\d,]+ bytes; expected was first.pth .*{len(content):,} byt"
    ):
        file.load()
    stored.write_bytes(content[:-1] + b"!")
    with pytest.raises(ValueError, match=f"second.pth has sha256 [0-9a-f]{{64}}; expected was .*{file.sha256}"):
        file.load()


class Harmful:
    def __reduce__(self):
        return pytest.fail, ("code of the file ran",)


@pytest.mark.parametrize("content", ["pickle", "zip", "text", "no tensors", "a list"])
def test_what_is_no_dictionary_of_tensors_is_refused(stored: Path, content: str) -> None:
    if content == "pickle":
        stored.write_bytes(pickle.dumps(Harmful(), protocol=2))
    elif content == "text":
        stored.write_bytes(b"<html>not found</html>")
    else:
        torch.save(
            {"zip": {"weight": Harmful()}, "no tensors": {"weight": 1}, "a list": [torch.ones(1)]}[content], stored
        )
    with pytest.raises(
        ValueError, match="second.pth (cannot be read as|is no dictionary of) tensors; expected was first"
    ):
        known(stored).load()
