"""fastgan: GANs on PyTorch with hand-written kernels and pure-torch references."""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from fastgan.generate import Sampler

__version__ = "0.1.0"
__all__ = [
    "Sampler",
    "bias_act",
    "downsample2d",
    "filter2d",
    "provider",
    "setup_filter",
    "skip_weight_gradients",
    "upfirdn2d",
    "upsample2d",
]


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: whoever wants the operators alone does not wait for the models.
    if name == "Sampler":
        from fastgan.generate import Sampler

        return Sampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
