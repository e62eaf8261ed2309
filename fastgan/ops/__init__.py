"""Operators: hand-written kernels with pure-torch references, chosen by `providers`."""

from fastgan.ops.affine_warp.op import affine_warp
from fastgan.ops.bias_act.op import bias_act
from fastgan.ops.conv2d_layer.op import conv2d_resample, demodulation_coefficients, modulated_conv2d
from fastgan.ops.filtered_lrelu.op import filtered_lrelu
from fastgan.ops.gradient_penalty.op import interpolate, squared_norm
from fastgan.ops.grid_sample import grid_sample
from fastgan.ops.providers import exact_convolutions, provider
from fastgan.ops.upfirdn2d.op import downsample2d, filter2d, setup_filter, upfirdn2d, upsample2d

__all__ = [
    "affine_warp",
    "bias_act",
    "conv2d_resample",
    "demodulation_coefficients",
    "downsample2d",
    "exact_convolutions",
    "filter2d",
    "filtered_lrelu",
    "grid_sample",
    "interpolate",
    "modulated_conv2d",
    "provider",
    "setup_filter",
    "squared_norm",
    "upfirdn2d",
    "upsample2d",
]
