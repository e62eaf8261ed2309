"""No CUDA kernel of the built library spills a register, or takes more of a GPU than was written down."""

from __future__ import annotations

import json

from fastgan.ops import native
from tests.native import cuda_resources

BOUNDS = json.loads(cuda_resources.BOUNDS.read_text())


def test_resources(cuda_library):
    compiler, table = native.info["cuda_compiler"], cuda_resources.measure()
    bounds = {name: used for name, used in BOUNDS.get(compiler, {}).items() if name.split()[-1] in cuda_library}
    known = {name.split()[-1] for name in bounds}
    print(f"{compiler}: {len(table)} kernels; bounds are known for {' '.join(sorted(known)) or 'no target'}")
    for name, (registers, shared, spilled) in table.items():
        print(f"{name}: {registers} registers, {shared} bytes of shared memory, {spilled} spilled")
    for target in cuda_library:
        for op in ("affine_warp", "bias_act", "upfirdn2d", "conv2d", "epilogue", "filtered_lrelu", "gradient_penalty"):
            assert any(n.startswith(op) and n.endswith(f" {target}") for n in table), f"no {op} kernel for {target}"

    assert [name for name, used in table.items() if used[2] > 0] == []
    bounded = {name: used for name, used in table.items() if name.split()[-1] in known}
    assert set(bounds) == set(bounded), "the kernels changed: python -m tests.native.cuda_resources --write"
    grown = {n: (used, bounds[n]) for n, used in bounded.items() if used[0] > bounds[n][0] or used[1] > bounds[n][1]}
    assert grown == {}
