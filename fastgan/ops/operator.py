"""What an operator is: one description each, in OPERATORS, that everything which goes over operators reads.

`OPERATORS["blur"] = Operator("blur", ...)` registers it: its torch operators for every provider that has kernels of it,
its row in `fastgan doctor`, its benches, and the tests that run over all operators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fastgan.ops.registration import LIBRARY

ALL_DTYPES = ("float32", "float64", "float16", "bfloat16")


@dataclass(frozen=True)
class Provider:
    """Whose kernels compute operators.

    Attributes:
        name: what `fastgan.provider` takes; the suffix of the torch operators.
        kernels: key of torch's dispatcher ("CPU", "CUDA") -> what serves there: "cpu" (C++), "cuda" or "triton".
        refusal: (device type, dtype) -> why it cannot serve such tensors, or None.
    """

    name: str
    kernels: Mapping[str, str]
    refusal: Callable[[str, torch.dtype], str | None]


@dataclass(frozen=True)
class Default:
    """Which providers serve an operator where none is named, and what shows that they should.

    It is entered by hand from results of the benches: compiled kernels become a default where they have run on that
    kind of device, agreed with the reference and were faster. Until then they are unproven there: served by name only.

    Attributes:
        device: device type.
        order: providers, the first that can serve is taken; the reference, which always can, needs no mention.
        provenance: "file of results: what they were measured on".
        dtypes: of the input.
    """

    device: str
    order: tuple[str, ...]
    provenance: str
    dtypes: tuple[str, ...] = ALL_DTYPES


# The meta device has shapes alone: no kernel runs there.
_META = Default("meta", ("native",), "fastgan/ops/registration.py: tensors without values")


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator.

    Attributes:
        name: of its folder, of what is found by it (csrc/<name>, tests/ops/cases_<name>.py) and in tables.
        example: makes a small call on the CPU, which `fastgan doctor` compares with the reference.
        kernels: which there are of "cpu" (C++), "cuda" and "triton"; the reference always is.
        register: (provider's name, its kernels) -> what the public function calls. Registers the torch operators
            `<...>_<provider>` that have a derivative; see `registration.register`.
        schemas: name -> schema of torch operators without one, registered as `<name>_<provider>`.
        triton: name of a torch operator -> the function that launches Triton's kernels for it.
        refusal: (what `register` returned, detail) -> why the kernels cannot serve a call, or None. `detail` is what
            the public function hands to `providers.choose`, "" where the question is a general one.
        defaults: where which provider serves unless one is named.
        bench: the module that says what `fastgan bench` measures (see `fastgan.bench.cases`); None: named as this.
        registered: provider's name -> what `register` returned.
        providers: by name, those that have kernels.
        rows: (device type, dtype) -> the default that holds there.
        lacking: (provider's name, device type) -> why, where it has kernels of others alone.
    """

    name: str
    example: Callable[[], Tensor]
    kernels: tuple[str, ...] = ()
    register: Callable[[str, Mapping[str, str]], Any] | None = None
    schemas: Mapping[str, str] = field(default_factory=dict)
    triton: Mapping[str, Callable] = field(default_factory=dict)
    refusal: Callable[[Any, str], str | None] | None = None
    defaults: tuple[Default, ...] = ()
    bench: str | None = None
    registered: dict[str, Any] = field(default_factory=dict, init=False)
    providers: dict[str, Provider] = field(default_factory=dict, init=False)
    rows: dict[tuple[str, str], Default] = field(default_factory=dict, init=False)
    lacking: dict[tuple[str, str], str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for row in (*self.defaults, *([_META] if "cpu" in self.kernels else [])):
            for dtype in row.dtypes:
                if (row.device, dtype) in self.rows:
                    raise ValueError(f"{self.name} has two defaults for {dtype} on {row.device}")
                self.rows[row.device, dtype] = row
        for provider in PROVIDERS.values():
            self.serve(provider)

    def serve(self, provider: Provider) -> None:
        """Register the torch operators of a provider, where there are kernels for it.

        Raises:
            ValueError: there are kernels and nothing that registers them.
        """
        if not set(provider.kernels.values()) & set(self.kernels):
            return
        if self.register is None:
            raise ValueError(f"{self.name} has {', '.join(self.kernels)} kernels, and no register")
        for name, schema in self.schemas.items():
            LIBRARY.define(f"{name}_{provider.name}{schema}")
        self.registered[provider.name] = self.register(provider.name, provider.kernels)
        for key, kind in provider.kernels.items():
            if kind not in self.kernels:
                self.lacking[provider.name, key.lower()] = f"{self.name} has no {kind} kernels"
            for name, function in self.triton.items() if kind == "triton" else ():
                LIBRARY.impl(f"{name}_{provider.name}", function, key)
        self.providers[provider.name] = provider


OPERATORS: dict[str, Operator] = {}
PROVIDERS: dict[str, Provider] = {}


def add_provider(provider: Provider) -> None:
    """Let a provider serve all operators that it has kernels of, those that are described later too."""
    PROVIDERS[provider.name] = provider
    for operator in OPERATORS.values():
        operator.serve(provider)
