"""A network in evaluation mode, beside the same network in training."""

from __future__ import annotations

import copy
import types
from typing import Any, cast

import torch
from torch import nn


def evaluation_view(module: nn.Module) -> Any:
    """module.eval() without touching module: a second tree of modules over the same parameters and buffers.

    The view costs no memory for weights and always shows those of now: it is made of the module's own tables of
    parameters and buffers. Do not cast, move or freeze it: that would cast, move or freeze the module. Modes, hooks
    that are added later and attributes that a forward pass sets stay the view's own, so that another thread may train
    the module meanwhile. Attributes that refer to modules of the tree, alone, as bound methods, or in lists, tuples and
    dicts, refer to their views. Compiled modules (`torch.compile`) are seen as what they were compiled from.

    Args:
        module: any network.

    Returns:
        a module of the same class, in evaluation mode all through.

    Raises:
        ValueError: a part in training mode is a TorchScript module, which has one mode for all who use it.

    >>> network = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    >>> view = evaluation_view(network)
    >>> view[1].training, network[1].training, view[0].weight is network[0].weight
    (False, True, True)
    """
    views: dict[int, nn.Module] = {}
    top = _twin(module, views)
    for view in views.values():
        table = vars(view)
        table.update({name: _viewed(value, views) for name, value in table.items() if name not in _TABLES})
    return top


_TABLES = ("_parameters", "_buffers", "_modules")


def _twin(module: nn.Module, views: dict[int, nn.Module]) -> nn.Module:
    """The view of a module, its attributes still those of the original; views holds it by the original's id."""
    if id(module) in views:
        return views[id(module)]
    if isinstance(module, torch.jit.ScriptModule):
        if module.training:
            raise ValueError(f"{type(module).__name__} is a TorchScript module in training mode; call its eval() first")
        return module
    if "_orig_mod" in module._modules:  # what torch.compile returns
        views[id(module)] = _twin(cast(nn.Module, module._modules["_orig_mod"]), views)
        return views[id(module)]
    twin = views[id(module)] = object.__new__(type(module))
    hooks = {name: copy.copy(table) for name, table in vars(module).items() if name.endswith("_hooks")}
    vars(twin).update(vars(module) | hooks, training=False, _compiled_call_impl=None)
    vars(twin)["_modules"] = {
        name: child if child is None else _twin(child, views) for name, child in module._modules.items()
    }
    return twin


def _viewed(value: Any, views: dict[int, nn.Module]) -> Any:
    """value, with views in the place of the modules that it refers to."""
    if isinstance(value, nn.Module):
        return views.get(id(value), value)
    if isinstance(value, types.MethodType):
        owner = views.get(id(value.__self__))
        return value if owner is None else types.MethodType(value.__func__, owner)
    kind: Any = type(value)
    if kind not in (list, tuple, dict):
        return value
    before = list(value.values() if kind is dict else value)
    after = [_viewed(each, views) for each in before]
    if all(one is other for one, other in zip(before, after, strict=True)):
        return value  # the same object: a forward pass may write into it
    return kind(zip(value, after, strict=True) if kind is dict else after)
