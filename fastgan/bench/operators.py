"""The operators at the sizes that training calls them with, beside a copy and the plain torch compositions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.ops import bias_act, provider, providers, upfirdn2d

# What a 32 px run calls them with at the end of its networks, and a larger size in few samples.
SHAPES = ((16, 96, 32, 32), (8, 64, 64, 64))
_TAPS = (1.0, 3.0, 3.0, 1.0)


@dataclass(frozen=True)
class Case:
    """One operator at one size.

    Attributes:
        op: name of the operator.
        name: what it is called with.
        ours: (x, parameter) -> y, through the chosen provider.
        torch: the same by the fastest plain torch composition known.
        x: the input.
        parameter: bias or filter.
    """

    op: str
    name: str
    ours: Callable[[Tensor, Tensor], Tensor]
    torch: Callable[[Tensor, Tensor], Tensor]
    x: Tensor
    parameter: Tensor


def _lrelu(x: Tensor, b: Tensor) -> Tensor:
    return F.leaky_relu(x + b.view(1, -1, 1, 1), 0.2) * math.sqrt(2)


def _weight(x: Tensor, f: Tensor) -> Tensor:
    return torch.outer(f, f).expand(x.shape[1], 1, -1, -1)


def _resamplings() -> dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]]:
    """name -> (ours, torch); the filter is symmetric, so convolution and correlation agree."""
    return {
        "up 2": (
            lambda x, f: upfirdn2d(x, f, up=2, padding=[2, 1, 2, 1], gain=4),
            lambda x, f: F.conv_transpose2d(x, 4 * _weight(x, f), stride=2, padding=1, groups=x.shape[1]),
        ),
        "down 2": (
            lambda x, f: upfirdn2d(x, f, down=2, padding=1),
            lambda x, f: F.conv2d(x, _weight(x, f), stride=2, padding=1, groups=x.shape[1]),
        ),
        "filter": (
            lambda x, f: upfirdn2d(x, f, padding=[2, 1, 2, 1]),
            lambda x, f: F.conv2d(F.pad(x, [2, 1, 2, 1]), _weight(x, f), groups=x.shape[1]),
        ),
    }


def cases(
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    shapes: Sequence[tuple[int, int, int, int]] = SHAPES,
) -> Iterator[Case]:
    """Every case.

    Args:
        device: where the tensors lie.
        dtype: of the tensors.
        shapes: [N, C, H, W] of the inputs.

    Yields:
        cases with random inputs, seeded.
    """
    for shape in shapes:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(shape, generator=generator).to(device, dtype)
        b = torch.randn(shape[1], generator=generator).to(device, dtype)
        f = (torch.tensor(_TAPS) / sum(_TAPS)).to(device)
        size = "x".join(map(str, shape))
        yield Case("bias_act", f"lrelu {size}", lambda x, b: bias_act(x, b, act="lrelu"), _lrelu, x, b)
        for name, (ours, composition) in _resamplings().items():
            yield Case("upfirdn2d", f"{name} {size}", ours, composition, x, f)


def refusals(case: Case) -> dict[str, str]:
    """provider -> why it cannot serve the case; those that can are absent.

    Args:
        case: one of `cases`.

    Returns:
        reasons by provider.
    """
    dtype = str(case.x.dtype).removeprefix("torch.")
    rows = [row for row in providers.report((case.x.device.type,)) if (row.op, row.dtype) == (case.op, dtype)]
    return {row.provider: row.reason for row in rows if not row.serves}


def calls(case: Case, *, backward: bool) -> dict[str, Callable[[], object]]:
    """What to time for a case: "copy" (a clone of the output), "torch", and each provider that serves.

    Args:
        case: one of `cases`.
        backward: time forward and backward, not forward alone.

    Returns:
        calls by name.
    """
    wanted = [case.x, case.parameter] if case.op == "bias_act" else [case.x]
    with torch.no_grad():
        y = case.torch(case.x, case.parameter)

    def step(function: Callable[[Tensor, Tensor], Tensor]) -> Tensor | tuple[Tensor, ...]:
        if not backward:
            with torch.no_grad():
                return function(case.x, case.parameter)
        for tensor in wanted:
            tensor.requires_grad_()
        return torch.autograd.grad(function(case.x, case.parameter), wanted, y)

    def through(name: str) -> Callable[[], object]:
        def call() -> object:
            with provider(name):
                return step(case.ours)

        return call

    served = [name for name in providers.NAMES if name not in refusals(case)]
    return {"copy": y.clone, "torch": lambda: step(case.torch), **{name: through(name) for name in served}}
