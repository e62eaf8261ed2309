"""The checkpoint file: safetensors, with the tree's plain values as JSON in its header, and checksums of all of it."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from fastgan.checkpoint.atomic import replacing
from fastgan.checkpoint.tree import decode, descend, encode

# Version 2 brought the checksums; a file of version 1 is read without them.
FORMAT_VERSION = 2
_VERSION_KEY = "fastgan_checkpoint"
# CRC-32 of the file's start, length and header, taken with these digits as zeros. Quotes inside JSON texts are escaped,
# so the pattern matches nothing else.
_HEADER_SUM = re.compile(rb'"header_crc32": "([0-9a-f]{8})"')
_NO_HEADER_SUM = b'"header_crc32": "00000000"'
_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
# The safetensors format caps its header at this many bytes.
_LARGEST_HEADER = 100_000_000
# What reading JSON, and a tree from it, raises where someone has changed it.
_DAMAGE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


class CheckpointError(ValueError):
    """A file that cannot be read as a checkpoint; the message names the file and says why."""


def _storable(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor detached, on the CPU and contiguous; the widest types first, which keeps all of them aligned."""
    stored: dict[str, torch.Tensor] = {}
    if "__metadata__" in tensors:
        raise ValueError("tree: no tensor may be called '__metadata__', which safetensors keeps for itself; rename it")
    for key, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise TypeError(f"tree: the tensor at {key!r} must be dense, got {tensor.layout} on {tensor.device}")
        if tensor.dtype not in _DTYPES:
            names = ", ".join(str(dtype) for dtype in _DTYPES)
            raise TypeError(f"tree: the tensor at {key!r} must be one of {names}; got {tensor.dtype}")
        stored[key] = tensor.detach().cpu().contiguous()
    return dict(sorted(stored.items(), key=lambda item: -item[1].element_size()))


def _bytes(tensor: torch.Tensor) -> memoryview:
    """The bytes of a contiguous tensor, not copied."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _start(tensors: Mapping[str, torch.Tensor], own: Mapping[str, str]) -> bytes:
    """The file up to the first tensor: eight bytes of length and the header, its checksum filled in."""
    entries, end = {}, 0
    for key, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        entries[key] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps({"__metadata__": {**own, "header_crc32": "00000000"}, **entries}).encode()
    text += b" " * (-len(text) % 8)
    start = struct.pack("<Q", len(text)) + text
    return _HEADER_SUM.sub(b'"header_crc32": "%08x"' % zlib.crc32(start), start)


def save_checkpoint(path: str | Path, tree: Mapping[Any, Any], *, metadata: Mapping[str, Any]) -> None:
    """path <- tree and metadata, in one safetensors file that replaces the old one whole.

    A process killed at any instant, or a full disk, leaves the file that was there before. Checksums (CRC-32) of the
    header and of every tensor are stored with them, and checked whenever a part is read.

    Args:
        path: the file; its folder must exist.
        tree: nested dicts (keys str or int), lists and tuples of tensors, int, float, bool, str and None. Tensors on
            any device and of any memory format; tensors that share storage are stored each for itself.
        metadata: a tree without tensors, which `read_metadata` returns without touching the tensors.

    Raises:
        TypeError: a value that cannot be stored; the message gives its place.
        ValueError: two tensors of the same path, or one called "__metadata__".
        OSError: the file could not be written.

    Example:
        >>> save_checkpoint("network.safetensors", {"G_ema": G.state_dict()}, metadata={"kimg": 20.0})  # doctest: +SKIP
    """
    document, tensors = encode(tree)
    described, extra = encode(metadata, name="metadata")
    if extra:
        raise TypeError(f"metadata: must hold no tensors, got one at {next(iter(extra))!r}")
    stored = _storable(tensors)
    header = {
        _VERSION_KEY: str(FORMAT_VERSION),
        "tree": json.dumps(document, allow_nan=False),
        "metadata": json.dumps(described, allow_nan=False),
        "crc32": json.dumps({key: zlib.crc32(_bytes(tensor)) for key, tensor in stored.items()}),
    }
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(_start(stored, header))
        for tensor in stored.values():
            file.write(_bytes(tensor))


def _read_header(path: Path) -> dict[str, str]:
    """The file's own metadata, once its length and its origin have been checked."""
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise (IsADirectoryError if path.is_dir() else FileNotFoundError)(f"checkpoint {path} {kind}")
    size = path.stat().st_size
    if size == 0:
        raise CheckpointError(f"checkpoint {path} is empty")
    with path.open("rb") as file:
        start = file.read(9)
        length = struct.unpack("<Q", start[:8])[0] if len(start) == 9 else 0
        if not 0 < length <= _LARGEST_HEADER or start[8:] != b"{":
            raise CheckpointError(f"{path} is not a fastgan checkpoint (it is no safetensors file)")
        if size < 8 + length:
            raise CheckpointError(f"checkpoint {path} is truncated: it ends inside its header, after {size} bytes")
        start += file.read(length - 1)
    written = _HEADER_SUM.search(start)
    if written and zlib.crc32(_HEADER_SUM.sub(_NO_HEADER_SUM, start)) != int(written[1], 16):
        raise CheckpointError(f"checkpoint {path} has a damaged header: its checksum does not match")
    try:
        header = json.loads(start[8:])
        own = header.get("__metadata__")
        ends = [int(entry["data_offsets"][1]) for key, entry in header.items() if key != "__metadata__"]
    except _DAMAGE as error:
        raise CheckpointError(f"checkpoint {path} has a damaged header: {error}") from error
    if not isinstance(own, dict) or not re.fullmatch("[0-9]{1,9}", str(own.get(_VERSION_KEY, ""))):
        raise CheckpointError(f"{path} is a safetensors file, but not a fastgan checkpoint")
    if int(own[_VERSION_KEY]) > FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format version {own[_VERSION_KEY]}, this fastgan reads up to {FORMAT_VERSION}: "
            "install a newer fastgan"
        )
    if int(own[_VERSION_KEY]) > 1 and not written:
        raise CheckpointError(f"checkpoint {path} has a damaged header: its checksum is gone")
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        fault = "is truncated" if size < expected else "is damaged"
        raise CheckpointError(f"checkpoint {path} {fault}: it has {size} bytes, expected {expected}")
    return own


def _document(path: Path, own: Mapping[str, str], key: str) -> Any:
    try:
        return json.loads(own[key])
    except _DAMAGE as error:
        raise CheckpointError(f"checkpoint {path} has a damaged header: no readable {key!r}") from error


def read_metadata(path: str | Path) -> dict[str, Any]:
    """metadata of the checkpoint at `path`, without reading any tensor; the header's checksum is checked.

    Args:
        path: a file that `save_checkpoint` wrote.

    Returns:
        what was given as `metadata`.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: a foreign, truncated, damaged or newer file; the message names it.
    """
    path = Path(path)
    document = _document(path, _read_header(path), "metadata")
    try:
        return _mapping(decode(document, _no_tensor), "metadata")
    except _DAMAGE as error:
        raise CheckpointError(f"checkpoint {path} has a damaged header: metadata: {error}") from error


def _mapping(tree: Any, name: str) -> dict[Any, Any]:
    if not isinstance(tree, dict):
        raise ValueError(f"the {name} must be an object, got {type(tree).__name__}")
    return tree


def _no_tensor(key: str) -> torch.Tensor:
    raise ValueError(f"refers to a tensor {key!r}")


def load_tensors(path: str | Path, prefix: str, optional: bool = False) -> Any:
    """The part of the tree at `prefix`; only its tensors are read, and checked against their checksums.

    Args:
        path: a file that `save_checkpoint` wrote.
        prefix: the path of the part: "G_ema", "players/0/optimizer"; "" is the whole tree.
        optional: whether None is returned where there is nothing at `prefix`.

    Returns:
        the part, with its plain values; tensors are contiguous, on the CPU and own their memory.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: a foreign, truncated, damaged or newer file, or nothing at `prefix`; the message names the
            file.
    """
    path = Path(path)
    own = _read_header(path)
    document = _document(path, own, "tree")
    sums = _document(path, own, "crc32") if "crc32" in own else {}
    try:
        part = descend(_mapping(document, "tree"), prefix)
    except KeyError as error:
        if optional:
            return None
        raise CheckpointError(f"checkpoint {path} holds no {prefix!r}; it has {error.args[0]}") from None
    except _DAMAGE as error:
        raise CheckpointError(f"checkpoint {path} has a damaged header: tree: {error}") from error
    try:
        with safe_open(path, framework="pt", device="cpu") as file:

            def tensor(key: str) -> torch.Tensor:
                value = file.get_tensor(key)
                if sums and zlib.crc32(_bytes(value)) != sums.get(key):
                    raise CheckpointError(f"checkpoint {path} is damaged: the checksum of {key!r} does not match")
                # A copy: what safetensors returns may be a view of the mapped file, aligned to nothing.
                return value.clone()

            return decode(part, tensor)
    except CheckpointError:
        raise
    except (SafetensorError, *_DAMAGE) as error:
        raise CheckpointError(f"checkpoint {path} is damaged: {error}") from error


def load_checkpoint(path: str | Path) -> tuple[dict[Any, Any], dict[str, Any]]:
    """(tree, metadata) of the checkpoint at `path`, exact to the bit, dtype and shape.

    Args:
        path: a file that `save_checkpoint` wrote.

    Returns:
        tree: as it was saved; tensors are contiguous, on the CPU and own their memory; mappings are dicts.
        metadata: as it was saved.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: a foreign, truncated, damaged or newer file; the message names it.
    """
    return load_tensors(path, ""), read_metadata(path)
