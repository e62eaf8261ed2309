"""The compositions in bench/ that upfirdn2d is timed against compute what it computes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from fastgan.ops import provider, setup_filter, upfirdn2d

PATH = Path(__file__).resolve().parents[2] / "bench" / "torch_compositions.py"
spec = importlib.util.spec_from_file_location("torch_compositions", PATH)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

ARGUMENTS = {
    "up 2": {"up": 2, "padding": [2, 1, 2, 1], "gain": 4},
    "down 2": {"down": 2, "padding": 1},
    "filter": {"padding": [2, 1, 2, 1]},
}
WAYS = [(kind, way) for kind, ways in module.COMPOSITIONS.items() for way in ways]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels_last"])
@pytest.mark.parametrize(("kind", "way"), WAYS, ids=[f"{kind}-{way}" for kind, way in WAYS])
def test_a_composition_gives_what_upfirdn2d_gives(kind, way, memory_format):
    x = torch.randn(2, 3, 6, 10, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=memory_format)
    with provider("reference"):
        expected = upfirdn2d(x, setup_filter([1, 3, 3, 1]), **ARGUMENTS[kind])
    torch.testing.assert_close(module.COMPOSITIONS[kind][way](x), expected, rtol=1e-5, atol=1e-6)
