"""R(w, x), a convolution with resampling, and its adjoints: a convolution, with a FIR pass before or after it."""

from __future__ import annotations

from torch import Tensor

from fastgan.ops.conv2d_layer.geometry import Geometry
from fastgan.ops.conv2d_layer.passes import Convolution, Epilogue, Fir, Passes, Size
from fastgan.ops.layout import dense_format


class Resampling:
    """R for one kernel size.

    Down-sampling is the FIR, then a strided convolution; up-sampling a transposed convolution, then the FIR. A 1×1
    kernel is applied at the lower of the two rates.

    Args:
        passes: of the provider.
        geometry: sampling factors and padding.
        kernel: (kh, kw).
        f: FIR [taps] or [fh, fw], or None.
        fast: as `Passes.convolve`.
    """

    def __init__(self, passes: Passes, geometry: Geometry, kernel: Size, f: Tensor | None, fast: bool):
        up, down, padding = geometry
        pointwise, none = kernel == (1, 1), (0, 0, 0, 0)
        self.passes = passes
        self.before = self.after = None
        if up > 1:
            crop = padding if pointwise else geometry.crop(*kernel)
            self.convolution = Convolution(1 if pointwise else up, not pointwise, none, fast)
            self.after = Fir(f, up if pointwise else 1, 1, crop, up**2)
        elif down > 1:
            self.before = Fir(f, 1, down if pointwise else 1, padding, 1.0)
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
                back, fir = w.transpose(0, 1).contiguous(), self.before.adjoint(size, inner)
                dz, _ = self.passes.convolve_up(dy, back, None, adjoint, fir, Epilogue(), False)
            dz = dz.contiguous(memory_format=dense_format(x))  # one channel has no format of its own
        return dz, dw
