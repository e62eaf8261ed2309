"""Which tests of kernels are left out, for another test shows the same."""

from __future__ import annotations

import pytest
import torch

from tests.ops import cases_bias_act, cases_filtered_lrelu, cases_gradient_penalty, cases_upfirdn2d

# About many programs, or the same kernel with other constants, not about what each computes.
LONG = (
    cases_bias_act.SHAPES["long"],
    cases_upfirdn2d.CASES["long"],
    cases_gradient_penalty.SHAPES["long"],
    *(case for name, case in cases_filtered_lrelu.CASES.items() if name not in ("identity", "up3-down2", "even-odd")),
)
# About tiles of compiled kernels, which Triton's has not.
TILED = tuple(cases_filtered_lrelu.CASES[name] for name in ("taps32", "wide", "tall", "channels33", "stylegan3-up"))
SEEDS = 3  # of random arguments
# Which show fp64 and fp16 on a GPU.
SHOWN = (
    cases_bias_act.SHAPES["odd"],
    cases_upfirdn2d.CASES["separable4"],
    cases_filtered_lrelu.CASES["stylegan3"],
)


def repeats(item: pytest.Item) -> bool:
    """Whether a test would show nothing more of a GPU's kernels than another one.

    `strided` is copied before a kernel sees it. In the interpreter, a thousand times slower than what it stands for,
    fp32 and bf16 show channels_last for all, and the long cases run in fp32, contiguous: not by finite differences, of
    which each takes minutes; of random arguments a few seeds run. filtered_lrelu under the shim shows its layouts
    likewise. On a GPU, where each variant has to be compiled, one contiguous shape of each operator shows fp64, fp16.

    Args:
        item: a collected test. Its parameters tell what it is about: a provider's name and a dtype by their values,
            `memory_format`, `case` and `shape` by their names.
    """
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    names = {value for value in parameters.values() if isinstance(value, str)}
    dtypes = {value for value in parameters.values() if isinstance(value, torch.dtype)}
    layout, case = parameters.get("memory_format"), parameters.get("case", parameters.get("shape"))
    rare = bool(dtypes & {torch.float64, torch.float16})
    if "interpreter" in names:
        plain = torch.float32 in dtypes and layout == "contiguous"
        seed = parameters.get("seed")
        again = (isinstance(seed, int) and seed >= SEEDS) or case in TILED
        return layout == "strided" or (rare and layout == "channels_last") or (case in LONG and not plain) or again
    if "shim" in names and case in cases_filtered_lrelu.CASES.values():
        return layout == "strided" or (rare and layout == "channels_last")
    if "triton" in names and item.get_closest_marker("gpu"):
        return layout == "strided" or (rare and not (layout == "contiguous" and case in SHOWN))
    return False
