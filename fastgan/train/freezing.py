"""Layers of discriminators that stay as they are. Source: Mo et al. 2020 (FreezeD)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from fastgan.config.options import AdversarialOptions, TrainingOptions
from fastgan.models.protocols import Layered


def frozen_parameters(networks: Mapping[str, nn.Module], options: TrainingOptions) -> dict[str, list[nn.Parameter]]:
    """Network -> the parameters of its first `options.freezed` layers, counted from the image; none where it is 0.

    Raises:
        ValueError: no network tells its layers, or one has no more than that.
    """
    count = options.freezed if isinstance(options, AdversarialOptions) else 0
    if not count:
        return {}
    layers = {name: D.parameters_by_layer() for name, D in networks.items() if isinstance(D, Layered)}
    if not layers:
        raise ValueError(
            "freezed must be 0 for networks of which none tells its layers by fastgan.models.Layered, "
            f"got {count} and {', '.join(networks)}"
        )
    for name, each in layers.items():
        if count >= len(each):
            raise ValueError(
                f"freezed must be at most {len(each) - 1}, for {name} has {len(each)} layers and one must learn; "
                f"got {count}"
            )
    return {name: [parameter for layer in each[:count] for parameter in layer] for name, each in layers.items()}


def freeze(networks: Mapping[str, nn.Module], options: TrainingOptions) -> None:
    """No gradients for the frozen parameters of networks, which optimizers go on to hold: a run that branches off with
    others finds the moments of each where they were.
    """
    for parameters in frozen_parameters(networks, options).values():
        for parameter in parameters:
            parameter.requires_grad_(False)
