"""Damaged and tampered checkpoints: what was saved, or an error that names the file."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan.checkpoint import CheckpointError, load_checkpoint, load_tensors, read_metadata, save_checkpoint
from fastgan.generate import Sampler
from fastgan.models.registry import build
from tests.fuzz.documents import changed, documents
from tests.fuzz.limits import bounded

CONFIG = {"resolution": (8, 8), "channel_base": 32, "channel_max": 4, "z_dim": 4, "w_dim": 4, "mapping_layers": 1}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "whole.safetensors"
    config = {**CONFIG, "num_classes": 2}
    tree = {
        "model": {"name": "stylegan2", "config": config},
        "G_ema": build("stylegan2", **config)[1].state_dict(),
        "state": {"list": [1, float("inf"), (torch.arange(3), None)], 3: "pairs"},
    }
    save_checkpoint(path, tree, metadata={"kimg": 1.0, "dataset": {"name": "x", "classes": ["a", "b"]}})
    return path


def read_all(path: Path) -> None:
    """Everything that reads a checkpoint, each to its end or to its own error."""
    for read in (
        load_checkpoint,
        read_metadata,
        lambda path: load_tensors(path, "state/list"),
        lambda path: load_tensors(path, "G_ema"),
        lambda path: Sampler.from_checkpoint(path).images([1], truncation_psi=0.5),
    ):
        try:
            with bounded():
                read(path)
        except CheckpointError as error:
            assert str(path) in str(error), error


@settings.get_profile("fuzz")
@given(data=st.data())
def test_bytes(whole: Path, data: st.DataObject) -> None:
    original = whole.read_bytes()
    changed_bytes = bytearray(original)
    header = 8 + struct.unpack("<Q", original[:8])[0]
    for _ in range(data.draw(st.integers(1, 4))):
        end = len(changed_bytes)
        start = data.draw(st.one_of(st.integers(0, 16), st.integers(0, header), st.integers(0, end)))
        action = data.draw(st.sampled_from(["put", "put", "cut", "truncate", "repeat"]))
        if action == "put":
            piece = data.draw(st.binary(min_size=1, max_size=8))
            changed_bytes[start : start + len(piece)] = piece
        elif action == "cut":
            del changed_bytes[start : start + data.draw(st.integers(1, 40))]
        elif action == "truncate":
            del changed_bytes[start:]
        else:
            changed_bytes[start:start] = changed_bytes[start : start + data.draw(st.integers(1, 400))]
    path = whole.with_name("damaged.safetensors")
    path.write_bytes(changed_bytes)
    read_all(path)


@settings.get_profile("fuzz")
@given(data=st.data())
def test_headers(whole: Path, data: st.DataObject) -> None:
    original = whole.read_bytes()
    length = struct.unpack("<Q", original[:8])[0]
    header = json.loads(original[8 : 8 + length])
    own = header["__metadata__"]
    part = data.draw(st.sampled_from(["tree", "tree", "metadata", "tensors", "model", "own"]))
    if part in ("tree", "metadata"):
        own[part] = json.dumps(data.draw(changed(json.loads(own[part]))))
    elif part == "model":
        tree = json.loads(own["tree"])
        tree["model"] = data.draw(changed(tree["model"], most=2))
        own["tree"] = json.dumps(tree)
    elif part == "tensors":
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        header = data.draw(changed(tensors).filter(lambda tree: isinstance(tree, dict))) | {"__metadata__": own}
    else:
        header["__metadata__"] = data.draw(st.one_of(changed(own), documents))
    text = json.dumps(header).encode()
    path = whole.with_name("tampered.safetensors")
    path.write_bytes(struct.pack("<Q", len(text)) + text + original[8 + length :])
    read_all(path)
