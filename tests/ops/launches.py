"""What a layer costs before its kernels begin: python -m tests.ops.launches.

For each kind of layer of StyleGAN2, in channels_last, by the CUDA kernels of the shim: how many kernels a pass
launches, how many tensors as large as the layer's images it reads or writes, and how long Python takes. Styles and
noise are given; demodulation counts, and a weight's constant factor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fastgan.ops import conv2d_resample, modulated_conv2d, setup_filter
from fastgan.ops.conv2d_layer.passes import Passes
from tests.ops import shim

BATCH, SIDE, CHANNELS = 3, 8, 16
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PASSES = ("forward", "backward", "double backward")
FIR = setup_filter([1, 3, 3, 1], separable=True)


@dataclass(frozen=True)
class Cost:
    """Of one pass: launches of ours and of torch's, and passes over images."""

    ours: int
    torch: int
    images: int


@dataclass(frozen=True)
class Layer:
    """A call as `fastgan.nn` makes it, and its leaves; x is the first."""

    call: Callable[..., Tensor]
    shapes: dict[str, tuple[int, ...]]


def _generator(up: int) -> Layer:
    size = SIDE * up

    def call(x, w, styles, noise, b):
        resampling: dict[str, Any] = {"up": up, "resample_filter": FIR if up > 1 else None, "flip_weight": up == 1}
        return modulated_conv2d(x, w, styles, noise, padding=1, b=b, act="lrelu", clamp=256.0, **resampling)

    shapes = {"w": (CHANNELS, CHANNELS, 3, 3), "styles": (BATCH, CHANNELS), "noise": (BATCH, 1, size, size)}
    return Layer(call, {"x": (BATCH, CHANNELS, SIDE, SIDE), **shapes, "b": (CHANNELS,)})


def _to_rgb() -> Layer:
    def call(x, w, styles, b, residual):
        return modulated_conv2d(x, w, styles, demodulate=False, b=b, clamp=256.0, residual=residual)

    shapes = {"w": (3, CHANNELS, 1, 1), "styles": (BATCH, CHANNELS), "b": (3,), "residual": (BATCH, 3, SIDE, SIDE)}
    return Layer(call, {"x": (BATCH, CHANNELS, SIDE, SIDE), **shapes})


def _discriminator(kernel: int, inputs: int = CHANNELS, down: int = 1, skip: bool = False) -> Layer:
    def call(x, w, other):
        rest: dict[str, Any] = {"residual": other} if skip else {"b": other, "act": "lrelu", "clamp": 256.0}
        return conv2d_resample(x, w * 0.1, FIR if down > 1 else None, down=down, padding=kernel // 2, **rest)

    size = SIDE // down
    other = (BATCH, CHANNELS, size, size) if skip else (CHANNELS,)
    return Layer(call, {"x": (BATCH, inputs, SIDE, SIDE), "w": (CHANNELS, inputs, kernel, kernel), "other": other})


LAYERS = {
    "G 3x3": _generator(1),
    "G up": _generator(2),
    "to-RGB": _to_rgb(),
    "D 3x3": _discriminator(3),
    "D down": _discriminator(3, down=2),
    "D skip": _discriminator(1, down=2, skip=True),
    "from-RGB": _discriminator(1, inputs=3),
}


class _Operators(TorchDispatchMode):
    """Launches of torch's kernels, and passes over images of at least so many values, also inside a layer's operators.

    What has memory of its own, or changes some, launches once; what allocates does not.
    """

    def __init__(self, smallest: int) -> None:
        super().__init__()
        self.smallest, self.images = smallest, 0
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        if name.startswith("fastgan::conv2d_layer"):
            with self:
                return func._op_dk(torch._C.DispatchKey.CPU, *args, **(kwargs or {}))
        results = func(*args, **(kwargs or {}))
        made = [t for t in (results if isinstance(results, tuple) else (results,)) if isinstance(t, Tensor)]
        given = [t for t in args if isinstance(t, Tensor)]
        memory = {t.untyped_storage()._cdata for t in given}
        if "empty" in name or not (
            func._schema.is_mutable or any(t.untyped_storage()._cdata not in memory for t in made)
        ):
            return results
        if not name.startswith("fastgan::"):
            self.names.append(name.removeprefix("aten::"))
        touched = [*given, *made]
        self.images += sum(map(self._is_image, touched))
        return results

    def _is_image(self, t: Tensor) -> bool:
        return t.ndim == 4 and len(t) == BATCH and t.untyped_storage().nbytes() >= self.smallest * t.itemsize


def leaves(layer: Layer, dtype: torch.dtype) -> list[Tensor]:
    """As in a network that is channels_last: parameters are float32, images of dtype."""
    found = []
    for name, shape in layer.shapes.items():
        t = torch.rand(shape) + 0.5
        t = t.contiguous(memory_format=torch.channels_last) if len(shape) == 4 and name != "noise" else t
        found.append(
            t.to(dtype if name in ("x", "residual", "other") and len(shape) == 4 else t.dtype).requires_grad_()
        )
    return found


def passes(layer: Layer, dtype: torch.dtype) -> dict[str, Callable[[], Any]]:
    """Forward, backward with all gradients, and R1's way back, the derivative of dx for all leaves, in this order."""
    inputs: list[Tensor] = leaves(layer, dtype)
    kept: dict[str, Tensor] = {}

    def forward():
        kept["y"] = layer.call(*inputs)

    def cotangent():
        kept["dy"] = torch.ones_like(kept["y"]).requires_grad_()

    def backward():
        return torch.autograd.grad(kept["y"], inputs, kept["dy"].detach(), retain_graph=True)

    def prepare():
        (kept["dx"],) = torch.autograd.grad(kept["y"], inputs[0], kept["dy"], create_graph=True)
        kept["ddx"] = torch.ones_like(kept["dx"])

    def double_backward():
        wanted = [kept["dy"], *inputs]
        return torch.autograd.grad(kept["dx"], wanted, kept["ddx"], allow_unused=True, retain_graph=True)

    steps = {"forward": forward, "cotangent": cotangent, "backward": backward, "prepare": prepare}
    return steps | {"double backward": double_backward}


def costs(layer: Layer, dtype: torch.dtype) -> dict[str, Cost]:
    """Of each pass."""
    found = {}
    for name, run in passes(layer, dtype).items():
        x = layer.shapes["x"]
        smallest = min(BATCH * x[1] * SIDE * SIDE, BATCH * 3 * SIDE * SIDE if layer is LAYERS["to-RGB"] else 1 << 30)
        if "other" in layer.shapes and len(layer.shapes["other"]) == 4 or layer is LAYERS["D down"]:
            smallest //= 4
        before = sum(shim.launches().values())
        with shim.selected(), _Operators(smallest) as seen:
            run()
        found[name] = Cost(sum(shim.launches().values()) - before, len(seen.names), seen.images)
    return {name: found[name] for name in PASSES}


@contextmanager
def _kernels_replayed():
    """Kernels of ours give what they gave at their first call: what is left is Python, and torch's own kernels."""
    results: dict[Any, Any] = {}
    real = Passes._raw

    def raw(self, name):
        kernel = real(self, name)

        def call(*arguments):
            key = (name, *(tuple(a.shape) if isinstance(a, Tensor) else a for a in arguments))
            if key not in results:
                results[key] = kernel(*arguments)
            return results[key]

        return call

    with mock.patch.object(Passes, "_raw", raw):
        yield


def microseconds(layer: Layer, dtype: torch.dtype, times: int = 200) -> dict[str, float]:
    """Of a call of each pass, the least of several."""
    found = {}
    with shim.selected(), _kernels_replayed():
        for name, run in passes(layer, dtype).items():
            run()
            least = float("inf")
            for _ in range(times):
                begin = time.perf_counter()
                run()
                least = min(least, time.perf_counter() - begin)
            found[name] = least * 1e6
    return {name: found[name] for name in PASSES}


def table(timed: bool = True) -> str:
    """Rows of Markdown: launches (ours + torch's), passes over images and, if timed, µs of Python."""
    lines = ["| layer | " + " | ".join(PASSES) + " |", "|---|---|---|---|"]
    for dtype in DTYPES:
        for name, layer in LAYERS.items():
            counted = costs(layer, DTYPES[dtype])
            took = microseconds(layer, DTYPES[dtype]) if timed else {}
            cells = [
                f"{c.ours} + {c.torch}, {c.images}" + (f", {took[p]:.0f} µs" if timed else "")
                for p, c in counted.items()
            ]
            lines.append(f"| {name}, {dtype} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(table())
