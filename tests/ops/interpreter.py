"""Provider "interpreter": Triton's kernels on CPU tensors, run by Triton's interpreter.

What a GPU would launch, with larger tiles: a program costs some milliseconds here, whatever its size. Triton decides
when it is imported whether it interprets: tests/conftest.py sets TRITON_INTERPRET before anything else can import it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from unittest import mock

import numpy as np

from fastgan.ops import providers, triton_provider
from fastgan.ops.operator import Provider, add_provider

NAME = "interpreter"
ELEMENTS = 2**14  # of a tile

unavailable = triton_provider.unavailable or (
    None if os.environ.get("TRITON_INTERPRET") == "1" else "Triton compiles for the GPU of this machine"
)  # the reason, or None


def _register() -> None:
    from fastgan.kernels import conv2d_launch, launch

    for key, tile in launch.TILES.items():
        launch.TILES[key] = dataclasses.replace(tile, elements=ELEMENTS)
    for key, block in conv2d_launch.BLOCKS.items():
        conv2d_launch.BLOCKS[key] = dataclasses.replace(block, rows=128, columns=64, depth=64)
    add_provider(Provider(NAME, {"CPU": "triton"}, lambda device, dtype: None))


if unavailable is None:
    _register()


def _widening(dot):
    """The interpreter's product, which takes bfloat16 for integers: of the same numbers as float32."""
    import triton.language as tl

    def product(builder, a, b, *rest):
        if a.dtype.scalar == tl.bfloat16:
            a, b = (builder.cast_impl(factor, tl.float32) for factor in (a, b))
        return dot(builder, a, b, *rest)

    return product


@contextlib.contextmanager
def selected(overflow_checks: bool = False) -> Iterator[None]:
    """Every operator by the interpreter, whose arithmetic is numpy's, without numpy's warnings.

    Args:
        overflow_checks: check every sum and product of 32-bit integers, which takes four times as long.
    """
    from triton.runtime.interpreter import InterpreterBuilder, interpreter_builder

    options = dataclasses.replace(interpreter_builder.options, sanitize_overflow=overflow_checks)
    with (
        mock.patch.object(providers, "NAMES", (*providers.NAMES, NAME)),
        mock.patch.object(interpreter_builder, "options", options),
        mock.patch.object(InterpreterBuilder, "create_dot", _widening(InterpreterBuilder.create_dot)),
        providers.provider(NAME),
        np.errstate(all="ignore"),
    ):
        yield
