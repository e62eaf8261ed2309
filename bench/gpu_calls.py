"""Every kernel of one provider once, at small and odd sizes: what bench/gpu.sh runs under compute-sanitizer.

python bench/gpu_calls.py native|triton. Exits with 3 if the provider has no CUDA kernels.
"""

from __future__ import annotations

import itertools
import sys

import torch

from fastgan.ops import bias_act, provider, providers, upfirdn2d

SHAPES = [(2, 5, 7, 3), (1, 33, 4, 67), (2, 64, 16, 16), (0, 4, 3, 3)]
RESAMPLING = [
    {"up": 2, "padding": [2, 1, 2, 1], "gain": 4},
    {"down": 2, "padding": 2},
    {"padding": [2, 1, 2, 1]},
    {"up": 3, "down": 2, "padding": [2, 3, 1, 4], "flip_filter": True},
]


def derivatives(y: torch.Tensor, leaves: list[torch.Tensor]) -> None:
    """First and second derivatives of y, which launch every kernel of its operator."""
    dy = torch.randn_like(y).requires_grad_()
    first = torch.autograd.grad(y, leaves, dy, create_graph=True)
    torch.autograd.grad(first[0], [dy, *leaves], torch.randn_like(first[0]), allow_unused=True)


def main(name: str) -> int:
    refused = {row.reason for row in providers.report(("cuda",)) if row.provider == name and not row.serves}
    if refused or name not in providers.NAMES:
        print(f"{name} has no CUDA kernels: {'; '.join(refused) or 'there is no such provider'}")
        return 3
    layouts = (torch.contiguous_format, torch.channels_last)
    dtypes = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    with provider(name):
        for shape, layout, dtype in itertools.product(SHAPES, layouts, dtypes):
            x = torch.randn(shape, device="cuda").to(dtype).contiguous(memory_format=layout).requires_grad_()
            b = torch.randn(shape[1], device="cuda").to(dtype).requires_grad_()
            for act, clamp in (("lrelu", 1.0), ("swish", None), ("linear", None)):
                derivatives(bias_act(x, b, act=act, clamp=clamp), [x, b])
            for arguments, taps in itertools.product(RESAMPLING, ((4,), (4, 4), (3, 5))):
                derivatives(upfirdn2d(x, torch.rand(taps, device="cuda"), **arguments), [x])
    torch.cuda.synchronize()
    print(f"{name}: every kernel ran")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
