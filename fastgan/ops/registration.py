"""Registers an operator with torch: schema, shape function and autograd formula, once for every compiled provider."""

from __future__ import annotations

from collections.abc import Callable

import torch

LIBRARY = torch.library.Library("fastgan", "FRAGMENT")  # held for the life of the process: dropping it unregisters


def register(
    name: str, schema: str, fake: Callable, setup_context: Callable | None = None, backward: Callable | None = None
) -> None:
    """Define `fastgan::name` with its fake (shape) function and its autograd formula.

    An operator without `backward` raises when it is differentiated: torch would otherwise return wrong higher
    derivatives with no more than a warning.
    """
    LIBRARY.define(name + schema)
    torch.library.register_fake(f"fastgan::{name}", fake, lib=LIBRARY)

    def refuse(ctx, *grads):
        raise RuntimeError(
            f"fastgan::{name} is the last derivative that this operator has; it cannot be differentiated"
        )

    torch.library.register_autograd(f"fastgan::{name}", backward or refuse, setup_context=setup_context, lib=LIBRARY)
