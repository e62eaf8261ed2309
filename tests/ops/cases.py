"""Shapes and arguments that the operator tests run over, and how results are compared."""

from __future__ import annotations

import torch
from torch import Tensor

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
DTYPE_IDS = ["fp64", "fp32", "fp16", "bf16"]
FORMATS = ["contiguous", "channels_last", "strided"]

BIAS_ACT_SHAPES = {
    "odd": (2, 5, 7, 3),
    "one-pixel": (3, 4, 1, 1),
    "one-channel": (2, 1, 5, 4),
    "wide": (1, 33, 4, 67),
    "flat": (6, 11),
    "long": (2, 3, 40, 1031),
    "empty": (0, 4, 3, 3),
}

# x shape, filter shape, arguments
UPFIRDN_CASES = {
    "identity": ((2, 3, 5, 7), None, {}),
    "filter4": ((2, 3, 9, 11), (4, 4), {"padding": [2, 1, 2, 1]}),
    "separable4": ((2, 3, 9, 11), (4,), {"padding": [2, 1, 2, 1]}),
    "up2": ((2, 3, 7, 6), (4,), {"up": 2, "padding": [2, 1, 2, 1], "gain": 4}),
    "down2": ((2, 3, 8, 10), (4,), {"down": 2, "padding": 1}),
    "up2-full": ((1, 2, 5, 6), (4, 4), {"up": 2, "padding": [2, 1, 2, 1], "gain": 4}),
    "down2-full": ((1, 2, 8, 9), (4, 4), {"down": 2, "padding": 1}),
    "after-transposed": ((2, 3, 17, 17), (4,), {"padding": 1, "gain": 4}),
    "up3-down2": ((1, 2, 7, 5), (5, 3), {"up": 3, "down": 2, "padding": [2, 3, 1, 4]}),
    "up-xy-down-xy": ((2, 1, 6, 5), (3,), {"up": [3, 1], "down": [1, 2], "padding": [1, 2, 0, 1]}),
    "crop": ((2, 2, 9, 8), (3,), {"padding": [-2, -1, -1, 2]}),
    "crop-up": ((1, 2, 6, 7), (4,), {"up": 2, "padding": [-3, 4, -1, -2]}),
    "taps12": ((1, 3, 16, 15), (12,), {"up": 2, "down": 2, "padding": [6, 5, 6, 5]}),
    "taps1": ((1, 2, 4, 4), (1,), {"down": 2}),
    "one-row": ((2, 3, 1, 13), (4,), {"padding": [2, 1, 2, 1]}),
    "one-pixel": ((2, 5, 1, 1), (4,), {"up": 2, "padding": [2, 1, 2, 1]}),
    "flip": ((1, 2, 7, 7), (3, 4), {"flip_filter": True, "padding": 2}),
    "channels33": ((1, 33, 6, 5), (4,), {"padding": [2, 1, 2, 1]}),
    "wide": ((1, 2, 5, 131), (4,), {"down": 2, "padding": 1}),
    "wide-up2": ((1, 1, 37, 134), (4,), {"up": 2, "padding": [2, 1, 2, 1]}),
    "many-planes": ((9, 7, 4, 4), (4,), {"padding": [2, 1, 2, 1]}),
    "channels16": ((1, 16, 9, 6), (4,), {"padding": [2, 1, 2, 1]}),
    "channels16-full": ((1, 16, 5, 9), (4, 4), {"padding": [2, 1, 2, 1]}),
    "channels16-up2": ((2, 16, 33, 3), (4,), {"up": 2, "padding": [2, 1, 2, 1]}),
    "channels16-up2-full": ((1, 16, 4, 5), (4, 4), {"up": 2, "padding": [2, 1, 2, 1]}),
    "long": ((1, 2, 5, 4), (120,), {"padding": 60}),
    "empty": ((0, 3, 8, 8), (4,), {"up": 2, "padding": [2, 1, 2, 1]}),
}


# x shape, output channels, kernel size, and the arguments of tests.ops.test_conv2d_layer.layer
CONV2D_LAYER_CASES = {
    "plain": ((2, 3, 7, 6), 5, 3, {}),
    "generator": ((2, 3, 5, 7), 4, 3, {"styles": True, "noise": "const", "b": True, "act": "lrelu", "clamp": 1.0}),
    "generator-up": ((2, 3, 5, 4), 4, 3, {"styles": True, "noise": "random", "b": True, "act": "lrelu", "up": 2}),
    "generator-1x1": ((2, 4, 5, 3), 3, 1, {"styles": True, "noise": "const", "b": True, "act": "lrelu"}),
    "to-rgb": ((2, 5, 4, 7), 3, 1, {"styles": True, "demodulate": False, "b": True, "clamp": 0.7, "residual": True}),
    "demodulated-residual": ((1, 3, 4, 4), 2, 3, {"styles": True, "residual": True, "act": "relu"}),
    "discriminator": ((3, 1, 6, 9), 4, 3, {"b": True, "act": "lrelu", "gain": 0.7, "clamp": 0.5}),
    "discriminator-down": ((2, 3, 9, 8), 5, 3, {"b": True, "act": "lrelu", "down": 2, "gain": 1.0}),
    "skip": ((2, 3, 7, 8), 4, 1, {"down": 2, "residual": True, "gain": 0.7}),
    "from-rgb": ((2, 3, 5, 6), 8, 1, {"b": True, "act": "lrelu"}),
    "up-1x1": ((1, 3, 3, 4), 2, 1, {"up": 2, "b": True, "act": "relu"}),
    "modulated-down": ((2, 3, 7, 6), 4, 3, {"styles": True, "down": 2, "noise": "random"}),
    "smooth": ((2, 3, 5, 4), 4, 3, {"styles": True, "noise": "const", "b": True, "act": "swish", "clamp": 1.0}),
    "smooth-up": ((1, 2, 3, 4), 3, 3, {"b": True, "act": "tanh", "up": 2, "residual": True}),
    "no-filter-up": ((1, 2, 3, 4), 2, 3, {"up": 2, "f": None, "act": "lrelu"}),
    "up3": ((1, 2, 3, 2), 3, 3, {"up": 3, "b": True}),
    "flipped": ((1, 2, 5, 4), 3, 3, {"flip_weight": False, "act": "lrelu"}),
    "rectangular": ((1, 2, 6, 5), 3, (2, 3), {"padding": [1, 0, 2, 1], "b": True, "act": "lrelu"}),
    "crop": ((1, 2, 8, 7), 3, 3, {"padding": [-1, 2, 0, -2]}),
    "one-pixel": ((3, 2, 1, 1), 2, 3, {"styles": True, "b": True, "act": "lrelu"}),
    "one-channel": ((2, 2, 4, 6), 1, 3, {"styles": True, "noise": "const", "act": "lrelu"}),
    "channels24": ((1, 24, 6, 5), 24, 3, {"styles": True, "noise": "const", "b": True, "act": "lrelu", "clamp": 2.0}),
    "empty": ((0, 3, 5, 4), 2, 3, {"styles": True, "noise": "const", "b": True, "act": "lrelu"}),
}


def arranged(x: Tensor, memory_format: str) -> Tensor:
    """x with the same values in another memory layout."""
    if memory_format == "channels_last" and x.ndim == 4:
        return x.contiguous(memory_format=torch.channels_last)
    if memory_format == "strided":
        return torch.stack([x, torch.full_like(x, float("nan"))], dim=-1)[..., 0]  # every other element is poison
    if memory_format == "unaligned":  # one element beyond the 16 bytes that an allocation begins at
        return torch.cat([x.flatten()[:1], x.flatten()])[1:].view(x.shape)
    return x.contiguous()


def poison_allocator(x: Tensor) -> None:
    """Leave NaN in the memory that the next allocations of x's size will get."""
    for factor in (1, 2, 4):
        torch.full((max(1, x.numel() * factor),), float("nan"), dtype=x.dtype)


def assert_close_to(actual: Tensor, exact: Tensor, reference: Tensor | None = None) -> None:
    """Compare with a float64 result.

    float64 near-exact; float32 to 1e-5 of the largest value; halves at most twice the reference's own error, plus one
    rounding of the largest value.
    """
    assert actual.shape == exact.shape
    if actual.numel() == 0:
        return
    assert actual.isfinite().all(), "not every output element was written"
    scale = exact.abs().max().clamp_min(1e-3)
    error = (actual.double() - exact).abs().max()
    if actual.dtype == torch.float64:
        assert error <= 1e-12 * scale
    elif actual.dtype == torch.float32:
        assert error <= 1e-5 * scale
    else:
        own = (reference.double() - exact).abs().max() if reference is not None else 0.0
        assert error <= 2 * own + torch.finfo(actual.dtype).eps * scale
