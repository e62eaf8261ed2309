"""Building blocks of the networks."""

from fastgan.nn.equalized import EqualizedConv2d, EqualizedLinear
from fastgan.nn.evaluation import evaluation_view
from fastgan.nn.minibatch_stddev import minibatch_stddev
from fastgan.nn.modulated import SynthesisLayer, ToRGB
from fastgan.nn.pixel_norm import pixel_norm
from fastgan.nn.precision import MixedPrecision, Precision, set_precision

__all__ = [
    "EqualizedConv2d",
    "EqualizedLinear",
    "MixedPrecision",
    "Precision",
    "SynthesisLayer",
    "ToRGB",
    "evaluation_view",
    "minibatch_stddev",
    "pixel_norm",
    "set_precision",
]
