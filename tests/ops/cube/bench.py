"""What is measured of cube."""

from __future__ import annotations

from collections.abc import Iterator

from fastgan.bench.case import CPU_SHAPES, CUDA_SHAPES, Case, Shape
from tests.ops.cube.op import cube

SHAPES = {"cpu": CPU_SHAPES, "cuda": CUDA_SHAPES}


def cases(shape: Shape) -> Iterator[Case]:
    yield Case("cube", "gain 2", shape, shape, lambda i: cube(i.x, 2.0), {"pow": lambda i: 2 * i.x.pow(3)})
