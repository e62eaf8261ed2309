"""Trees of tensors and plain values as a flat dict of tensors and a JSON document, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

# A JSON object whose only key is one of these stands for what JSON cannot say. An ordinary dict with such a key is
# written as a list of pairs, so that nothing is ambiguous.
_TENSOR, _TUPLE, _PAIRS, _FLOAT = "$tensor", "$tuple", "$pairs", "$float"


def _segment(key: str | int) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")


def encode(tree: Any, *, name: str = "tree") -> tuple[Any, dict[str, torch.Tensor]]:
    """tree -> (document, tensors): the document is JSON, each tensor in it is named by its path, as "a/b/0/c".

    Args:
        tree: nested dicts (keys str or int), lists and tuples of tensors, int, float, bool, str and None.
        name: how messages call the tree.

    Returns:
        the JSON document, and the tensors by path. "/" and "~" inside a key are written "~1" and "~0".

    Raises:
        TypeError: a value or a key of another type; the message gives its place.
        ValueError: two tensors would have the same path (keys 0 and "0" of one dict).
    """
    tensors: dict[str, torch.Tensor] = {}

    def visit(value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, torch.Tensor):
            key = "/".join(path)
            if key in tensors:
                raise ValueError(f"{name}: two tensors would be stored as {key!r}; rename one of the keys")
            tensors[key] = value
            return {_TENSOR: key}
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {_FLOAT: repr(value)}
        if isinstance(value, list):
            return [visit(item, (*path, str(i))) for i, item in enumerate(value)]
        if isinstance(value, tuple):
            return {_TUPLE: [visit(item, (*path, str(i))) for i, item in enumerate(value)]}
        if isinstance(value, Mapping):
            return _encode_dict(value, path)
        raise TypeError(
            f"{name}: the value at {'/'.join(path) or 'the root'!r} must be a tensor, dict, list, tuple, int, float, "
            f"bool, str or None, got {type(value).__name__}"
        )

    def _encode_dict(value: Mapping[Any, Any], path: tuple[str, ...]) -> Any:
        for key in value:
            if isinstance(key, bool) or not isinstance(key, (str, int)):
                raise TypeError(
                    f"{name}: keys must be str or int, got {key!r} ({type(key).__name__}) at "
                    f"{'/'.join(path) or 'the root'!r}"
                )
        pairs = [(key, visit(item, (*path, _segment(key)))) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in pairs):
            return dict(pairs)
        return {_PAIRS: [[key, item] for key, item in pairs]}

    return visit(tree, ()), tensors


def decode(document: Any, tensor: Callable[[str], torch.Tensor]) -> Any:
    """document -> tree: the inverse of `encode`; `tensor` gives the tensor of a path.

    Args:
        document: what `encode` returned.
        tensor: called once for each tensor of the document.

    Returns:
        the tree; mappings come back as dict.
    """
    if isinstance(document, list):
        return [decode(item, tensor) for item in document]
    if not isinstance(document, dict):
        return document
    if len(document) == 1:
        ((key, value),) = document.items()
        if key == _TENSOR:
            return tensor(value)
        if key == _TUPLE:
            return tuple(decode(item, tensor) for item in value)
        if key == _FLOAT:
            return float(value)
        if key == _PAIRS:
            return {k: decode(item, tensor) for k, item in value}
    return {key: decode(value, tensor) for key, value in document.items()}


def descend(document: Any, prefix: str) -> Any:
    """The part of `document` that lies at `prefix`.

    Args:
        document: what `encode` returned.
        prefix: a path as `encode` writes it ("G_ema", "optimizers/0"); "" is the whole.

    Returns:
        the part, itself a document.

    Raises:
        KeyError: there is nothing at `prefix`; its argument is the list of what there is beside the missing step.
    """
    for step in prefix.split("/") if prefix else []:
        if isinstance(document, dict) and len(document) == 1 and _TUPLE in document:
            document = document[_TUPLE]
        if isinstance(document, list):
            children = {str(i): item for i, item in enumerate(document)}
        elif isinstance(document, dict) and _PAIRS in document:
            children = {_segment(key): item for key, item in document[_PAIRS]}
        elif isinstance(document, dict) and not any(key.startswith("$") for key in document):
            children = {_segment(key): item for key, item in document.items()}
        else:
            children = {}
        if step not in children:
            raise KeyError(sorted(children))
        document = children[step]
    return document
