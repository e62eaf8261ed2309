"""fastgan: GANs on PyTorch with hand-written kernels and pure-torch references."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastgan.calibration import calibrate
    from fastgan.generate import Sampler, Translator
    from fastgan.ops import (
        affine_warp,
        bias_act,
        conv2d_resample,
        demodulation_coefficients,
        downsample2d,
        exact_convolutions,
        filter2d,
        filtered_lrelu,
        grid_sample,
        interpolate,
        modulated_conv2d,
        provider,
        setup_filter,
        squared_norm,
        upfirdn2d,
        upsample2d,
    )

__version__ = "0.1.0"
__all__ = [
    "Sampler",
    "Translator",
    "affine_warp",
    "bias_act",
    "calibrate",
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
# What lies above the operators -> the module that has it.
_ABOVE = {"Sampler": "generate", "Translator": "generate", "calibrate": "calibration"}


def __getattr__(name: str) -> Any:
    """Imports what is asked for, and torch with it: `fastgan --help` needs none of it, operators do without models."""
    if name in _ABOVE:
        return getattr(importlib.import_module(f"fastgan.{_ABOVE[name]}"), name)
    if name not in (*__all__, "ops"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    ops = importlib.import_module("fastgan.ops")  # `from fastgan import ops` would ask here again
    globals().update({each: getattr(ops, each) for each in __all__ if each not in _ABOVE})
    return globals()[name]


def __dir__() -> list[str]:
    loaded = {name for name, value in globals().items() if getattr(value, "__name__", "") == f"{__name__}.{name}"}
    return sorted({*loaded, *__all__, "ops", "__version__", "__all__", "__doc__", "__name__", "__file__", "__path__"})
