"""Names of the model families and how to build one."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from fastgan.choices import DATA_KINDS, MODELS, chosen, imported
from fastgan.config.fields import near
from fastgan.config.options import TrainingOptions

# More values than any network of the literature that trains on one machine; 4 GiB in float32.
LARGEST_NETWORK = 2**30


@dataclass(frozen=True)
class Family:
    """A family of models, and the game that they play.

    Args:
        name: the key in MODELS, or "module:attribute" of a family of one's own.
        config: frozen dataclass of the architecture; checks its own values.
        networks: name -> (config -> network), such as {"G": ..., "D": ...}, in the order in which they are initialised;
            each can be built without the others.
        options: dataclass of the training options with the family's defaults; inherits from `TrainingOptions`.
        data: which sets of images the game takes, a name of `choices.DATA_KINDS`.
        play: "module:attribute" of (networks, options, sets, device) -> `train.game.Game`.
        imports: published checkpoints that can be read, name -> "module:attribute" of their reader.
    """

    name: str
    config: type
    networks: Mapping[str, Callable[[Any], nn.Module]]
    options: type[TrainingOptions]
    data: str = "images"
    play: str = "fastgan.train.games.noise:play"
    imports: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.data not in DATA_KINDS:
            raise _unknown(f"data of the family {self.name}", self.data, DATA_KINDS)
        if not self.networks:
            raise ValueError(f"networks of the family {self.name} must name one at least")


def _unknown(what: str, given: object, choices: Iterable[str]) -> ValueError:
    choices = sorted(choices)
    return ValueError(f"{what} must be one of {', '.join(choices)}; got {given!r}{near(str(given), choices)}")


def family(name: str) -> Family:
    """The family called name, imported at this moment.

    Args:
        name: a key of MODELS, or "module:attribute" of a module that the program has imported: a name alone, as a
            checkpoint of unknown origin may hold it, runs no code.

    Returns:
        the family, called `name`.

    Raises:
        ValueError: no family has this name, or its module has not been imported.

    >>> family("stylegan2").name
    'stylegan2'
    """
    if isinstance(name, str) and name in MODELS:
        return chosen(MODELS, name)
    module, sign, attribute = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not sign:
        raise _unknown("model", name, MODELS)
    if module not in sys.modules:
        raise ValueError(
            f"model {name!r} is a family of a module that is not imported: import {module} first, or name it by "
            f"--cfg {name}"
        )
    found = getattr(sys.modules[module], attribute, None)
    if not isinstance(found, Family):
        raise ValueError(f"model {name!r}: {module} has no `fastgan.models.Family` called {attribute!r}")
    return dataclasses.replace(found, name=name)


def import_family(name: str) -> Family:
    """The family called name, after its module, if it is one of the user's own, has been imported, which runs its code.

    Raises:
        ValueError: there is no such module or family.
    """
    module, sign, _ = name.partition(":")
    if sign and module not in sys.modules:
        try:
            imported(f"{module}:__name__")
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            raise ValueError(f"model {name!r}: there is no module {module!r} here or among those installed") from error
    return family(name)


def configure(name: str, /, **overrides: object) -> Any:
    """The configuration of the family called name, with the fields of `overrides` set.

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
        network: one of `Family.networks`.
        config: the family's configuration.

    Raises:
        ValueError: it would hold more than 2^30 values.

    >>> layout(family("stylegan2").networks["G"], configure("stylegan2", resolution=1024)).num_ws
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


def build(name: str, /, **overrides: object) -> tuple[Any, ...]:
    """(configuration, *networks) of a family, such as (configuration, G, D), weights from torch's global generator.

    Args:
        name: as `family` takes it.
        overrides: fields of the family's configuration.

    Returns:
        the configuration, and the networks in the order in which the family names them.

    Raises:
        ValueError: unknown family, unknown field or impossible value; nothing has been built then.

    >>> cfg, G, D = build("stylegan2", resolution=16, channel_base=128, z_dim=8, w_dim=8)
    >>> G.num_ws
    6
    """
    config = configure(name, **overrides)
    makers = family(name).networks.values()
    for network in makers:
        layout(network, config)
    return (config, *(network(config) for network in makers))
