"""Triton's kernels of cube."""

import triton
import triton.language as tl


@triton.jit
def cube_forward_kernel(x, y, gain, numel, BLOCK: tl.constexpr):
    """y = gain·x³: reads x, writes y."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + i, mask=i < numel)
    tl.store(y + i, v * v * v * gain, mask=i < numel)


@triton.jit
def cube_backward_kernel(dy, x, dx, gain, numel, BLOCK: tl.constexpr):
    """dx = 3·gain·x²·dy: reads dy and x, writes dx."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v, g = tl.load(x + i, mask=i < numel), tl.load(dy + i, mask=i < numel)
    tl.store(dx + i, 3 * v * v * g * gain, mask=i < numel)
