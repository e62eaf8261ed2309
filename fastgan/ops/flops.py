"""What torch's flop counter is told of compiled operators: it sees one call, not the products inside."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

_COUNTER = "torch.utils.flop_counter"  # imports Triton, where that is installed: seconds that few programs need

# operator -> (*its arguments, out_val) -> products and sums, 2 for each product.
_formulas: dict[Any, Callable[..., int]] = {}


def enter_flops(operator: Any, formula: Callable[..., int]) -> None:
    """Tell torch.utils.flop_counter what a call of `torch.ops.fastgan.<operator>` computes, once that is imported."""
    _formulas[operator] = formula
    if _COUNTER in sys.modules:
        _register(operator)


def _register(operator: Any) -> None:
    importlib.import_module(_COUNTER).register_flop_formula(operator, get_raw=True)(_formulas[operator])


class _WhenImported:
    """A finder that leaves finding to the others, and registers the formulas when the module has been run."""

    _asking = False  # the other finders, by way of importlib, which asks this one too

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != _COUNTER or self._asking:
            return None
        self._asking = True
        try:
            spec: Any = importlib.util.find_spec(name)
        finally:
            self._asking = False
        run = spec.loader.exec_module

        def run_and_register(module: Any) -> None:
            sys.meta_path.remove(self)
            run(module)
            for operator in _formulas:
                _register(operator)

        spec.loader.exec_module = run_and_register
        return spec


if _COUNTER not in sys.modules:
    sys.meta_path.insert(0, _WhenImported())
