"""A convolution layer and its two derivatives as sequences of passes, the same for every compiled provider.

    u = R(w, in_scale·x),  v = scale·u + noise + b,  y = residual + act(v)

act is piecewise linear: its slope m, from the mask, is a constant of every derivative. With g = m·dy and a = scale·g:

    dx = in_scale·Rᵀ(w, a)    din_scale = Σ x·Rᵀ(w, a)    dw = W(in_scale·x, a)
    dscale = Σ g·u            dnoise = Σ g                db = Σ g

where u is not kept but found from y: u = (y/m - noise - b)/scale. Differentiated as such, what the second derivative
owes to dscale comes out as a gradient of y, and takes the way of any other gradient of y: one convolution less.

In half precision y, rounded to some 3 digits, holds little of a u that noise or b exceeds: there u itself is kept, and
dscale is differentiated as the function of x, w and in_scale that it then is.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastgan.ops.conv2d_layer.geometry import Geometry
from fastgan.ops.conv2d_layer.passes import Epilogue, Passes
from fastgan.ops.conv2d_layer.resampling import Resampling
from fastgan.ops.layout import dense_format


class Layer(NamedTuple):
    """One call of a layer, as its derivatives see it; shapes as in `op`."""

    passes: Passes
    x: Tensor
    w: Tensor
    in_scale: Tensor | None
    f: Tensor | None
    geometry: Geometry
    fast: bool
    epilogue: Epilogue

    @property
    def resampling(self) -> Resampling:
        kernel = (self.w.shape[2], self.w.shape[3])
        return Resampling(self.passes, self.geometry, kernel, self.f, self.fast)


def forward(layer: Layer, keep_mask: bool, keep_u: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """y, its mask, empty if not kept, and u, None if not kept."""
    operands = (layer.x, layer.w, layer.in_scale)
    if not keep_u:
        return *layer.resampling.forward(*operands, layer.epilogue, keep_mask), None
    u, _ = layer.resampling.forward(*operands, Epilogue())
    return *layer.passes.epilogue(u, layer.epilogue, keep_mask), u


class Gradients(NamedTuple):
    """Of the inputs of a layer; None where not wanted."""

    x: Tensor | None = None
    w: Tensor | None = None
    in_scale: Tensor | None = None
    scale: Tensor | None = None
    noise: Tensor | None = None
    b: Tensor | None = None


class Wanted(NamedTuple):
    """Which gradients to compute."""

    x: bool
    w: bool
    in_scale: bool
    scale: bool
    noise: bool
    b: bool


def backward(
    layer: Layer, dy: Tensor, y: Tensor | None, u: Tensor | None, mask: Tensor | None, want: Wanted
) -> Gradients:
    """The first derivative. u, or else y, is read where scale's gradient is wanted."""
    x, e, passes = layer.x, layer.epilogue, layer.passes
    a, dscale, dnoise, db = passes.epilogue_backward(dy, mask, y, e, want.scale and u is None, want.noise, want.b)
    if want.scale and u is not None and e.scale is not None:
        dscale = passes.style_gradient(a, u, e.scale)[1] / e.scale
    dx, dw, din_scale = _through_convolution(layer, a, want)
    if want.noise and e.noise is not None and e.noise.shape[0] != x.shape[0]:
        dnoise = dnoise.sum(dim=0, keepdim=True)
    return Gradients(
        dx,
        dw,
        din_scale,
        dscale if want.scale else None,
        dnoise if want.noise else None,
        db if want.b else None,
    )


def _through_convolution(
    layer: Layer, a: Tensor, want: Wanted | WantedSecond
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Of x, w and in_scale, from the gradient a of u."""
    x, in_scale, of_input = layer.x, layer.in_scale, want.x or want.in_scale
    dz, dw = layer.resampling.gradients(x, layer.w, in_scale, a, of_input=of_input, of_weight=want.w)
    din_scale = None
    if dz is not None and in_scale is not None:
        if want.in_scale:
            dz, din_scale = layer.passes.style_gradient(dz, x, in_scale)
        else:
            dz = _times(dz, in_scale)
    return dz if want.x else None, dw, din_scale


class WantedSecond(NamedTuple):
    """Which gradients of `backward` to compute."""

    dy: bool
    x: bool
    w: bool
    in_scale: bool
    scale: bool
    noise: bool
    b: bool
    y: bool


class SecondGradients(NamedTuple):
    """Of the inputs of `backward`; None where not wanted, or 0 whatever the values."""

    dy: Tensor | None = None
    x: Tensor | None = None
    w: Tensor | None = None
    in_scale: Tensor | None = None
    scale: Tensor | None = None
    noise: Tensor | None = None
    b: Tensor | None = None
    y: Tensor | None = None


def double_backward(
    layer: Layer,
    dd: Gradients,
    dy: Tensor,
    y: Tensor | None,
    u: Tensor | None,
    mask: Tensor | None,
    want: WantedSecond,
) -> SecondGradients:
    """The derivative of `backward`; dd are the gradients of its results.

    With p = in_scale·ddx + ddin_scale·x and r = R(w, p) + R(ddw, in_scale·x), the tangent of u:

        ddy = m·(scale·r + ddscale·u + ddnoise + ddb)       w = W(p, a)
        x = ddin_scale·Rᵀ(w, a) + in_scale·Rᵀ(ddw, a)       in_scale = Σ ddx·Rᵀ(w, a) + x·Rᵀ(ddw, a)
        scale = Σ r·a/scale - dscale·ddscale/scale           y = dy·ddscale/scale where m is not 0
        noise, b = -Σ a·ddscale/scale²

    Where u is kept, y, noise, b and scale owe nothing to ddscale; x, w and in_scale get what q = a·ddscale/scale, as a
    gradient of u, gives them.
    """
    x, in_scale, e, passes = layer.x, layer.in_scale, layer.epilogue, layer.passes
    a, dscale, _, _ = passes.epilogue_backward(dy, mask, y, e, need_scale=dd.scale is not None and u is None)
    p = _sum(_times(dd.x, in_scale), None if dd.in_scale is None else _times(x, dd.in_scale))
    r = _tangents(layer, p, dd.w) if want.dy or want.scale else None
    out: dict[str, Tensor | None] = _second_of_convolution(layer, a, p, dd, want)
    if want.scale and e.scale is not None and r is not None:
        out["scale"] = _pixel_sum(r, a) / e.scale
    slopes = e._replace(scale=None, noise=None, b=None, residual=None)
    tangent = _sum(_times(r, e.scale), dd.noise, None if dd.b is None else dd.b[None, :, None, None])
    if dd.scale is not None and e.scale is not None and u is not None:
        tangent = _sum(tangent, _times(u, dd.scale))
        if want.x or want.w or want.in_scale:
            parts = _through_convolution(layer, a * _column(dd.scale / e.scale, a), want)
            for name, part in zip(("x", "w", "in_scale"), parts, strict=True):
                out[name] = _sum(out.get(name), part)
    elif dd.scale is not None and e.scale is not None and y is not None:
        ratio = dd.scale / e.scale
        m = passes.epilogue_backward(torch.ones_like(dy), mask, None, slopes)[0]
        v = torch.where(m == 0, 0, y / m)
        for part in (e.noise, None if e.b is None else e.b[:, None, None]):
            v = v if part is None else v - part
        tangent = _sum(tangent, v * _column(ratio, v))
        out["scale"] = _sum(out.get("scale"), -ratio * dscale) if want.scale else None
        out["y"] = torch.where(m == 0, 0, dy) * _column(ratio, dy) if want.y else None
        if want.noise or want.b:
            loss = a * (-ratio / e.scale)[:, :, None, None]
            over = [1] if e.noise is None or e.noise.shape[0] == len(loss) else [0, 1]
            out["noise"] = loss.sum(dim=over, keepdim=True).to(a.dtype) if want.noise else None
            out["b"] = loss.sum(dim=[0, 2, 3]).to(a.dtype) if want.b else None
    if want.dy and tangent is not None:
        tangent = tangent.to(dy.dtype).expand(dy.shape)
        fresh = r is not None or dd.scale is not None  # else a view of ddnoise or ddb, which no result may be
        dense = tangent.contiguous if fresh else tangent.clone
        tangent = dense(memory_format=dense_format(dy))
        out["dy"] = passes.epilogue_backward(tangent, mask, None, slopes)[0]
    return SecondGradients(**out)


def _tangents(layer: Layer, p: Tensor | None, ddw: Tensor | None) -> Tensor | None:
    """R(w, p) + R(ddw, in_scale·x)."""
    r = layer.resampling.forward(p, layer.w, None, Epilogue())[0] if p is not None else None
    return _sum(r, layer.resampling.forward(layer.x, ddw, layer.in_scale, Epilogue())[0] if ddw is not None else None)


def _second_of_convolution(
    layer: Layer, a: Tensor, p: Tensor | None, dd: Gradients, want: WantedSecond
) -> dict[str, Tensor | None]:
    """What x, in_scale and w get."""
    x, w, in_scale, resampling = layer.x, layer.w, layer.in_scale, layer.resampling
    styled = want.in_scale and in_scale is not None
    dz = dw = of_ddw = None
    if (want.x and dd.in_scale is not None) or (styled and dd.x is not None):
        dz, _ = resampling.gradients(x, w, None, a, of_input=True, of_weight=False)
    if dd.w is not None and (want.x or styled):
        of_ddw, _ = resampling.gradients(x, dd.w, None, a, of_input=True, of_weight=False)
    if want.w and p is not None:
        _, dw = resampling.gradients(p, w, None, a, of_input=False, of_weight=True)
    out: dict[str, Tensor | None] = {"w": dw}
    if want.x:
        out["x"] = _sum(_times(dz, dd.in_scale) if dd.in_scale is not None else None, _times(of_ddw, in_scale))
    if styled:
        of_x = None if dd.x is None or dz is None else _pixel_sum(dd.x, dz)
        out["in_scale"] = _sum(of_x, None if of_ddw is None else _pixel_sum(x, of_ddw))
    return out


def _column(scale: Tensor, x: Tensor) -> Tensor:
    """[N, C] beside images [N, C, H, W]."""
    return scale[:, :, None, None].to(x.dtype)


def _times(x: Tensor | None, scale: Tensor | None) -> Tensor | None:
    """scale [N, C] times x [N, C, H, W]; None stands for 0 and for 1."""
    return x if x is None or scale is None else x * _column(scale, x)


def _sum(*terms: Tensor | None) -> Tensor | None:
    """Of the terms that there are."""
    total = None
    for term in terms:
        if term is not None:
            total = term if total is None else total + term
    return total


def _pixel_sum(x: Tensor, y: Tensor) -> Tensor:
    """Σ over H, W of x·y."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return (x.to(dtype) * y).sum(dim=[2, 3])
