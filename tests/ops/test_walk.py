"""How many files someone reads on the way from a public function to its kernel."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import fastgan

PACKAGE = Path(fastgan.__file__).parent


def entered(call) -> list[str]:
    """The files of the package that have a function which `call` comes through, in that order."""
    files: dict[str, None] = {}

    def note(frame, event, argument):
        file = Path(frame.f_code.co_filename)
        if PACKAGE in file.parents:
            files[str(file.relative_to(PACKAGE))] = None

    call()  # what the first call alone does is no part of the way
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return list(files)


@pytest.mark.parametrize("sampling", [{}, {"up": 2}, {"down": 2}], ids=["same size", "up", "down"])
def test_a_layer_is_eight_files_from_its_kernels(native_provider, sampling):
    x, w = torch.randn(2, 16, 8, 8), torch.randn(16, 16, 3, 3, requires_grad=True)
    f = fastgan.setup_filter([1, 3, 3, 1]) if sampling else None
    arguments = {"padding": 1, "resample_filter": f, "b": torch.zeros(16), "act": "lrelu", **sampling}
    files = entered(lambda: fastgan.modulated_conv2d(x, w, torch.rand(2, 16), **arguments))
    assert files[0] == "ops/conv2d_layer/op.py" and files[-1] == "ops/conv2d_layer/passes.py"
    assert len(files) == 8, files


@pytest.mark.parametrize(("name", "most"), [("bias_act", 4), ("upfirdn2d", 5)])
def test_other_operators_are_nearer(native_provider, name, most):
    from tests.ops.operators import CALLS

    call = CALLS["lrelu" if name == "bias_act" else name]
    x, b, w = torch.randn(2, 3, 6, 4), torch.randn(3), torch.randn(4, 3, 3, 3)
    files = entered(lambda: call(x, b, w))
    assert f"ops/{name}/op.py" in files and len(files) <= most, files
