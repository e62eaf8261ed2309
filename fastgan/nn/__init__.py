"""Building blocks of the networks."""

from fastgan.nn.equalized import EqualizedConv2d, EqualizedLinear
from fastgan.nn.minibatch_stddev import minibatch_stddev
from fastgan.nn.modulated import SynthesisLayer, ToRGB
from fastgan.nn.pixel_norm import pixel_norm

__all__ = [
    "EqualizedConv2d",
    "EqualizedLinear",
    "SynthesisLayer",
    "ToRGB",
    "minibatch_stddev",
    "pixel_norm",
]
