"""Building blocks of the networks."""

from fastgan.nn.equalized import EqualizedConv2d, EqualizedLinear
from fastgan.nn.minibatch_stddev import minibatch_stddev
from fastgan.nn.modulated import SynthesisLayer, ToRGB, modulated_conv2d
from fastgan.nn.pixel_norm import pixel_norm
from fastgan.nn.resample import conv2d_resample

__all__ = [
    "EqualizedConv2d",
    "EqualizedLinear",
    "SynthesisLayer",
    "ToRGB",
    "conv2d_resample",
    "minibatch_stddev",
    "modulated_conv2d",
    "pixel_norm",
]
