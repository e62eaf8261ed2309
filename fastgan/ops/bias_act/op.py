"""bias_act: public function, argument checks, and the registration of its compiled forms."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops import native, providers, triton_provider
from fastgan.ops.arguments import as_int, check_dense, number
from fastgan.ops.bias_act import triton_form
from fastgan.ops.bias_act.activations import ACTIVATIONS, activation_named
from fastgan.ops.bias_act.reference import bias_act_reference
from fastgan.ops.exporting import exporting, sizes
from fastgan.ops.gradients import needed
from fastgan.ops.layout import dense_format, in_format
from fastgan.ops.registration import register, transforming


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """y = clamp(act(x + b) · gain, ±clamp), in one pass.

    Args:
        x: any shape, float64, float32, float16 or bfloat16. Contiguous and channels_last (4-D, dim 1) tensors are read
            in place; other layouts are copied to contiguous first.
        b: [C] with C = x.shape[dim], cast to x's dtype; None adds nothing.
        dim: the axis of x that b runs along. Ignored when b is None.
        act: linear, relu, lrelu, tanh, sigmoid, elu, selu, softplus or swish.
        alpha: slope of lrelu for negative input; None takes 0.2. Other activations have no parameter.
        gain: factor after the activation; None takes √2 for relu, lrelu and swish, 1 for the others.
        clamp: bound of |y|; None for no bound.

    Returns:
        Same shape and dtype as x, in x's memory format.

    Raises:
        ValueError, TypeError: an argument that does not fit, named with what was expected and what came.

    Gradients: 2nd order, for x and b.
    Keeps for backward: two bits an element for relu, lrelu and anything clamped among linear, relu and lrelu; nothing
    for linear without clamp; x for the smooth activations.
    Source: Karras et al. 2020 (StyleGAN2), the epilogue of every layer.

    >>> bias_act(torch.tensor([[-1.0, 2.0]]), torch.tensor([0.0, 1.0]), act="lrelu", gain=1.0)
    tensor([[-0.2000,  3.0000]])
    """
    activation = activation_named(act)
    dim = _check(x, b, dim)
    alpha = activation.alpha if alpha is None else number("alpha", alpha)
    gain = activation.gain if gain is None else number("gain", gain)
    clamp = None if clamp is None else number("clamp", clamp)
    if clamp is not None and clamp < 0:
        raise ValueError(f"clamp must be None or at least 0, got {clamp}")
    if b is not None:
        b = b.to(x.dtype).contiguous()
    provider = providers.choose("bias_act", x.device.type, x.dtype, act)
    if provider == "reference":
        return bias_act_reference(x, b, dim, act, alpha, gain, clamp)
    x = in_format(x, dense_format(x, dim))
    has_kink = activation.piecewise_linear and (act != "linear" or clamp is not None)
    differentiable = x.requires_grad or (b is not None and b.requires_grad) or transforming()
    compiled = _COMPILED[provider]
    index, bound = compiled.numbering.index(act), -1.0 if clamp is None else clamp
    # What is recorded may be differentiated where it runs, whatever holds here.
    keep_mask = has_kink and ((differentiable and torch.is_grad_enabled()) or exporting())
    return compiled.forward_op(x, b, dim, index, alpha, gain, bound, keep_mask)[0]


def _check(x: Tensor, b: Tensor | None, dim: int) -> int:
    check_dense("x", x)
    if b is None:
        return 1 if x.ndim > 1 else 0
    check_dense("b", b, optional=True)
    axis = as_int(dim)
    if axis is None or not -x.ndim <= axis < x.ndim:
        raise ValueError(f"dim must be an axis of x, which has {x.ndim}; got {dim!r}")
    dim = axis % x.ndim
    if b.ndim != 1 or sizes(b)[0] != sizes(x)[dim]:
        raise ValueError(f"b must have shape [C]=[{x.shape[dim]}] to match x, got {list(b.shape)}")
    if b.device != x.device:
        raise ValueError(f"b must be on x's device {x.device}, got {b.device}")
    return dim


def _mask_bytes(elements: int) -> int:
    return (elements + 3) // 4  # two bits an element: slope side, clamped


_SETTINGS = "int dim, int act, float alpha, float gain, float clamp"


class _Compiled:
    """Forward, backward and double backward of one compiled provider, each an operator with its own derivative.

    Args:
        provider: its name.
        numbering: the activations that it knows, in the order that its operators' `act` counts.
    """

    def __init__(self, provider: str, numbering: tuple[str, ...]):
        self.numbering = numbering
        self.forward_op = register(
            f"bias_act_{provider}",
            f"(Tensor x, Tensor? b, {_SETTINGS}, bool keep_mask) -> (Tensor, Tensor)",
            self.forward_fake,
            self.forward_context,
            self.forward_backward,
        )
        self.backward_op = register(
            f"bias_act_backward_{provider}",
            f"(Tensor dy, Tensor? x, Tensor? b, Tensor? mask, {_SETTINGS}, bool need_db) -> (Tensor, Tensor)",
            self.backward_fake,
            self.backward_context,
            self.backward_backward,
        )
        self.double_backward_op = register(
            f"bias_act_double_backward_{provider}",
            f"(Tensor ddx, Tensor dy, Tensor x, Tensor? b, {_SETTINGS}, bool need_db) -> (Tensor, Tensor)",
            self.double_backward_fake,
        )

    def forward_fake(self, x, b, dim, act, alpha, gain, clamp, keep_mask):
        return torch.empty_like(x), x.new_empty([_mask_bytes(x.numel()) if keep_mask else 0], dtype=torch.uint8)

    def forward_context(self, ctx, inputs, output):
        x, b, *ctx.settings, ctx.keep_mask = inputs
        smooth = not ACTIVATIONS[self.numbering[ctx.settings[1]]].piecewise_linear
        ctx.set_materialize_grads(False)
        ctx.memory_format = dense_format(x, ctx.settings[0])
        ctx.save_for_backward(x if smooth else None, b if smooth else None, output[1] if ctx.keep_mask else None)

    def forward_backward(self, ctx, dy, dmask):
        if dy is None:
            return (None,) * 8
        need_db = needed(ctx)[1]
        dy = in_format(dy, ctx.memory_format)
        dx, db = self.backward_op(dy, *ctx.saved_tensors, *ctx.settings, need_db)
        return (dx, db if need_db else None) + (None,) * 6

    def backward_fake(self, dy, x, b, mask, dim, act, alpha, gain, clamp, need_db):
        return torch.empty_like(dy), dy.new_empty([dy.shape[dim] if need_db else 0])

    def backward_context(self, ctx, inputs, output):
        dy, x, b, mask, *ctx.settings, ctx.need_db = inputs
        ctx.set_materialize_grads(False)
        ctx.shape, ctx.memory_format = dy.shape, dense_format(dy, ctx.settings[0])
        ctx.save_for_backward(None if x is None else dy, x, b, mask)

    def backward_backward(self, ctx, ddx, ddb):
        none = (None,) * 10
        if not ctx.need_db:
            ddb = None  # the cotangent of an empty placeholder
        if ddx is None and ddb is None:
            return none
        if ddb is not None:  # db sums dx: its cotangent spreads over dx
            column = ddb.reshape([-1 if axis == ctx.settings[0] else 1 for axis in range(len(ctx.shape))])
            ddx = column.expand(ctx.shape) if ddx is None else ddx + column
        assert ddx is not None
        ddx = in_format(ddx, ctx.memory_format)
        dy, x, b, mask = ctx.saved_tensors
        needs = needed(ctx)
        gradient = self.backward_op(ddx, x, b, mask, *ctx.settings, False)[0] if needs[0] else None
        if x is None:  # piecewise linear: the second derivative is zero, and stays undefined
            return gradient, *none[1:]
        need_db = b is not None and needs[2]
        dx, db = self.double_backward_op(ddx, dy, x, b, *ctx.settings, need_db)
        return gradient, dx, db if need_db else None, *none[3:]

    def double_backward_fake(self, ddx, dy, x, b, dim, act, alpha, gain, clamp, need_db):
        return torch.empty_like(dy), dy.new_empty([dy.shape[dim] if need_db else 0])


def _native_refusal(device: str, dtype: torch.dtype, act: str) -> str | None:
    if reason := native.refusal(device, dtype):
        return reason
    if act and act not in native.activations:
        return f"the native library does not know the activation {act!r}"
    return None


def _triton_refusal(device: str, dtype: torch.dtype, act: str) -> str | None:
    if act and act not in triton_form.NUMBERING:
        return f"the Triton kernels do not know the activation {act!r}"
    return triton_provider.refusal(device, dtype)


_COMPILED = {
    "native": _Compiled("native", native.activations),
    "triton": _Compiled("triton", triton_form.NUMBERING),
}
triton_form.implement("triton", "CUDA")
providers.register_provider("bias_act", "native", _native_refusal)
providers.register_provider("bias_act", "triton", _triton_refusal)
providers.register_provider("bias_act", "reference", lambda device, dtype, detail: None)
