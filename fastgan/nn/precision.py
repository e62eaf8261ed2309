"""Precision as a policy: at which resolutions the blocks of a network compute in half precision."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn

from fastgan.config.fields import check_choice, check_int
from fastgan.ops import conv2d_resample

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Bound on what convolution layers give where half precision is on anywhere (Karras et al. 2020a).
CLAMP = 256.0


@dataclass(frozen=True)
class Precision:
    """In which dtype blocks of a network compute.

    A block casts what enters it, and layers compute in the dtype of what they are given: parameters, their gradients,
    optimizers, averages and logits stay in float32, and so do the mapping of latents, the sum of to-RGB images, the
    lowest resolution and what comes after it in a discriminator.

    Args:
        name: "fp32"; "tf32", which is fp32 whose convolutions on a GPU may round their operands to 10 bits; "bf16" or
            "fp16" at the highest resolutions.
        highest: how many resolutions compute in half precision, counted from the largest downwards; as num_fp16_res of
            the published StyleGAN code.

    Raises:
        ValueError: an unknown name, or a count that is none.

    Source: Karras et al. 2020a (ADA), appendix D.
    """

    name: str = "fp32"
    highest: int = 4

    def __post_init__(self) -> None:
        check_choice("precision", self.name, ("fp32", "tf32", *HALVES))
        check_int("half_resolutions", self.highest, 0)

    @property
    def half(self) -> torch.dtype | None:
        """The dtype of half precision; None where it is on nowhere."""
        return HALVES.get(self.name) if self.highest else None

    def at(self, resolution: int, largest: int, wide: torch.dtype = torch.float32) -> torch.dtype:
        """The dtype of a block.

        Args:
            resolution: of the block, the larger side, or its sampling rate.
            largest: the network's largest.
            wide: the dtype of the parameters.

        Returns:
            half precision where resolution · 2^highest > largest, else wide.

        >>> [Precision("bf16", 2).at(resolution, 64) for resolution in (16, 32, 64)]
        [torch.float32, torch.bfloat16, torch.bfloat16]
        """
        return self.half if self.half is not None and resolution * 2**self.highest > largest else wide


class MixedPrecision:
    """Base of networks that follow a `Precision`: each asks its own at the entry of its blocks.

    Attributes:
        precision: of this network; fp32 unless `set_precision` says otherwise, whatever it was trained in.
    """

    precision: Precision = Precision()


def set_precision(network: nn.Module, precision: Precision) -> None:
    """Have a network, with all its parts, compute in a precision.

    Where a network is trained in half precision, build it with `conv_clamp=CLAMP` if its configuration has that field:
    the bound is part of what it computes, in float32 too.

    Args:
        network: one of ours, or one that inherits from `MixedPrecision`.
        precision: for all of its blocks.

    Raises:
        ValueError: half precision for a network none of whose parts follows a `Precision`.
    """
    those = [module for module in network.modules() if isinstance(module, MixedPrecision)]
    if precision.half is not None and not those:
        raise ValueError(
            f"precision must be fp32 or tf32 for {type(network).__name__}, which is no fastgan.nn.MixedPrecision, "
            f"got {precision.name}"
        )
    for module in those:
        module.precision = precision


def refusal(precision: Precision, device: torch.device) -> str | None:
    """Why one should not train in a precision on a device, with what was measured there; None where one may."""
    if device.type != "cpu":
        return None
    if precision.name == "tf32":
        return "tf32 is of GPUs alone: on a CPU it would be fp32"
    if precision.half is None:
        return None
    half, wide = _seconds(precision.half), _seconds(torch.float32)
    if half < wide:
        return None
    return (
        f"{precision.name} is slower than fp32 on this CPU: a 3×3 convolution of 64 channels at 32×32 took "
        f"{half * 1000:.3g} ms, in fp32 {wide * 1000:.3g} ms"
    )


@torch.no_grad()
def _seconds(dtype: torch.dtype) -> float:
    """Of a convolution on the CPU, the best of three."""
    x, w = torch.zeros(1, 64, 32, 32, dtype=dtype), torch.zeros(64, 64, 3, 3, dtype=dtype)
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        conv2d_resample(x, w, padding=1)
        best = min(best, time.perf_counter() - begin)
    return best
