"""fastgan: GANs on PyTorch with hand-written kernels and pure-torch references."""

from fastgan.ops import (
    bias_act,
    downsample2d,
    filter2d,
    provider,
    setup_filter,
    skip_weight_gradients,
    upfirdn2d,
    upsample2d,
)

__version__ = "0.1.0"
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
