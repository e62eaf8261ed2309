"""The layer's forward, backward and double backward as operators of torch, each with its own derivative."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fastgan.ops.conv2d_layer import formulas, raw
from fastgan.ops.conv2d_layer.formulas import Gradients, Layer, Wanted, WantedSecond
from fastgan.ops.conv2d_layer.geometry import Geometry
from fastgan.ops.conv2d_layer.passes import Epilogue, Passes
from fastgan.ops.gradients import needed
from fastgan.ops.layout import dense_format, in_format
from fastgan.ops.registration import LIBRARY, register

_INPUTS = "Tensor x, Tensor w, Tensor? in_scale, Tensor? scale, Tensor? noise, Tensor? b"
_SETTINGS = "Tensor? f, int up, int down, int[] padding, int act, float alpha, float gain, float clamp, bool fast"


class Compiled:
    """The operators of one provider.

    Args:
        provider: its name.
        passes: key of torch's dispatcher ("CPU", "CUDA") -> what serves there.
    """

    def __init__(self, provider: str, passes: dict[str, Passes]):
        raw.define(provider)
        self.forward_op = register(
            f"conv2d_layer_{provider}",
            f"({_INPUTS}, Tensor? residual, {_SETTINGS}, bool keep_mask) -> (Tensor, Tensor)",
            _forward_fake,
            _forward_context,
            self.forward_backward,
        )
        self.backward_op = register(
            f"conv2d_layer_backward_{provider}",
            f"(Tensor dy, {_INPUTS}, Tensor? y, Tensor? mask, {_SETTINGS}, bool[] want) "
            "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
            _backward_fake,
            _backward_context,
            self.backward_backward,
        )
        self.double_backward_op = register(
            f"conv2d_layer_double_backward_{provider}",
            "(Tensor? ddx, Tensor? ddw, Tensor? ddin_scale, Tensor? ddscale, Tensor? ddnoise, Tensor? ddb, "
            f"Tensor dy, {_INPUTS}, Tensor? y, Tensor? mask, {_SETTINGS}, bool[] want) "
            "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
            _double_backward_fake,
        )
        for key, served_by in passes.items():
            for name, function in _implementations(served_by).items():
                LIBRARY.impl(f"{name}_{provider}", function, key)

    def forward_backward(self, ctx, dy, dmask):
        if dy is None:
            return (None,) * 17
        x, w, in_scale, scale, noise, b, f, y, mask = ctx.saved_tensors
        needs = needed(ctx)
        want = list(needs[:6])
        grads = (None,) * 6
        if any(want):
            x, y, dy_ = _in_format(ctx.memory_format, x, y, dy)
            results = self.backward_op(dy_, x, w, in_scale, scale, noise, b, y, mask, f, *ctx.settings, want)
            grads = tuple(grad if wanted else None for grad, wanted in zip(results, want, strict=True))
        return *grads, dy if needs[6] else None, *(None,) * 10

    def backward_backward(self, ctx, *dd):
        dy, x, w, in_scale, scale, noise, b, y, mask, f = ctx.saved_tensors
        dd = [grad if computed else None for grad, computed in zip(dd, ctx.want, strict=True)]
        dd = [*_in_format(ctx.memory_format, dd[0]), *_in_format(torch.contiguous_format, *dd[1:])]
        dy, x, y = _in_format(ctx.memory_format, dy, x, y)
        needs, given = needed(ctx), [grad is not None for grad in dd]
        of_x, of_w, of_in_scale, of_scale, _, _ = given
        want = [
            needs[0] and any(given),
            needs[1] and (of_w or of_in_scale),
            needs[2] and (of_x or of_in_scale),
            needs[3] and in_scale is not None and (of_x or of_w),
            needs[4] and scale is not None and (of_x or of_w or of_in_scale or of_scale),
            needs[5] and noise is not None and of_scale,
            needs[6] and b is not None and of_scale,
            needs[7] and of_scale,
        ]
        grads = (None,) * 8
        if any(want):
            results = self.double_backward_op(*dd, dy, x, w, in_scale, scale, noise, b, y, mask, f, *ctx.settings, want)
            grads = tuple(grad if wanted else None for grad, wanted in zip(results, want, strict=True))
        return *grads, *(None,) * 11


def _in_format(memory_format: torch.memory_format, *images: Tensor | None) -> list[Tensor | None]:
    """In the format that the mask was written for: hooks of saved tensors may bring them back in another."""
    return [image if image is None else in_format(image, memory_format) for image in images]


def _forward_fake(x, w, in_scale, scale, noise, b, residual, f, up, down, padding, act, alpha, gain, clamp, fast, keep):
    taps = (1, 1) if f is None else (f.shape[0], f.shape[-1])
    size = Geometry(up, down, tuple(padding)).output_size(x.shape[2:], w.shape[2:], taps)
    y = x.new_empty((x.shape[0], w.shape[0], *size)).to(memory_format=dense_format(x))
    return y, x.new_empty([(y.numel() + 3) // 4 if keep else 0], dtype=torch.uint8)


def _forward_context(ctx, inputs, output):
    x, w, in_scale, scale, noise, b, _, f, *ctx.settings, keep_mask = inputs
    ctx.set_materialize_grads(False)
    ctx.memory_format = dense_format(x)
    y = output[0] if scale is not None and ctx.needs_input_grad[3] else None
    ctx.save_for_backward(x, w, in_scale, scale, noise, b, f, y, output[1] if keep_mask else None)


def _backward_fake(dy, x, w, in_scale, scale, noise, b, y, mask, f, *settings_and_want):
    *_, want = settings_and_want
    return _like_where_wanted((x, w, in_scale, scale, noise, b), want, x)


def _backward_context(ctx, inputs, output):
    *tensors, up, down, padding, act, alpha, gain, clamp, fast, ctx.want = inputs
    ctx.settings = (up, down, padding, act, alpha, gain, clamp, fast)
    ctx.memory_format = dense_format(tensors[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _double_backward_fake(
    ddx, ddw, ddin_scale, ddscale, ddnoise, ddb, dy, x, w, in_scale, scale, noise, b, y, mask, f, *settings_and_want
):
    *_, want = settings_and_want
    return _like_where_wanted((dy, x, w, in_scale, scale, noise, b, y), want, x)


def _like_where_wanted(tensors, want, x) -> tuple[Tensor, ...]:
    return tuple(
        torch.empty_like(tensor) if wanted else x.new_empty([0]) for tensor, wanted in zip(tensors, want, strict=True)
    )


def _implementations(passes: Passes) -> dict[str, Callable]:
    def layer(x, w, in_scale, scale, noise, b, residual, f, up, down, padding, act, alpha, gain, clamp, fast) -> Layer:
        epilogue = Epilogue(scale, noise, b, residual, act, alpha, gain, clamp)
        return Layer(passes, x, w, in_scale, f, Geometry(up, down, tuple(padding)), fast, epilogue)

    @_without_autocast
    def forward(*inputs):
        *arguments, keep_mask = inputs
        return formulas.forward(layer(*arguments), keep_mask)

    @_without_autocast
    def backward(dy, x, w, in_scale, scale, noise, b, y, mask, f, *rest):
        *settings, want = rest
        described = layer(x, w, in_scale, scale, noise, b, None, f, *settings)
        return _placeholders(formulas.backward(described, dy, y, mask, Wanted(*want)), x)

    @_without_autocast
    def double_backward(*inputs):
        dd, (dy, x, w, in_scale, scale, noise, b, y, mask, f, *settings, want) = Gradients(*inputs[:6]), inputs[6:]
        described = layer(x, w, in_scale, scale, noise, b, None, f, *settings)
        return _placeholders(formulas.double_backward(described, dd, dy, y, mask, WantedSecond(*want)), x)

    return {
        "conv2d_layer": forward,
        "conv2d_layer_backward": backward,
        "conv2d_layer_double_backward": double_backward,
    }


def autocasts(device: str) -> bool:
    """Whether autocast is on for tensors of this device type; meta knows none."""
    return device != "meta" and torch.is_autocast_enabled(device)


def _without_autocast(function: Callable) -> Callable:
    """Torch's operators inside compute in the dtype of what they are given."""

    def call(*inputs):
        device = next(value.device.type for value in inputs if isinstance(value, Tensor))
        if not autocasts(device):
            return function(*inputs)
        with torch.autocast(device, enabled=False):
            return function(*inputs)

    return call


def _placeholders(grads: tuple[Tensor | None, ...], x: Tensor) -> tuple[Tensor, ...]:
    """An operator returns tensors: an empty one stands for None."""
    return tuple(x.new_empty([0]) if grad is None else grad for grad in grads)
