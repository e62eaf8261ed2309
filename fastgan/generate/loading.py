"""The generators of a checkpoint."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastgan.checkpoint import CheckpointError, latest_checkpoint, load_tensors, read_metadata
from fastgan.models.protocols import FromImage, FromNoise
from fastgan.models.registry import configure, family, layout


def newest_checkpoint(path: Path) -> Path:
    """path itself; of a folder the checkpoint of a run that has seen the most images, or the one file that there is.

    Raises:
        CheckpointError: the folder holds none, or several that do not tell how far they had come.
    """
    if not path.is_dir():
        return path
    if (newest := latest_checkpoint(path)) is not None:
        return newest
    found = sorted(path.glob("*.safetensors"))
    if not found:
        raise CheckpointError(f"{path}: the folder holds no checkpoint (*.safetensors)")
    if len(found) > 1:
        names = ", ".join(each.name for each in found[:5])
        raise CheckpointError(
            f"{path}: the folder holds {len(found)} checkpoints that no run numbered; name one: {names}"
        )
    return found[0]


def load_generator(path: Path) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """The averaged generator of a checkpoint, for evaluation, in float32 on the CPU, and the names of its classes.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is no checkpoint, or not one of a model that makes images of noise; the message names it.
    """
    model, config = _model_of(path)
    with _fitting(path):
        networks = family(model).networks
        if "G" not in networks or not isinstance(layout(networks["G"], config), FromNoise):
            raise CheckpointError(
                f"checkpoint {path} is of a {model}, which translates images: "
                f"fastgan translate --network {shlex.quote(str(path))} --source IMAGES --outdir OUT"
            )
        return load_network(path, "G", networks["G"], config), _class_names(read_metadata(path), config.num_classes)


def load_translator(path: Path, direction: str | None) -> tuple[torch.nn.Module, str]:
    """The averaged generator of a checkpoint that translates images, likewise, and the name of its family.

    Args:
        path: the checkpoint.
        direction: "ab" or "ba"; None: "ab".

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is no checkpoint, or not one of a model that translates images; the message names it.
        ValueError: the model does not translate in this direction.
    """
    model, config = _model_of(path)
    with _fitting(path):
        makers = {name: make for name, make in family(model).networks.items() if name in ("G", "G_ab", "G_ba")}
        if not all(isinstance(layout(make, config), FromImage) for make in makers.values()) or not makers:
            raise CheckpointError(
                f"checkpoint {path} is of a {model}, which makes images of noise: "
                f"fastgan generate --network {shlex.quote(str(path))} --outdir OUT"
            )
    directions = {"ab": "G" if "G" in makers else "G_ab", "ba": "G_ba"}
    known = [each for each, name in directions.items() if name in makers]
    if (direction or "ab") not in known:
        raise ValueError(f"direction must be {' or '.join(known)} for a {model}, got {direction!r}")
    name = directions[direction or "ab"]
    with _fitting(path):
        return load_network(path, name, makers[name], config), model


def load_network(path: Path, name: str, make: Callable[[Any], torch.nn.Module], config: Any) -> torch.nn.Module:
    """An averaged network of a checkpoint, for evaluation, in float32 on the CPU.

    A network of the configuration is first laid out without memory and the weights are fitted to it: what the file
    says allocates nothing that its weights do not bear out. torch's defaults for dtype and device do not count.

    Args:
        path: the checkpoint.
        name: of the network; its weights are the part NAME_ema.
        make: config -> network.
        config: the family's configuration.
    """
    weights = load_tensors(path, f"{name}_ema")
    if not isinstance(weights, Mapping) or not all(map(_is_weight, weights.items())):
        raise ValueError(f"its '{name}_ema' must hold tensors of real numbers by name")
    layout(make, config).load_state_dict(weights, assign=True)
    with torch.device("cpu"), _NothingDrawn():
        network = make(config).float()
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def device_named(device: str | torch.device) -> torch.device:
    """The device called so.

    Raises:
        ValueError: there is none.
    """
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be cpu or cuda, got {device!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device}, but this torch sees no GPU (fastgan doctor says more)")
    return device


def _model_of(path: Path) -> tuple[str, Any]:
    """The family and the configuration of a checkpoint's networks."""
    read_metadata(path)
    model = load_tensors(path, "model")
    with _fitting(path):
        if not isinstance(model, Mapping) or not isinstance(model.get("config"), Mapping):
            raise ValueError("its 'model' must hold a name and a config")
        name: Any = model.get("name")
        return name, configure(name, **model["config"])


@contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """What does not fit inside is told with the checkpoint's name."""
    try:
        yield
    except CheckpointError:
        raise
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        # torch lists every tensor that does not fit, a line each; the first tells enough.
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise CheckpointError(f"checkpoint {path} does not fit this fastgan: {reason}") from error


def load_labels(path: Path) -> torch.Tensor | None:
    """The label vectors that a checkpoint keeps as "labels", [K, c_dim]; None where it keeps none.

    Raises:
        CheckpointError: "labels" is no tensor; the message names the file.
    """
    labels = load_tensors(path, "labels", optional=True)
    if labels is not None and not isinstance(labels, torch.Tensor):
        raise CheckpointError(f"checkpoint {path} does not fit this fastgan: its 'labels' must be a tensor")
    return labels


def load_empty_classes(path: Path) -> tuple[int, ...]:
    """Numbers of the classes that a checkpoint's training had no image of."""
    dataset = read_metadata(path).get("dataset")
    empty = dataset.get("empty") if isinstance(dataset, Mapping) else None
    return tuple(empty) if isinstance(empty, list) else ()


class _NothingDrawn(TorchDispatchMode):
    """Random tensors are zeros, for weights that a file will fill: the caller's generators are not touched.

    Saving and restoring their state instead would take other threads the numbers that they draw meanwhile.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        if args and isinstance(args[0], torch.Tensor):
            return args[0].zero_() if func._schema.is_mutable else torch.zeros_like(args[0])
        return torch.zeros_like(func(*args, **{**kwargs, "device": "meta"}), device=kwargs.get("device"))


def _is_weight(item: tuple[Any, Any]) -> bool:
    name, value = item
    return isinstance(name, str) and isinstance(value, torch.Tensor) and not value.is_complex()


def _class_names(metadata: Any, num_classes: int) -> tuple[str, ...]:
    dataset = metadata.get("dataset") if isinstance(metadata, Mapping) else None
    names = dataset.get("classes") if isinstance(dataset, Mapping) else None
    if not names:
        return ()
    if not isinstance(names, list) or len(names) != num_classes or not all(isinstance(name, str) for name in names):
        raise ValueError(f"its metadata must name {num_classes} classes")
    return tuple(names)
