"""A convolution layer and its two derivatives as sequences of passes, the same for every compiled provider.

    u = R(w, in_scale·x),  v = scale·u + noise + b,  y = residual + act(v)

R is a convolution with resampling. act is piecewise linear: its slope m, from the mask, is a constant of every
derivative. With g = m·dy and a = scale·g, with Rᵀ and W for the gradients of R for its image and its weight:

    dx = in_scale·Rᵀ(w, a)    din_scale = Σ x·Rᵀ(w, a)    dw = W(in_scale·x, a)
    dscale = Σ g·u            dnoise = Σ g                db = Σ g

The forward does not keep u: the backward computes it from y, u = (y/m - noise - b)/scale. dscale is then a function of
y, noise, b and scale, and its second derivative a gradient of y, which takes the way of any other gradient of y: one
convolution less.

In half precision y has some 3 digits, too few for a u that is small beside noise or b. There u itself is kept, and
dscale is differentiated as the function of x, w and in_scale that it then is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastgan.ops.arguments import dense_format, in_format
from fastgan.ops.conv2d_layer.passes import Convolution, Epilogue, Passes
from fastgan.ops.fir import FirPass, Sampling, Size
from fastgan.ops.registration import transforming


class PerInput(NamedTuple):
    """One thing for each input of a layer that has a gradient: the tensor, its gradient, or whether that is wanted."""

    x: Any = None
    w: Any = None
    in_scale: Any = None
    scale: Any = None
    noise: Any = None
    b: Any = None


class PerBackwardInput(NamedTuple):
    """One thing for each input of `backward` that has a gradient."""

    dy: Any = None
    x: Any = None
    w: Any = None
    in_scale: Any = None
    scale: Any = None
    noise: Any = None
    b: Any = None
    y: Any = None


class LayerCall(NamedTuple):
    """One call of a layer: all that its operators carry. The order of their arguments is known here alone.

    Attributes:
        x, w, in_scale, scale, noise, b, residual: shapes as in `op`; residual is None after the forward, whose
            derivatives do not depend on it.
        f, up, down, padding: see `fir.Sampling`.
        act, alpha, gain, clamp: see `passes.Epilogue`.
        fast: see `passes.Convolution`.
        y, u, mask: kept by the forward: y or u for the gradient of scale, the mask where there is a kink.
    """

    x: Tensor
    w: Tensor
    in_scale: Tensor | None
    scale: Tensor | None
    noise: Tensor | None
    b: Tensor | None
    residual: Tensor | None
    f: Tensor | None
    up: int
    down: int
    padding: Any  # four ints; a list, as torch hands it on
    act: int
    alpha: float
    gain: float
    clamp: float
    fast: bool
    y: Tensor | None = None
    u: Tensor | None = None
    mask: Tensor | None = None

    @property
    def inputs(self) -> tuple[Tensor | None, ...]:
        """Those of `PerInput`."""
        return self[:6]

    @property
    def settings(self) -> tuple:
        """What is no tensor."""
        return self[8:16]

    @property
    def forward_arguments(self) -> tuple:
        """Those of the forward: LayerCall(*forward_arguments) is this call."""
        return self[:16]

    @property
    def derivative_arguments(self) -> tuple:
        """Those that both derivatives have: inputs, what is kept, f and settings."""
        return self[:6] + self[16:] + self[7:16]

    @classmethod
    def of_derivative(cls, arguments: Sequence) -> LayerCall:
        """From `derivative_arguments`."""
        return cls._make((*arguments[:6], None, *arguments[9:], *arguments[6:9]))

    @property
    def epilogue(self) -> Epilogue:
        return Epilogue(*self[3:7], *self[11:15])

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.up, self.down, tuple(self.padding))

    @property
    def needs_sum(self) -> bool:
        """Whether scale's gradient, where there is one, needs more digits of u than y has."""
        rounded = self.x.dtype in (torch.float16, torch.bfloat16) and (self.noise is not None or self.b is not None)
        return rounded and self.scale is not None and (self.scale.requires_grad or transforming())

    def convolution(self, passes: Passes) -> ResampledConvolution:
        return ResampledConvolution(passes, self.sampling, (self.w.shape[2], self.w.shape[3]), self.f, self.fast)


class ResampledConvolution:
    """R(w, x) for one kernel size, and its gradients: a convolution, with a FIR pass before or after it.

    Down-sampling is the FIR, then a strided convolution; up-sampling a transposed convolution, then the FIR. A 1×1
    kernel is applied at the lower of the two rates.

    Args:
        passes: of the provider.
        sampling: factors and padding.
        kernel: (kh, kw).
        f: FIR [taps] or [fh, fw], or None.
        fast: as `Passes.convolve`.
    """

    def __init__(self, passes: Passes, sampling: Sampling, kernel: Size, f: Tensor | None, fast: bool):
        up, down, padding = sampling
        pointwise, none, one = kernel == (1, 1), (0, 0, 0, 0), (1, 1)
        self.passes = passes
        self.before = self.after = None
        if up > 1:
            crop = padding if pointwise else sampling.crop(kernel)
            self.convolution = Convolution(1 if pointwise else up, not pointwise, none, fast)
            self.after = FirPass(f, (up, up) if pointwise else one, one, crop, False, up**2)
        elif down > 1:
            self.before = FirPass(f, one, (down, down) if pointwise else one, padding, False, 1.0)
            self.convolution = Convolution(1 if pointwise else down, False, none, fast)
        else:
            self.convolution = Convolution(1, False, padding, fast)

    def forward(
        self, x: Tensor, w: Tensor, in_scale: Tensor | None, e: Epilogue, keep_mask: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The epilogue of R(w, in_scale·x), and its mask."""
        if self.before is not None:
            x = self.passes.fir(x, self.before)
        if self.after is None:
            return self.passes.convolve(x, w, in_scale, self.convolution, e, keep_mask)
        return self.passes.convolve_up(x, w, in_scale, self.convolution, self.after, e, keep_mask)

    def gradients(
        self, x: Tensor, w: Tensor, in_scale: Tensor | None, dy: Tensor, *, of_input: bool, of_weight: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """Rᵀ(w, dy) and W(in_scale·x, dy), where wanted: gradients of R(w, z) for z, and for w at in_scale·x."""
        size = (x.shape[2], x.shape[3])
        inner = size if self.before is None else self.before.output_size(size)
        if self.after is not None:
            between = self.convolution.output_size(inner, (w.shape[2], w.shape[3]))
            dy = self.passes.fir(dy, self.after.adjoint(between, (dy.shape[2], dy.shape[3])))
        dz = dw = None
        if of_weight:
            z = x if self.before is None else self.passes.fir(x, self.before)  # computed again: not worth its memory
            dw = self.passes.weight_gradient(z, dy, in_scale, w, self.convolution)
        if of_input:
            if self.before is None:
                dz = self.passes.input_gradient(dy, w, inner, self.convolution)
            else:
                adjoint = self.convolution.adjoint(inner, (dy.shape[2], dy.shape[3]), (w.shape[2], w.shape[3]))
                back, fir = in_format(w.transpose(0, 1), dense_format(w)), self.before.adjoint(size, inner)
                dz, _ = self.passes.convolve_up(dy, back, None, adjoint, fir, Epilogue(), False)
            dz = dz.contiguous(memory_format=dense_format(x))  # one channel has no format of its own
        return dz, dw


def forward(passes: Passes, call: LayerCall, keep_mask: bool, keep_u: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """y, its mask, empty if not kept, and u, None if not kept."""
    operands, convolution = call[:3], call.convolution(passes)
    if not keep_u:
        return *convolution.forward(*operands, call.epilogue, keep_mask), None
    u, _ = convolution.forward(*operands, Epilogue())
    return *passes.epilogue(u, call.epilogue, keep_mask), u


def backward(passes: Passes, call: LayerCall, dy: Tensor, want: PerInput) -> PerInput:
    """The gradients of the inputs that are wanted, None for the others."""
    u, e = call.u, call.epilogue
    a, dscale, dnoise, db = passes.epilogue_backward(
        dy, call.mask, call.y, e, want.scale and u is None, want.noise, want.b
    )
    if want.scale and u is not None and e.scale is not None:
        dscale = passes.style_gradient(a, u, e.scale)[1] / e.scale
    dx, dw, din_scale = through_convolution(passes, call, a, want)
    if want.noise and e.noise is not None and e.noise.shape[0] != dy.shape[0]:
        dnoise = dnoise.sum(dim=0, keepdim=True)
    sums = (dscale if want.scale else None, dnoise if want.noise else None, db if want.b else None)
    return PerInput(dx, dw, din_scale, *sums)


def through_convolution(
    passes: Passes, call: LayerCall, a: Tensor, want: PerInput | PerBackwardInput
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, w and in_scale, from the gradient a of u."""
    x, w, in_scale = call[:3]
    of_input = want.x or want.in_scale
    dz, dw = call.convolution(passes).gradients(x, w, in_scale, a, of_input=of_input, of_weight=want.w)
    din_scale = None
    if dz is not None and in_scale is not None:
        if want.in_scale:
            dz, din_scale = passes.style_gradient(dz, x, in_scale)
        else:
            dz = times(dz, in_scale)
    return dz if want.x else None, dw, din_scale


def column(scale: Tensor, x: Tensor) -> Tensor:
    """[N, C] beside images [N, C, H, W]."""
    return scale[:, :, None, None].to(x.dtype)


def times(x: Tensor | None, scale: Tensor | None) -> Tensor | None:
    """scale [N, C] times x [N, C, H, W]; None stands for 0 and for 1."""
    return x if x is None or scale is None else x * column(scale, x)
