"""The roofs of a device, measured: a large copy and large matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from fastgan.bench.timing import Call, interleaved


@dataclass(frozen=True)
class Roofs:
    """What a device reached.

    Attributes:
        copy_rate: bytes/s of a copy from one buffer to another, read and written bytes counted.
        copy_bytes: size of each buffer.
        matmul_rates: FLOP/s of a square product, two a multiply-add, by dtype ("bfloat16" stands for both halves);
            float32 is not TF32.
        matmul_size: edge of the matrices.
        datasheet_copy_rate: bytes/s that the memory's clock and bus width make; None where the driver tells neither.
    """

    copy_rate: float
    copy_bytes: int
    matmul_rates: Mapping[str, float]
    matmul_size: int
    datasheet_copy_rate: float | None = None

    def copying(self, moved: int) -> float:
        """Milliseconds to read and write so many bytes."""
        return 1e3 * moved / self.copy_rate

    def multiplying(self, flops: int, dtype: torch.dtype) -> float:
        """Milliseconds of products of so many FLOPs, 0 for none."""
        return 1e3 * flops / self.matmul_rates[_product_dtype(dtype)] if flops else 0.0

    def floor(self, moved: int, flops: int, dtype: torch.dtype) -> float:
        """Milliseconds of what takes longer, with the other hidden behind it."""
        return max(self.copying(moved), self.multiplying(flops, dtype))


def measure_roofs(
    device: torch.device,
    dtypes: Iterable[torch.dtype],
    *,
    seconds: float = 1.0,
    stopwatch: Callable[[Call], float] | None = None,
    copy_bytes: int | None = None,
    matmul_size: int | None = None,
    datasheet_copy_rate: float | None = None,
) -> Roofs:
    """Measures the copy and the products of all dtypes.

    Args:
        device: where.
        dtypes: of the products.
        seconds: for each of them.
        stopwatch: as in `interleaved`.
        copy_bytes: size of each buffer; None takes 1 GiB on CUDA and 256 MiB on a CPU, far more than their caches.
        matmul_size: edge of the matrices; None takes 8192 on CUDA and 1024 on a CPU.
        datasheet_copy_rate: entered as it is.
    """
    cuda = device.type == "cuda"
    copy_bytes = copy_bytes or (1 << 30 if cuda else 1 << 28)
    matmul_size = matmul_size or (8192 if cuda else 1024)
    copy = _median(_copy(copy_bytes, device), seconds, stopwatch)
    products = {
        name: _median(_product(matmul_size, getattr(torch, name), device), seconds, stopwatch)
        for name in dict.fromkeys(map(_product_dtype, dtypes))
    }
    return Roofs(
        copy_rate=2 * copy_bytes / (1e-3 * copy),
        copy_bytes=copy_bytes,
        matmul_rates={name: 2 * matmul_size**3 / (1e-3 * median) for name, median in products.items()},
        matmul_size=matmul_size,
        datasheet_copy_rate=datasheet_copy_rate,
    )


def _product_dtype(dtype: torch.dtype) -> str:
    return str(torch.bfloat16 if dtype == torch.float16 else dtype).removeprefix("torch.")


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
