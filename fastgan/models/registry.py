"""Names of the model families and how to build one."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from fastgan.choices import MODELS, chosen

# More values than any network of the literature that trains on one machine; 4 GiB in float32.
LARGEST_NETWORK = 2**30


@dataclass(frozen=True)
class Family:
    """A family of models.

    Args:
        name: the key in MODELS.
        config: frozen dataclass of the architecture; checks its own values.
        generator: config -> G.
        discriminator: config -> D.
        training: default training options of the family.
    """

    name: str
    config: type
    generator: Callable[[Any], nn.Module]
    discriminator: Callable[[Any], nn.Module]
    training: Mapping[str, object]


def _unknown(what: str, given: object, choices: Iterable[str]) -> ValueError:
    choices = sorted(choices)
    close = difflib.get_close_matches(str(given), choices, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return ValueError(f"{what} must be one of {', '.join(choices)}; got {given!r}{hint}")


def family(name: str) -> Family:
    """The family called name, imported at this moment.

    Raises:
        ValueError: no family has this name.

    >>> family("stylegan2").name
    'stylegan2'
    """
    if not isinstance(name, str) or name not in MODELS:
        raise _unknown("model", name, MODELS)
    return chosen(MODELS, name)


def configure(name: str, /, **overrides: object) -> Any:
    """The configuration of a family, with some of its fields set.

    Raises:
        ValueError: unknown family, unknown field or impossible value.

    >>> configure("stylegan2", resolution=32).resolution
    (32, 32)
    """
    config = family(name).config
    fields = {field.name for field in dataclasses.fields(config)}
    for key in overrides:
        if key not in fields:
            raise _unknown(f"field of {name}", key, fields)
    return config(**overrides)


def layout(network: Callable[[Any], nn.Module], config: Any) -> nn.Module:
    """The network on the meta device: every name and shape, no memory and no random number.

    Args:
        network: `Family.generator` or `Family.discriminator`.
        config: the family's configuration.

    Raises:
        ValueError: it would hold more than 2^30 values.

    >>> layout(family("stylegan2").generator, configure("stylegan2", resolution=1024)).num_ws
    18
    """
    with unset_fake_temporarily(), torch.device("meta"):  # a fake mode knows no tensor of the meta device
        laid_out = network(config)
    values = sum(tensor.numel() for tensor in (*laid_out.parameters(), *laid_out.buffers()))
    if values > LARGEST_NETWORK:
        raise ValueError(
            f"the network would hold {values:,} values, at most {LARGEST_NETWORK:,} are supported; "
            "lower its resolution, channels or layers"
        )
    return laid_out


def build(name: str, /, **overrides: object) -> tuple[Any, nn.Module, nn.Module]:
    """(configuration, G, D) of a family, weights initialised from torch's global generator.

    Args:
        name: a key of MODELS.
        overrides: fields of the family's configuration.

    Raises:
        ValueError: unknown family, unknown field or impossible value; nothing has been built then.

    >>> cfg, G, D = build("stylegan2", resolution=16, channel_base=128, z_dim=8, w_dim=8)
    >>> G.num_ws
    6
    """
    cfg = configure(name, **overrides)
    networks = (family(name).generator, family(name).discriminator)
    for network in networks:
        layout(network, cfg)
    G, D = (network(cfg) for network in networks)
    return cfg, G, D
