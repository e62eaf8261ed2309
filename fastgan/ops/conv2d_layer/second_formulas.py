"""The second derivative of a convolution layer; symbols as in `formulas`."""

from __future__ import annotations

import torch
from torch import Tensor

from fastgan.ops.arguments import dense_format
from fastgan.ops.conv2d_layer.formulas import LayerCall, PerBackwardInput, PerInput, column, through_convolution, times
from fastgan.ops.conv2d_layer.passes import Epilogue, Passes


def second_derivatives(call: LayerCall, dd: PerInput) -> PerBackwardInput:
    """Which gradients of `backward`'s inputs there are, the others being 0 whatever the values.

    Args:
        call: the layer.
        dd: gradients of `backward`'s results; None where there is none.
    """
    of_x, of_w, of_in_scale, of_scale, *_ = given = [grad is not None for grad in dd]
    # dscale is a function of x, w and in_scale where u is kept; of y, scale, noise and b where it comes from y.
    of_u, of_y = of_scale and call.u is not None, of_scale and call.u is None
    return PerBackwardInput(
        dy=any(given),
        x=of_w or of_in_scale or of_u,
        w=of_x or of_in_scale or of_u,
        in_scale=call.in_scale is not None and (of_x or of_w or of_u),
        scale=call.scale is not None and (of_x or of_w or of_in_scale or of_y),
        noise=call.noise is not None and of_y,
        b=call.b is not None and of_y,
        y=of_y,
    )


def double_backward(
    passes: Passes, call: LayerCall, dd: PerInput, dy: Tensor, want: PerBackwardInput
) -> PerBackwardInput:
    """The derivative of `backward`: gradients of its inputs, None where not wanted.

    With p = in_scale·ddx + ddin_scale·x and r = R(w, p) + R(ddw, in_scale·x), the tangent of u:

        ddy = m·(scale·r + ddscale·u + ddnoise + ddb)       w = W(p, a)
        x = ddin_scale·Rᵀ(w, a) + in_scale·Rᵀ(ddw, a)       in_scale = Σ ddx·Rᵀ(w, a) + x·Rᵀ(ddw, a)
        scale = Σ r·a/scale - dscale·ddscale/scale           y = dy·ddscale/scale where m is not 0
        noise, b = -Σ a·ddscale/scale²

    Where u is kept, y, noise, b and scale owe nothing to ddscale; x, w and in_scale get what q = a·ddscale/scale, as a
    gradient of u, gives them.

    Args:
        passes: of the provider.
        call: the layer.
        dd: gradients of `backward`'s results; None where there is none.
        dy: what `backward` was given.
        want: some of `second_derivatives`.
    """
    x, in_scale, u, mask, e = call.x, call.in_scale, call.u, call.mask, call.epilogue
    a, dscale, _, _ = passes.epilogue_backward(dy, mask, call.y, e, need_scale=dd.scale is not None and u is None)
    p = _sum(times(dd.x, in_scale), None if dd.in_scale is None else times(x, dd.in_scale))
    r = _tangents(passes, call, p, dd.w) if want.dy or want.scale else None
    out = _second_of_convolution(passes, call, a, p, dd, want)
    if want.scale and r is not None and e.scale is not None:
        out["scale"] = _pixel_sum(r, a) / e.scale
    tangent = _sum(times(r, e.scale), dd.noise, None if dd.b is None else dd.b[None, :, None, None])
    if dd.scale is not None and e.scale is not None:
        ratio = dd.scale / e.scale
        if u is not None:
            tangent = _sum(tangent, times(u, dd.scale))
            if want.x or want.w or want.in_scale:
                parts = through_convolution(passes, call, a * column(ratio, a), want)
                for name, part in zip(("x", "w", "in_scale"), parts, strict=True):
                    out[name] = _sum(out.get(name), part)
        else:
            of_y, v = _second_from_y(passes, call, dy, a, dscale, ratio, want)
            tangent = _sum(tangent, v * column(ratio, v))
            out |= of_y | {"scale": _sum(out.get("scale"), of_y["scale"])}
    if want.dy and tangent is not None:
        tangent = tangent.to(dy.dtype).expand(dy.shape)
        fresh = r is not None or dd.scale is not None  # else a view of ddnoise or ddb, which no result may be
        dense = tangent.contiguous if fresh else tangent.clone
        out["dy"] = passes.epilogue_backward(dense(memory_format=dense_format(dy)), mask, None, _slopes(e))[0]
    return PerBackwardInput(**out)


def _slopes(e: Epilogue) -> Epilogue:
    """Whose backward multiplies by m alone."""
    return e._replace(scale=None, noise=None, b=None, residual=None)


def _second_from_y(
    passes: Passes,
    call: LayerCall,
    dy: Tensor,
    a: Tensor,
    dscale: Tensor,
    ratio: Tensor,
    want: PerBackwardInput,
) -> tuple[dict[str, Tensor | None], Tensor]:
    """What scale, y, noise and b owe to ratio = ddscale/scale where u comes from y; and scale·u."""
    y, e = call.y, call.epilogue
    m = passes.epilogue_backward(torch.ones_like(dy), call.mask, None, _slopes(e))[0]
    assert y is not None and e.scale is not None, "the forward keeps y where scale wants a gradient"
    v = torch.where(m == 0, 0, y / m)
    for part in (e.noise, None if e.b is None else e.b[:, None, None]):
        v = v if part is None else v - part
    out: dict[str, Tensor | None] = {"scale": -ratio * dscale if want.scale else None}
    out["y"] = torch.where(m == 0, 0, dy) * column(ratio, dy) if want.y else None
    if want.noise or want.b:
        loss = a * (-ratio / e.scale)[:, :, None, None]
        over = [1] if e.noise is None or e.noise.shape[0] == len(loss) else [0, 1]
        out["noise"] = loss.sum(dim=over, keepdim=True).to(a.dtype) if want.noise else None
        out["b"] = loss.sum(dim=[0, 2, 3]).to(a.dtype) if want.b else None
    return out, v


def _tangents(passes: Passes, call: LayerCall, p: Tensor | None, ddw: Tensor | None) -> Tensor | None:
    """R(w, p) + R(ddw, in_scale·x)."""
    (x, w, in_scale), convolution = call[:3], call.convolution(passes)
    r = convolution.forward(p, w, None, Epilogue())[0] if p is not None else None
    return _sum(r, convolution.forward(x, ddw, in_scale, Epilogue())[0] if ddw is not None else None)


def _second_of_convolution(
    passes: Passes, call: LayerCall, a: Tensor, p: Tensor | None, dd: PerInput, want: PerBackwardInput
) -> dict[str, Tensor | None]:
    """What x, in_scale and w owe to ddx, ddw and ddin_scale."""
    (x, w, in_scale), convolution = call[:3], call.convolution(passes)
    dz = dw = of_ddw = None
    if (want.x and dd.in_scale is not None) or (want.in_scale and dd.x is not None):
        dz, _ = convolution.gradients(x, w, None, a, of_input=True, of_weight=False)
    if dd.w is not None and (want.x or want.in_scale):
        of_ddw, _ = convolution.gradients(x, dd.w, None, a, of_input=True, of_weight=False)
    if want.w and p is not None:
        _, dw = convolution.gradients(p, w, None, a, of_input=False, of_weight=True)
    out: dict[str, Tensor | None] = {"w": dw}
    if want.x:
        out["x"] = _sum(times(dz, dd.in_scale) if dd.in_scale is not None else None, times(of_ddw, in_scale))
    if want.in_scale:
        of_x = None if dd.x is None or dz is None else _pixel_sum(dd.x, dz)
        out["in_scale"] = _sum(of_x, None if of_ddw is None else _pixel_sum(x, of_ddw))
    return out


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
