"""The checkpoint file: safetensors, with the tree's plain values as JSON in its header."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fastgan.checkpoint.atomic import replacing
from fastgan.checkpoint.tree import decode, descend, encode

FORMAT_VERSION = 1
_VERSION_KEY = "fastgan_checkpoint"
# The safetensors format caps its header at this many bytes.
_LARGEST_HEADER = 100_000_000
# What reading JSON, and a tree from it, raises where someone has changed it.
_DAMAGE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


class CheckpointError(ValueError):
    """A file that cannot be read as a checkpoint; the message names the file and says why."""


def _storable(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor detached, on the CPU, contiguous, and alone in its storage."""
    stored: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for key, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            raise TypeError(f"tree: the tensor at {key!r} must be dense, got {tensor.layout} on {tensor.device}")
        plain = tensor.detach().cpu().contiguous()
        address = plain.untyped_storage().data_ptr()
        if address in seen:
            plain = plain.clone(memory_format=torch.contiguous_format)
            address = plain.untyped_storage().data_ptr()
        if plain.numel():
            seen.add(address)
        stored[key] = plain
    return stored


def save_checkpoint(path: str | Path, tree: Mapping[Any, Any], *, metadata: Mapping[str, Any]) -> None:
    """path <- tree and metadata, in one safetensors file that replaces the old one whole.

    A process killed at any instant, or a full disk, leaves the file that was there before.

    Args:
        path: the file; its folder must exist.
        tree: nested dicts (keys str or int), lists and tuples of tensors, int, float, bool, str and None. Tensors on
            any device and of any memory format; tensors that share storage are stored each for itself.
        metadata: a tree without tensors, which `read_metadata` returns without touching the tensors.

    Raises:
        TypeError: a value that cannot be stored; the message gives its place.
        OSError: the file could not be written.

    Example:
        >>> save_checkpoint("network.safetensors", {"G_ema": G.state_dict()}, metadata={"kimg": 20.0})  # doctest: +SKIP
    """
    document, tensors = encode(tree)
    described, extra = encode(metadata, name="metadata")
    if extra:
        raise TypeError(f"metadata: must hold no tensors, got one at {next(iter(extra))!r}")
    header = {
        _VERSION_KEY: str(FORMAT_VERSION),
        "tree": json.dumps(document, allow_nan=False),
        "metadata": json.dumps(described, allow_nan=False),
    }
    stored = _storable(tensors)
    with replacing(path) as partial:
        save_file(stored, partial, metadata=header)


def _read_header(path: Path) -> dict[str, str]:
    """The file's own metadata, once its length and its origin have been checked."""
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise (IsADirectoryError if path.is_dir() else FileNotFoundError)(f"checkpoint {path} {kind}")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(9)
        length = struct.unpack("<Q", start[:8])[0] if len(start) == 9 else 0
        if not 0 < length <= _LARGEST_HEADER or start[8:] != b"{":
            raise CheckpointError(f"{path} is not a fastgan checkpoint (it is no safetensors file)")
        if size < 8 + length:
            raise CheckpointError(f"checkpoint {path} is truncated: it ends inside its header, after {size} bytes")
        try:
            header = json.loads(b"{" + file.read(length - 1))
            ends = [int(entry["data_offsets"][1]) for key, entry in header.items() if key != "__metadata__"]
        except _DAMAGE as error:
            raise CheckpointError(f"checkpoint {path} has a damaged header: {error}") from error
    own = header.get("__metadata__")
    if not isinstance(own, dict) or not re.fullmatch("[0-9]{1,9}", str(own.get(_VERSION_KEY, ""))):
        raise CheckpointError(f"{path} is a safetensors file, but not a fastgan checkpoint")
    if int(own[_VERSION_KEY]) > FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format version {own[_VERSION_KEY]}, this fastgan reads up to {FORMAT_VERSION}: "
            "install a newer fastgan"
        )
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
    """metadata of the checkpoint at `path`, without reading any tensor.

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


def load_tensors(path: str | Path, prefix: str) -> Any:
    """The part of the tree at `prefix`; only its tensors are read.

    Args:
        path: a file that `save_checkpoint` wrote.
        prefix: the path of the part: "G_ema", "players/0/optimizer"; "" is the whole tree.

    Returns:
        the part, with its plain values; tensors are contiguous, on the CPU and own their memory.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: a foreign, truncated, damaged or newer file, or nothing at `prefix`; the message names the
            file.
    """
    path = Path(path)
    document = _document(path, _read_header(path), "tree")
    try:
        part = descend(_mapping(document, "tree"), prefix)
    except KeyError as error:
        raise CheckpointError(f"checkpoint {path} holds no {prefix!r}; it has {error.args[0]}") from None
    except _DAMAGE as error:
        raise CheckpointError(f"checkpoint {path} has a damaged header: tree: {error}") from error
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            # A copy: what safetensors returns may be a view of the mapped file, aligned to nothing.
            return decode(part, lambda key: file.get_tensor(key).clone())
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
