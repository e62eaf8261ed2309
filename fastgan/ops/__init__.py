"""Operators: hand-written kernels with pure-torch references, chosen by `providers`."""

from fastgan.ops.bias_act.op import bias_act
from fastgan.ops.gradients import skip_weight_gradients
from fastgan.ops.providers import provider
from fastgan.ops.upfirdn2d.op import downsample2d, filter2d, setup_filter, upfirdn2d, upsample2d

__all__ = [
    "bias_act",
    "downsample2d",
    "filter2d",
    "provider",
    "setup_filter",
    "skip_weight_gradients",
    "upfirdn2d",
    "upsample2d",
]
