"""Calls of conv2d_resample and modulated_conv2d, and what they should give by definition."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from fastgan.ops import conv2d_resample, modulated_conv2d
from tests.ops.cases import arranged

DOUBLE = torch.float64
TAPS = torch.tensor([0.1, 0.4, 0.3, 0.2])  # not symmetric: a filter turned round shows
ACTIVATIONS = {
    "linear": lambda v: v,
    "relu": F.relu,
    "lrelu": lambda v: F.leaky_relu(v, 0.2),
    "tanh": torch.tanh,
    "swish": F.silu,
}
OPERANDS = ("styles", "noise", "b", "residual")


def inputs(case, dtype, memory_format="contiguous", requires_grad=False):
    """The tensors of a case, and the arguments of `layer` that are none."""
    shape, channels, kernel, settings = case
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    up, down = settings.get("up", 1), settings.get("down", 1)
    arguments = {"up": up, "down": down, "padding": kw // 2, "f": TAPS if max(up, down) > 1 else None}
    arguments |= {"flip_weight": up == 1}
    arguments |= {key: value for key, value in settings.items() if key not in OPERANDS}
    tensors = {
        "x": arranged(torch.randn(shape, dtype=DOUBLE), memory_format),
        "w": torch.randn(channels, shape[1], kh, kw, dtype=DOUBLE),
    }
    if settings.get("styles"):
        tensors["styles"] = 1 + 0.5 * torch.randn(shape[:2], dtype=DOUBLE)
    size = by_definition(tensors, arguments).shape
    if settings.get("noise"):
        tensors["noise"] = torch.randn(
            size[2:] if settings["noise"] == "const" else (size[0], 1, *size[2:]), dtype=DOUBLE
        )
    if settings.get("b"):
        tensors["b"] = torch.randn(channels, dtype=DOUBLE)
    if settings.get("residual"):
        tensors["residual"] = torch.randn(size, dtype=DOUBLE)
    for name, tensor in tensors.items():
        tensor = arranged(tensor.to(dtype), memory_format if name in ("x", "residual") else "contiguous")
        tensors[name] = tensor.requires_grad_(requires_grad)
    return tensors, arguments


def layer(tensors, arguments):
    """The public function of a case."""
    rest = dict(arguments)
    operands = {name: tensors.get(name) for name in ("b", "residual")}
    f, demodulate = rest.pop("f"), rest.pop("demodulate", True)
    if "styles" not in tensors:
        return conv2d_resample(tensors["x"], tensors["w"], f, **rest, **operands)
    names = ("x", "w", "styles")
    rest |= {"resample_filter": f, "demodulate": demodulate, "noise": tensors.get("noise")}
    return modulated_conv2d(*(tensors[name] for name in names), **rest, **operands)


def by_definition(tensors, arguments):
    """The formula in float64, step by step: zeros inserted, padding, FIR, one kernel a sample, decimation, the rest."""
    x, w, styles, noise, b, residual = (
        None if t is None else t.double() for t in map(tensors.get, ("x", "w", "styles", "noise", "b", "residual"))
    )
    up, down, f, padding = (arguments[name] for name in ("up", "down", "f", "padding"))
    (n, c, h, width), o = x.shape, w.shape[0]
    p = [padding] * 4 if isinstance(padding, int) else list(padding)
    z = x.new_zeros(n, c, h * up, width * up)
    z[:, :, ::up, ::up] = x
    if f is not None:
        taps = f.shape[0]
        low, high = ((taps + up - 1) // 2, (taps - up) // 2) if up > 1 else ((taps - down + 1) // 2, (taps - down) // 2)
        p = [p[0] + low, p[1] + high, p[2] + low, p[3] + high]
    z = F.pad(z, p) * up**2
    if f is not None:
        z = F.conv2d(z, torch.outer(f.double(), f.double()).flip([0, 1])[None, None].repeat(c, 1, 1, 1), groups=c)
    w = (w if arguments["flip_weight"] else w.flip([2, 3])).expand(n, *w.shape)
    if styles is not None:
        w = w * styles[:, None, :, None, None]  # [N, O, I, kh, kw]
        if arguments.get("demodulate", True):
            w = w * (w.square().sum(dim=[2, 3, 4], keepdim=True) + 1e-8).rsqrt()
    y = [F.conv2d(image[None], kernel) for image, kernel in zip(z, w, strict=True)]
    y = torch.cat(y) if n else F.conv2d(z, w.new_zeros(w.shape[1:]))
    y = y[:, :, ::down, ::down]
    y = y if noise is None else y + noise
    y = y if b is None else y + b.reshape(o, 1, 1)
    act, clamp = arguments.get("act", "linear"), arguments.get("clamp")
    y = ACTIVATIONS[act](y) * arguments.get("gain", math.sqrt(2) if act in ("lrelu", "relu", "swish") else 1.0)
    y = y if clamp is None else y.clamp(-clamp, clamp)
    return y if residual is None else y + residual
