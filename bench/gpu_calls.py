"""Every kernel of one provider, at small and odd sizes: what bench/gpu.sh runs under compute-sanitizer.

python bench/gpu_calls.py native|triton [LAYOUTS], with the checkout in PYTHONPATH: `tests/ops/coverage.py` makes the
calls of every operator, names the layouts by letters and shows on the CPU that no kernel is left out, with and without
what only compute capability 9.0 has. Triton compiles
for each dtype, so that it gets two of them. Exits with 3 if the provider has no CUDA kernels here.
"""

from __future__ import annotations

import sys

import torch

from fastgan.ops import provider, providers
from tests.ops.cases import DTYPES
from tests.ops.coverage import LAYOUTS, calls
from tests.ops.operators import CALLS

TRITON_DTYPES = [torch.float32, torch.bfloat16]


def main(name: str, layouts: str = "".join(LAYOUTS)) -> int:
    refused = {row.reason for row in providers.report(("cuda",)) if row.provider == name and not row.serves}
    if not torch.cuda.is_available():
        refused = {"torch sees no CUDA device"}
    if refused or name not in providers.NAMES:
        print(f"{name} has no CUDA kernels here: {'; '.join(refused) or 'there is no such provider'}")
        return 3
    with provider(name):
        for dtype in TRITON_DTYPES if name == "triton" else DTYPES:
            for layout in layouts:
                calls(dtype, layout, "cuda", cuda=name == "native")
            empty = torch.randn(0, 3, 6, 4, device="cuda").to(dtype).requires_grad_()
            b, w = torch.randn(3, device="cuda"), torch.randn(4, 3, 3, 3, device="cuda")
            for call in CALLS.values():
                torch.autograd.grad(call(empty, b, w).sum(), empty)
    torch.cuda.synchronize()
    print(f"{name}: every kernel ran, in layouts {layouts}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
