"""The two roofs of a device, measured: a large copy and a large matrix product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from fastgan.bench.timing import Call, interleaved


@dataclass(frozen=True)
class Roofs:
    """What a device reached.

    Attributes:
        copy_rate: bytes/s of a copy from one buffer to another, read and written bytes counted.
        copy_bytes: size of each buffer.
        matmul_rate: FLOP/s of a square product, two a multiply-add.
        matmul_size: edge of the matrices.
        matmul_dtype: bfloat16 on CUDA, float32 on a CPU.
        datasheet_copy_rate: bytes/s that the memory's clock and bus width make; None where the driver tells neither.
    """

    copy_rate: float
    copy_bytes: int
    matmul_rate: float
    matmul_size: int
    matmul_dtype: str
    datasheet_copy_rate: float | None = None


def measure_roofs(
    device: torch.device,
    *,
    seconds: float = 1.0,
    stopwatch: Callable[[Call], float] | None = None,
    copy_bytes: int | None = None,
    matmul_size: int | None = None,
    datasheet_copy_rate: float | None = None,
) -> Roofs:
    """Measures both roofs.

    Args:
        device: where.
        seconds: for each of both.
        stopwatch: as in `interleaved`.
        copy_bytes: size of each buffer; None takes 1 GiB on CUDA and 256 MiB on a CPU, far more than their caches.
        matmul_size: edge of the matrices; None takes 8192 on CUDA and 1024 on a CPU.
        datasheet_copy_rate: entered as it is.
    """
    cuda = device.type == "cuda"
    copy_bytes = copy_bytes or (1 << 30 if cuda else 1 << 28)
    matmul_size = matmul_size or (8192 if cuda else 1024)
    dtype = torch.bfloat16 if cuda else torch.float32
    copy = _median(_copy(copy_bytes, device), seconds, stopwatch)
    matmul = _median(_product(matmul_size, dtype, device), seconds, stopwatch)
    return Roofs(
        copy_rate=2 * copy_bytes / (1e-3 * copy),
        copy_bytes=copy_bytes,
        matmul_rate=2 * matmul_size**3 / (1e-3 * matmul),
        matmul_size=matmul_size,
        matmul_dtype=str(dtype).removeprefix("torch."),
        datasheet_copy_rate=datasheet_copy_rate,
    )


def _copy(size: int, device: torch.device) -> Call:
    source = torch.randint(256, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _product(size: int, dtype: torch.dtype, device: torch.device) -> Call:
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=product)


def _median(call: Call, seconds: float, stopwatch: Callable[[Call], float] | None) -> float:
    return interleaved({"roof": call}, seconds=seconds, stopwatch=stopwatch)["roof"].median
