"""The layer's forward, backward and double backward as operators of torch, each with its own derivative."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fastgan.ops.arguments import autocasts, dense_format, in_format
from fastgan.ops.bias_act.activations import mask_bytes
from fastgan.ops.conv2d_layer import flops, formulas, second_formulas
from fastgan.ops.conv2d_layer.formulas import LayerCall, PerBackwardInput, PerInput
from fastgan.ops.conv2d_layer.gpu_passes import GpuPasses
from fastgan.ops.conv2d_layer.passes import CpuPasses, Passes
from fastgan.ops.fir import taps_of
from fastgan.ops.gradients import needed
from fastgan.ops.registration import LIBRARY, register

# The arguments of `LayerCall`, in its order.
_INPUTS = "Tensor x, Tensor w, Tensor? in_scale, Tensor? scale, Tensor? noise, Tensor? b"
_KEPT = "Tensor? y, Tensor? u, Tensor? mask"
_SETTINGS = "Tensor? f, int up, int down, int[] padding, int act, float alpha, float gain, float clamp, bool fast"
_FORWARD, _DERIVATIVE = f"{_INPUTS}, Tensor? residual, {_SETTINGS}", f"{_INPUTS}, {_KEPT}, {_SETTINGS}"
_NOT_DIFFERENTIABLE = (None,) * 9  # f and the settings


class LayerOperators:
    """The operators of one provider.

    Args:
        provider: its name.
        kernels: as `Provider.kernels`.

    Attributes:
        kernels: of the provider.
        forward: (*call.forward_arguments, keep_mask, keep_u) -> y, mask and u; differentiable.
    """

    def __init__(self, provider: str, kernels: Mapping[str, str]):
        self.kernels = kernels
        self.forward = register(
            f"conv2d_layer_{provider}",
            f"({_FORWARD}, bool keep_mask, bool keep_u) -> (Tensor, Tensor, Tensor)",
            _forward_fake,
            _forward_context,
            self._forward_backward,
            flops.forward_flops,
        )
        self._backward = register(
            f"conv2d_layer_backward_{provider}",
            f"(Tensor dy, {_DERIVATIVE}, bool[] want) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
            _backward_fake,
            _backward_context,
            self._backward_backward,
            flops.backward_flops,
        )
        self._double_backward = register(
            f"conv2d_layer_double_backward_{provider}",
            "(Tensor? ddx, Tensor? ddw, Tensor? ddin_scale, Tensor? ddscale, Tensor? ddnoise, Tensor? ddb, "
            f"Tensor dy, {_DERIVATIVE}, bool[] want) "
            "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
            _double_backward_fake,
            flops=flops.double_backward_flops,
        )
        for key, kind in kernels.items():
            for name, function in _implementations(PASSES[kind](provider)).items():
                LIBRARY.impl(f"{name}_{provider}", function, key)

    def _forward_backward(self, ctx, dy, dmask, du):
        grads, needs = PerInput(), needed(ctx)
        want = list(needs[:6])
        if dy is not None and any(want):
            call, _ = _saved(ctx)
            results = self._backward(in_format(dy, ctx.memory_format), *call.derivative_arguments, want)
            grads = _where(want, results)
        return *grads, dy if needs[6] else None, *_NOT_DIFFERENTIABLE, None, None

    def _backward_backward(self, ctx, *dd):
        dx, *sums = (grad if computed else None for grad, computed in zip(dd, ctx.want, strict=True))
        dx = None if dx is None else in_format(dx, ctx.memory_format)
        dd = PerInput(dx, *(None if grad is None else grad.contiguous() for grad in sums))
        call, (dy,) = _saved(ctx)
        needs, grads = needed(ctx), PerBackwardInput()
        exist = second_formulas.second_derivatives(call, dd)
        want = [need and there for need, there in zip(needs, exist, strict=False)]
        if any(want):
            dy = in_format(dy, ctx.memory_format)
            grads = _where(want, self._double_backward(*dd, dy, *call.derivative_arguments, want))
        return *grads, None, None, *_NOT_DIFFERENTIABLE, None


def _where(want, results):
    return tuple(grad if wanted else None for grad, wanted in zip(results, want, strict=True))


def _save(ctx, call: LayerCall, y: Tensor | None, u: Tensor | None, mask: Tensor | None, *more: Tensor) -> None:
    """Keep for the backward pass a call, what the forward keeps, and more tensors."""
    ctx.settings, ctx.memory_format = call.settings, dense_format(call.x)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*call.inputs, call.f, y, u, mask, *more)


def _saved(ctx) -> tuple[LayerCall, list[Tensor]]:
    """What `_save` kept, the call's images in the format that the mask was written for: hooks of saved tensors may
    bring them back in another. To be called once a pass: torch's checkpoints unpack nothing twice."""
    x, w, in_scale, scale, noise, b, f, y, u, mask, *more = ctx.saved_tensors
    x = in_format(x, ctx.memory_format)
    y = None if y is None else in_format(y, ctx.memory_format)
    u = None if u is None else in_format(u, ctx.memory_format)
    return LayerCall(x, w, in_scale, scale, noise, b, None, f, *ctx.settings, y=y, u=u, mask=mask), more


def _forward_fake(*arguments):
    *arguments, keep_mask, keep_u = arguments
    call = LayerCall(*arguments)
    x, w = call.x, call.w
    taps = None if call.f is None else taps_of(call.f)
    size = call.sampling.output_size(x.shape[2:], w.shape[2:], taps)
    y = x.new_empty((x.shape[0], w.shape[0], *size)).to(memory_format=dense_format(x))
    mask = x.new_empty([mask_bytes(y.numel()) if keep_mask else 0], dtype=torch.uint8)
    return y, mask, torch.empty_like(y) if keep_u else x.new_empty([0])


def _forward_context(ctx, inputs, output):
    *arguments, keep_mask, keep_u = inputs
    call, (y, mask, u) = LayerCall(*arguments), output
    y = y if call.scale is not None and ctx.needs_input_grad[3] and not keep_u else None
    _save(ctx, call, y, u if keep_u else None, mask if keep_mask else None)


def _backward_fake(dy, *arguments):
    *arguments, want = arguments
    call = _with_contiguous_weight(LayerCall.of_derivative(arguments))
    return _like_where_wanted(call.inputs, want, dy)


def _backward_context(ctx, inputs, output):
    dy, *arguments, ctx.want = inputs
    call = LayerCall.of_derivative(arguments)
    _save(ctx, call, call.y, call.u, call.mask, dy)


def _double_backward_fake(*arguments):
    dy, *arguments, want = arguments[6:]
    call = _with_contiguous_weight(LayerCall.of_derivative(arguments))
    return _like_where_wanted((dy, *call.inputs, call.y), want, dy)


def _with_contiguous_weight(call: LayerCall) -> LayerCall:
    """As its gradient is, whatever format the weight has."""
    return call._replace(w=call.w.contiguous())


def _like_where_wanted(tensors, want, like) -> tuple[Tensor, ...]:
    return tuple(
        torch.empty_like(tensor) if wanted else like.new_empty([0])
        for tensor, wanted in zip(tensors, want, strict=True)
    )


# What serves by which kernels: kind, as `Provider.kernels` has it -> the passes of a provider.
PASSES: dict[str, Callable[[str], Passes]] = {
    "cpu": CpuPasses,
    "cuda": lambda provider: GpuPasses(provider, contiguous=False, fused_up=True),
    "triton": lambda provider: GpuPasses(provider, contiguous=True, fused_up=False),
}


def _implementations(passes: Passes) -> dict[str, Callable]:
    @_without_autocast
    def forward(*arguments):
        *arguments, keep_mask, keep_u = arguments
        y, mask, u = formulas.forward(passes, LayerCall(*arguments), keep_mask, keep_u)
        return y, mask, y.new_empty([0]) if u is None else u

    @_without_autocast
    def backward(dy, *arguments):
        *arguments, want = arguments
        call = LayerCall.of_derivative(arguments)
        return _placeholders(formulas.backward(passes, call, dy, PerInput(*want)), dy)

    @_without_autocast
    def double_backward(*arguments):
        dd, (dy, *arguments, want) = PerInput(*arguments[:6]), arguments[6:]
        call = LayerCall.of_derivative(arguments)
        return _placeholders(second_formulas.double_backward(passes, call, dd, dy, PerBackwardInput(*want)), dy)

    return {
        "conv2d_layer": forward,
        "conv2d_layer_backward": backward,
        "conv2d_layer_double_backward": double_backward,
    }


def _without_autocast(function: Callable) -> Callable:
    """Torch's operators inside compute in the dtype of what they are given."""

    def call(*inputs):
        device = next(value.device.type for value in inputs if isinstance(value, Tensor))
        if not autocasts(device):
            return function(*inputs)
        with torch.autocast(device, enabled=False):
            return function(*inputs)

    return call


def _placeholders(grads: tuple[Tensor | None, ...], like: Tensor) -> tuple[Tensor, ...]:
    """An operator returns tensors: an empty one stands for None."""
    return tuple(like.new_empty([0]) if grad is None else grad for grad in grads)
