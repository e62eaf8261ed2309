"""Which provider an operator takes where none is named, and what shows that it should.

A row is entered by hand from results of the benches: compiled kernels become a default where they have run on that kind
of device, agreed with the reference and were faster. Until then they are unproven there: served by name only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

_ALL = ("float32", "float64", "float16", "bfloat16")


@dataclass(frozen=True)
class Default:
    """One row of the table.

    Attributes:
        op: operator name.
        device: device type.
        dtypes: of the input.
        order: providers, the first that can serve is taken; the reference, which always can, needs no mention.
        provenance: where it was measured, and on what.
    """

    op: str
    device: str
    dtypes: tuple[str, ...]
    order: tuple[str, ...]
    provenance: str


_SHAPES = "fastgan/ops/registration.py: tensors without values"
_CPU = "bench/results/cpu_targets.json: Intel Xeon with AVX-512, 2 cores"

DEFAULTS = (
    Default("bias_act", "cpu", _ALL, ("native",), _CPU),
    Default(
        "conv2d_layer", "cpu", _ALL, ("native",), "bench/results/cpu_layers.json: Intel Xeon with AVX-512, 2 cores"
    ),
    Default("upfirdn2d", "cpu", _ALL, ("native",), _CPU),
    *(Default(op, "meta", _ALL, ("native",), _SHAPES) for op in ("bias_act", "conv2d_layer", "upfirdn2d")),
)

_by_call = {(row.op, row.device, dtype): row for row in DEFAULTS for dtype in row.dtypes}


def default_for(op: str, device: str, dtype: torch.dtype) -> Default | None:
    """The row for a call, or None where nothing but the reference is proven."""
    return _by_call.get((op, device, str(dtype).removeprefix("torch.")))
