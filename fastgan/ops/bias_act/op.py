"""bias_act: public function, argument checks, torch operators with their derivatives, description."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fastgan.ops import providers
from fastgan.ops.arguments import (
    activation,
    as_int,
    check_dense,
    dense_format,
    exporting,
    in_format,
    layout_name,
    sizes,
)
from fastgan.ops.bias_act import triton_form
from fastgan.ops.bias_act.activations import ACTIVATIONS, mask_bytes
from fastgan.ops.bias_act.reference import bias_act_reference
from fastgan.ops.gradients import needed
from fastgan.ops.operator import OPERATORS, Default, Operator
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
    function, alpha, gain, clamp = activation(act, alpha, gain, clamp)
    dim = _check(x, b, dim)
    if b is not None:
        b = b.to(x.dtype).contiguous()
    kind = "with a kink" if function.piecewise_linear else "smooth"
    provider = providers.choose("bias_act", x.device, x.dtype, act, lambda: (layout_name(x, dim), kind, (x.numel(),)))
    if provider == "reference":
        return bias_act_reference(x, b, dim, act, alpha, gain, clamp)
    x = in_format(x, dense_format(x, dim))
    has_kink = function.piecewise_linear and (act != "linear" or clamp is not None)
    differentiable = x.requires_grad or (b is not None and b.requires_grad) or transforming()
    compiled = OPERATORS["bias_act"].registered[provider]
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


_SETTINGS = "int dim, int act, float alpha, float gain, float clamp"


class BiasAct:
    """Forward, backward and double backward of one provider, each an operator with its own derivative.

    Args:
        provider: its name.
        kernels: as `Provider.kernels`.

    Attributes:
        numbering: the activations that it knows, in the order that its operators' `act` counts; none without a library.
    """

    def __init__(self, provider: str, kernels: Mapping[str, str]):
        compiled = set(kernels.values()) & {"cpu", "cuda"}
        self.provider, self.numbering = provider, _compiled_numbering(provider) if compiled else triton_form.NUMBERING
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
        return torch.empty_like(x), x.new_empty([mask_bytes(x.numel()) if keep_mask else 0], dtype=torch.uint8)

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


def _compiled_numbering(provider: str) -> tuple[str, ...]:
    """What the provider's library says, () where there is none."""
    try:
        return tuple(getattr(torch.ops.fastgan, f"bias_act_activations_{provider}")().split(","))
    except NotImplementedError:
        return ()


def _refusal(compiled: BiasAct, act: str) -> str | None:
    if act and act not in compiled.numbering:
        return f"the {compiled.provider} kernels do not know the activation {act!r}"
    return None


def _example() -> Tensor:
    x, b = torch.linspace(-1, 1, 2 * 3 * 6 * 5).reshape(2, 3, 6, 5), torch.tensor([0.5, 0.0, -0.5])
    return bias_act(x, b, act="lrelu")


OPERATORS["bias_act"] = Operator(
    "bias_act",
    _example,
    kernels=("cpu", "cuda", "triton"),
    register=BiasAct,
    schemas={"bias_act_activations": "() -> str"},
    triton=triton_form.LAUNCHES,
    refusal=_refusal,
    defaults=(Default("cpu", ("native",), "bench/results/cpu_targets.json: Intel Xeon with AVX-512, 2 cores"),),
)
