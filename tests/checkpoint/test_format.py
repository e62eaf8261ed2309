from __future__ import annotations

import json
import math
import os
import struct
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fastgan.checkpoint import (
    FORMAT_VERSION,
    CheckpointError,
    load_checkpoint,
    load_tensors,
    read_metadata,
    save_checkpoint,
)

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16, torch.int32,
    torch.int64, torch.bool,
]  # fmt: skip


def assert_same(a: object, b: object) -> None:
    """Equality of trees to the bit, with types."""
    if isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert torch.equal(a.contiguous().view(-1).view(torch.uint8), b.contiguous().view(-1).view(torch.uint8))
    elif isinstance(a, dict):
        assert isinstance(b, dict) and list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert type(a) is type(b) and len(a) == len(b)  # type: ignore[arg-type]
        for x, y in zip(a, b, strict=True):  # type: ignore[call-overload]
            assert_same(x, y)
    else:
        assert type(a) is type(b)
        assert a == b or (a != a and b != b)


def round_trip(tmp_path: Path, tree: dict) -> dict:
    save_checkpoint(tmp_path / "x.safetensors", tree, metadata={})
    return load_checkpoint(tmp_path / "x.safetensors")[0]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (7,), (2, 3, 5)], ids=str)
def test_every_dtype_and_shape_comes_back(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    got = round_trip(tmp_path, {"t": tensor})["t"]
    assert_same(tensor, got)


def test_special_float_bits_come_back(tmp_path: Path) -> None:
    values = torch.tensor([float("nan"), float("inf"), -0.0, 5e-324, 1 / 3], dtype=torch.float64)
    assert_same(values, round_trip(tmp_path, {"t": values})["t"])


def test_plain_values_keep_type_and_value(tmp_path: Path) -> None:
    tree = {
        "int": 2**80, "true": True, "one": 1, "float": 0.1, "tiny": 5e-324, "nan": math.nan, "inf": -math.inf,
        "whole": 3.0, "text": "smile \U0001f600 \"quoted\" /slash", "none": None, "empty": {}, "list": [], "tuple": (),
        "nested": [{"a": (1, [2.0, None])}, "b"], 7: {"int key": 0}, "a/b": {"c~d": 1}, "$tensor": "not a tensor",
        "only": {"$tuple": [1]},
    }  # fmt: skip
    assert_same(tree, round_trip(tmp_path, tree))


def test_keys_with_separators_do_not_collide(tmp_path: Path) -> None:
    tree = {"a/b": torch.zeros(1), "a": {"b": torch.ones(1)}, "a~1b": torch.full((1,), 2.0)}
    assert_same(tree, round_trip(tmp_path, tree))


def test_module_and_optimizer_states_come_back(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(module.parameters(), lr=0.0025, betas=(0.0, 0.99))
    module(torch.ones(2, 2, 5, 5)).square().sum().backward()
    optimizer.step()
    tree = {"model": module.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}
    assert isinstance(tree["model"], OrderedDict)
    got = round_trip(tmp_path, tree)
    assert_same({**tree, "model": dict(tree["model"])}, got)
    optimizer.load_state_dict(got["optimizer"])
    module.load_state_dict(got["model"])
    assert got["model"]["0.weight"].is_contiguous()


def test_views_and_shared_storage_are_stored_each(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tree = {
        "base": base,
        "same": base,
        "row": base[1],
        "column": base[:, 2],
        "cut": base[1:3, 1:3],
        "wide": base[:1].expand(3, 6),
    }
    got = round_trip(tmp_path, tree)
    assert_same(tree, got)
    got["base"].zero_()
    assert torch.equal(got["row"], base[1])


def test_a_parameter_comes_back_as_a_plain_tensor(tmp_path: Path) -> None:
    got = round_trip(tmp_path, {"p": torch.nn.Parameter(torch.ones(2))})["p"]
    assert type(got) is torch.Tensor and not got.requires_grad


def test_metadata_and_parts_are_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    state = {"conv.weight": torch.ones(2, 2), "conv.bias": torch.zeros(2)}
    save_checkpoint(
        path,
        {"G_ema": state, "other": torch.zeros(5), "steps": [1, {"t": torch.ones(1)}], "pair": (torch.ones(2), 4)},
        metadata={"kimg": 20.0, "classes": ["a", "b"], "resolution": (32, 32)},
    )
    assert read_metadata(path) == {"kimg": 20.0, "classes": ["a", "b"], "resolution": (32, 32)}
    assert_same(load_tensors(path, "G_ema"), state)
    assert_same(load_tensors(path, "steps/1"), {"t": torch.ones(1)})
    assert_same(load_tensors(path, "pair/0"), torch.ones(2))
    with pytest.raises(CheckpointError, match=r"x\.safetensors holds no 'G'; it has \['G_ema', 'other'"):
        load_tensors(path, "G")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": [{"b": object()}]}, r"value at 'a/0/b' .* got object"),
        ({"a": {1.5: 0}}, r"keys must be str or int, got 1\.5 \(float\) at 'a'"),
        ({"a": {True: 0}}, r"keys must be str or int, got True"),
        ({"s": torch.eye(2).to_sparse()}, r"tensor at 's' must be dense"),
        ({"m": torch.empty(2, device="meta")}, r"tensor at 'm' must be dense"),
        ({"c": torch.zeros(2, dtype=torch.complex64)}, r"tensor at 'c' must be one of .*; got torch\.complex64"),
    ],
)
def test_what_cannot_be_stored_is_named(tmp_path: Path, tree: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        save_checkpoint(tmp_path / "x.safetensors", tree, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_two_tensors_of_one_path_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two tensors would be stored as 'a/0'"):
        save_checkpoint(tmp_path / "x", {"a": {0: torch.ones(1), "0": torch.ones(1)}}, metadata={})


def test_the_name_of_the_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no tensor may be called '__metadata__'"):
        save_checkpoint(tmp_path / "x", {"__metadata__": torch.ones(1)}, metadata={})


def test_metadata_holds_no_tensors(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="metadata: must hold no tensors, got one at 'k'"):
        save_checkpoint(tmp_path / "x", {}, metadata={"k": torch.ones(1)})


def saved(tmp_path: Path) -> Path:
    path = tmp_path / "network.safetensors"
    save_checkpoint(path, {"w": torch.arange(100.0), "b": torch.ones(3)}, metadata={"kimg": 1.0})
    return path


def test_every_truncation_is_refused_by_name(tmp_path: Path) -> None:
    whole = saved(tmp_path).read_bytes()
    short = tmp_path / "short.safetensors"
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    for size in [0, 1, 7, 8, 9, 50, header - 1, header, header + 1, len(whole) - 1]:
        short.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"short\.safetensors") as caught:
            load_checkpoint(short)
        assert ("is truncated" if size > 8 else "not a fastgan checkpoint" if size else "is empty") in str(caught.value)


def test_trailing_bytes_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CheckpointError, match="is damaged: it has"):
        load_checkpoint(path)


def test_foreign_files_are_refused_by_name(tmp_path: Path) -> None:
    pickle = tmp_path / "model.pt"
    torch.save({"w": torch.ones(2)}, pickle)
    text = tmp_path / "notes.txt"
    text.write_text("a long enough text file that is no checkpoint at all")
    zeros = tmp_path / "zeros.bin"
    zeros.write_bytes(bytes(64))
    for path in (pickle, text, zeros):
        with pytest.raises(CheckpointError, match=f"{path.name} is not a fastgan checkpoint"):
            load_checkpoint(path)
    other = tmp_path / "other.safetensors"
    save_file({"w": torch.ones(2)}, other, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"other\.safetensors is a safetensors file, but not a fastgan"):
        load_checkpoint(other)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"checkpoint .*gone\.safetensors does not exist"):
        load_checkpoint(tmp_path / "gone.safetensors")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        load_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match="the folder .*nowhere does not exist"):
        save_checkpoint(tmp_path / "nowhere" / "x.safetensors", {}, metadata={})


def rewrite_header(path: Path, change: dict[str, Any]) -> None:
    """Change texts of the header (None takes one away), with a checksum that is right again."""
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    own = {**header["__metadata__"], "header_crc32": "00000000", **change}
    header["__metadata__"] = {key: text for key, text in own.items() if text is not None}
    text = json.dumps(header).encode()
    start = struct.pack("<Q", len(text)) + text
    start = start.replace(b'"header_crc32": "00000000"', b'"header_crc32": "%08x"' % zlib.crc32(start))
    path.write_bytes(start + raw[8 + length :])


def test_a_newer_version_is_refused_with_advice(tmp_path: Path) -> None:
    path = saved(tmp_path)
    rewrite_header(path, {"fastgan_checkpoint": str(FORMAT_VERSION + 1)})
    with pytest.raises(CheckpointError, match=r"network\.safetensors has format version 3, .* newer fastgan"):
        load_checkpoint(path)


def test_a_file_of_version_1_is_read_without_checksums(tmp_path: Path) -> None:
    path = saved(tmp_path)
    rewrite_header(path, {"fastgan_checkpoint": "1", "header_crc32": None, "crc32": None})
    tree, metadata = load_checkpoint(path)
    assert_same(tree, {"w": torch.arange(100.0), "b": torch.ones(3)})
    assert metadata == {"kimg": 1.0}


def test_the_library_reads_our_files(tmp_path: Path) -> None:
    tensors = {str(dtype): torch.tensor([0, 1]).to(dtype) for dtype in DTYPES}
    save_checkpoint(tmp_path / "x.safetensors", tensors, metadata={})
    assert_same(dict(sorted(load_file(tmp_path / "x.safetensors").items())), dict(sorted(tensors.items())))


def test_every_flipped_byte_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, {"w": torch.arange(6.0), "flag": torch.ones(3, dtype=torch.bool)}, metadata={"kimg": 1.0})
    whole = path.read_bytes()
    for place in range(len(whole)):
        for flip in (0x01, 0x20, 0x29, 0x80, 0xFF):  # 0x29 turns padding, a space, into a tab
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            with pytest.raises(CheckpointError, match=r"x\.safetensors"):
                load_checkpoint(path)
    path.write_bytes(whole)
    load_checkpoint(path)


def test_a_part_is_checked_alone(tmp_path: Path) -> None:
    path = saved(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1  # the last tensor is b: both are float32, in the order of the tree
    path.write_bytes(raw)
    assert torch.equal(load_tensors(path, "w"), torch.arange(100.0))
    assert read_metadata(path) == {"kimg": 1.0}
    with pytest.raises(CheckpointError, match=r"network\.safetensors is damaged: the checksum of 'b' does not match"):
        load_tensors(path, "b")


DAMAGES: list[dict[str, object]] = [
    {"tree": "{"},
    {"metadata": "nonsense"},
    {"tree": '{"$tensor": "gone"}'},
    {"tree": []},
    {"tree": "[" * 100_000},
    {"tree": "[]"},
    {"tree": '{"a": {"$pairs": [1]}}'},
    {"tree": '{"a": {"$pairs": [[[], 1]]}}'},
    {"tree": '{"a": {"$tuple": 1}}'},
    {"tree": '{"a": {"$float": [1]}}'},
    {"tree": '{"a": {"$tensor": 1}}'},
    {"metadata": '{"a": {"$tensor": "w"}}'},
    {"metadata": "[]"},
    {"fastgan_checkpoint": "9" * 5000},
    {"fastgan_checkpoint": []},
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: str(damage)[:60])
def test_a_damaged_document_is_refused_by_name(tmp_path: Path, damage: dict[str, object]) -> None:
    path = saved(tmp_path)
    rewrite_header(path, damage)
    with pytest.raises(CheckpointError, match=r"network\.safetensors"):
        load_checkpoint(path)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"w": torch.zeros(1)}, metadata={"kimg": 2.0})
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    save_checkpoint(path, {"w": torch.zeros(1)}, metadata={"kimg": 2.0})
    assert read_metadata(path) == {"kimg": 2.0}


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_checkpoint(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, metadata={})
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o640
