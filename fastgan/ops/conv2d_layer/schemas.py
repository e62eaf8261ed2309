"""Schemas of the passes that a convolution layer is made of: compiled, without gradients of their own.

An epilogue is y = residual + clamp(act(scale·u + noise + b)·gain, ±clamp) with act linear, relu or lrelu. Images are
contiguous or channels_last, all of a call in one memory format. u, y, w, b, noise and residual share a dtype; scale,
in_scale and their gradients are float32 for halves. A mask holds two bits an element, as bias_act's.
"""

from __future__ import annotations

_ACT = "int act, float alpha, float gain, float clamp"
_EPILOGUE = f"Tensor? scale, Tensor? noise, Tensor? b, Tensor? residual, {_ACT}, bool keep_mask"
_GEOMETRY = "int stride, bool transposed, int padx0, int padx1, int pady0, int pady1"

SCHEMAS = {
    # u [N, O, H, W], scale [N, O], noise [N or 1, 1, H, W], b [O], residual [N, O, H, W] -> y, mask
    "conv2d_epilogue": f"(Tensor u, {_EPILOGUE}) -> (Tensor, Tensor)",
    # dy, y [N, O, H, W] -> du = scale·gain·act'·dy; sums of du/scale·u [N, O], of du/scale over O [N, 1, H, W] and over
    # the rest [O]. The first needs u, which is computed back from y, where need_scale; y then holds no residual.
    "conv2d_epilogue_backward": (
        f"(Tensor dy, Tensor? mask, Tensor? y, Tensor? scale, Tensor? noise, Tensor? b, {_ACT}, "
        "bool need_scale, bool need_noise, bool need_b) -> (Tensor, Tensor, Tensor, Tensor)"
    ),
    # dz, x [N, I, H, W], styles [N, I] -> dx = styles·dz, dstyles = Σ over H, W of x·dz
    "conv2d_style_gradient": "(Tensor dz, Tensor x, Tensor styles) -> (Tensor, Tensor)",
    # x [N, I, H, W], w [O, I, kh, kw], in_scale [N, I] -> epilogue of w ∗ (in_scale·x). Not transposed: the correlation
    # of x, padded, at every stride-th place. Transposed: the true convolution of x with stride - 1 zeros between its
    # samples, (H - 1)·stride + kh rows, of which padding is cropped.
    "conv2d": f"(Tensor x, Tensor w, Tensor? in_scale, {_GEOMETRY}, {_EPILOGUE}, bool tf32) -> (Tensor, Tensor)",
    # A FIR after a convolution transposed with stride 2, as upfirdn2d(u, f, padding=[...], flip_filter, gain=fir_gain),
    # then the epilogue. channels_last, not float64: w [O, I, 3, 3], f [4] float32. On a GPU, by "native" alone.
    "conv2d_up": (
        "(Tensor x, Tensor w, Tensor f, Tensor? in_scale, int padx0, int padx1, int pady0, int pady1, "
        f"bool flip_filter, float fir_gain, {_EPILOGUE}, bool tf32) -> (Tensor, Tensor)"
    ),
    # `ConvPlan` (csrc/conv2d_layer/conv2d.h) of all convolutions of this process from now on, for tests and timings;
    # 0 where what suits the shape is wanted. "native" alone, with CUDA.
    "conv2d_plan": "(int form, int splits, int stages) -> ()",
    # The gradient of such a convolution for w [O, I, kh, kw], from x and the gradient dy of its result.
    "conv2d_weight_gradient": (
        f"(Tensor x, Tensor dy, Tensor? in_scale, int kh, int kw, {_GEOMETRY}, bool tf32) -> Tensor"
    ),
    # The same of float32, contiguous, w [O, I, 3, 3], stride 1 or 2, by Winograd's algorithm with tiles of tile x tile
    # pixels of the result: 2 or 4, with stride 2 4; transposed with stride 2: 3, of x, and an even number of rows and
    # columns is cropped in front. exchanged: w is [I, O, 3, 3].
    "conv2d_winograd": (
        f"(Tensor x, Tensor w, bool exchanged, Tensor? in_scale, {_GEOMETRY}, {_EPILOGUE}, int tile) "
        "-> (Tensor, Tensor)"
    ),
    "conv2d_winograd_weight_gradient": f"(Tensor x, Tensor dy, Tensor? in_scale, {_GEOMETRY}, int tile) -> Tensor",
}
