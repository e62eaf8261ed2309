"""The layer's forward, backward and double backward as operators of torch, each with its own derivative."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fastgan.ops.conv2d_layer import flops, formulas, raw
from fastgan.ops.conv2d_layer.formulas import Gradients, Layer, Wanted, WantedSecond
from fastgan.ops.conv2d_layer.geometry import Geometry
from fastgan.ops.conv2d_layer.passes import Epilogue, Passes
from fastgan.ops.gradients import needed
from fastgan.ops.layout import dense_format, in_format
from fastgan.ops.registration import LIBRARY, register

_INPUTS = "Tensor x, Tensor w, Tensor? in_scale, Tensor? scale, Tensor? noise, Tensor? b"
_KEPT = "Tensor? y, Tensor? u, Tensor? mask"  # by the forward: y or u where scale wants a gradient
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
            f"({_INPUTS}, Tensor? residual, {_SETTINGS}, bool keep_mask, bool keep_u) -> (Tensor, Tensor, Tensor)",
            _forward_fake,
            _forward_context,
            self.forward_backward,
            flops.forward_flops,
        )
        self.backward_op = register(
            f"conv2d_layer_backward_{provider}",
            f"(Tensor dy, {_INPUTS}, {_KEPT}, {_SETTINGS}, bool[] want) "
            "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
            _backward_fake,
            _backward_context,
            self.backward_backward,
            flops.backward_flops,
        )
        self.double_backward_op = register(
            f"conv2d_layer_double_backward_{provider}",
            "(Tensor? ddx, Tensor? ddw, Tensor? ddin_scale, Tensor? ddscale, Tensor? ddnoise, Tensor? ddb, "
            f"Tensor dy, {_INPUTS}, {_KEPT}, {_SETTINGS}, bool[] want) "
            "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
            _double_backward_fake,
            flops=flops.double_backward_flops,
        )
        for key, served_by in passes.items():
            for name, function in _implementations(served_by).items():
                LIBRARY.impl(f"{name}_{provider}", function, key)

    def forward_backward(self, ctx, dy, dmask, du):
        if dy is None:
            return (None,) * 18
        x, w, in_scale, scale, noise, b, f, y, u, mask = ctx.saved_tensors
        needs = needed(ctx)
        want = list(needs[:6])
        grads = (None,) * 6
        if any(want):
            x, y, u, dy_ = _in_format(ctx.memory_format, x, y, u, dy)
            results = self.backward_op(dy_, x, w, in_scale, scale, noise, b, y, u, mask, f, *ctx.settings, want)
            grads = tuple(grad if wanted else None for grad, wanted in zip(results, want, strict=True))
        return *grads, dy if needs[6] else None, *(None,) * 11

    def backward_backward(self, ctx, *dd):
        dy, x, w, in_scale, scale, noise, b, y, u, mask, f = ctx.saved_tensors
        dd = [grad if computed else None for grad, computed in zip(dd, ctx.want, strict=True)]
        dd = [*_in_format(ctx.memory_format, dd[0]), *_in_format(torch.contiguous_format, *dd[1:])]
        dy, x, y, u = _in_format(ctx.memory_format, dy, x, y, u)
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
        if of_scale and u is not None:  # u is a function of x, w and in_scale alone
            want[1:4] = [needs[1], needs[2], needs[3] and in_scale is not None]
            want[4:] = [want[4] and (of_x or of_w or of_in_scale), False, False, False]
        grads = (None,) * 8
        if any(want):
            operands = (dy, x, w, in_scale, scale, noise, b, y, u, mask, f)
            results = self.double_backward_op(*dd, *operands, *ctx.settings, want)
            grads = tuple(grad if wanted else None for grad, wanted in zip(results, want, strict=True))
        return *grads, *(None,) * 12


def _in_format(memory_format: torch.memory_format, *images: Tensor | None) -> list[Tensor | None]:
    """In the format that the mask was written for: hooks of saved tensors may bring them back in another."""
    return [image if image is None else in_format(image, memory_format) for image in images]


def _forward_fake(x, w, in_scale, scale, noise, b, residual, f, up, down, padding, *rest):
    *_, keep_mask, keep_u = rest
    taps = (1, 1) if f is None else (f.shape[0], f.shape[-1])
    size = Geometry(up, down, tuple(padding)).output_size(x.shape[2:], w.shape[2:], taps)
    y = x.new_empty((x.shape[0], w.shape[0], *size)).to(memory_format=dense_format(x))
    mask = x.new_empty([(y.numel() + 3) // 4 if keep_mask else 0], dtype=torch.uint8)
    return y, mask, torch.empty_like(y) if keep_u else x.new_empty([0])


def _forward_context(ctx, inputs, output):
    x, w, in_scale, scale, noise, b, _, f, *ctx.settings, keep_mask, keep_u = inputs
    ctx.set_materialize_grads(False)
    ctx.memory_format = dense_format(x)
    y, mask, u = output
    y = y if scale is not None and ctx.needs_input_grad[3] and not keep_u else None
    ctx.save_for_backward(x, w, in_scale, scale, noise, b, f, y, u if keep_u else None, mask if keep_mask else None)


def _backward_fake(dy, x, w, in_scale, scale, noise, b, y, u, mask, f, *settings_and_want):
    *_, want = settings_and_want
    return _like_where_wanted((x, w, in_scale, scale, noise, b), want, x)


def _backward_context(ctx, inputs, output):
    *tensors, up, down, padding, act, alpha, gain, clamp, fast, ctx.want = inputs
    ctx.settings = (up, down, padding, act, alpha, gain, clamp, fast)
    ctx.memory_format = dense_format(tensors[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _double_backward_fake(
    ddx, ddw, ddin_scale, ddscale, ddnoise, ddb, dy, x, w, in_scale, scale, noise, b, y, u, mask, f, *settings_and_want
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
        *arguments, keep_mask, keep_u = inputs
        y, mask, u = formulas.forward(layer(*arguments), keep_mask, keep_u)
        return y, mask, y.new_empty([0]) if u is None else u

    @_without_autocast
    def backward(dy, x, w, in_scale, scale, noise, b, y, u, mask, f, *rest):
        *settings, want = rest
        described = layer(x, w, in_scale, scale, noise, b, None, f, *settings)
        return _placeholders(formulas.backward(described, dy, y, u, mask, Wanted(*want)), x)

    @_without_autocast
    def double_backward(*inputs):
        dy, x, w, in_scale, scale, noise, b, y, u, mask, f, *settings, want = inputs[6:]
        described = layer(x, w, in_scale, scale, noise, b, None, f, *settings)
        dd, wanted = Gradients(*inputs[:6]), WantedSecond(*want)
        return _placeholders(formulas.double_backward(described, dd, dy, y, u, mask, wanted), x)

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
