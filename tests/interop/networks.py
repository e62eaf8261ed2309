"""Small networks of every family to carry elsewhere, and their inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastgan.models import Styled, build

CLASSES = 3
NETWORKS = [
    f"{family}-{kind}-{part}" for family in ("stylegan2", "dcgan") for kind in ("plain", "cond") for part in "GD"
] + ["stylegan3-t-cond-G", "stylegan3-r-plain-G", "r3gan-cond-G", "r3gan-cond-D"]
SMALL = {
    "stylegan2": {"w_dim": 6, "mapping_layers": 2},
    "stylegan3-t": {"w_dim": 6, "layers": 4},
    "stylegan3-r": {"w_dim": 6, "layers": 4},
    "dcgan": {},
    "r3gan": {"group_size": 4},
}


class Quiet(nn.Module):
    """A generator with constant noise: what it makes can be compared."""

    def __init__(self, G: nn.Module) -> None:
        super().__init__()
        self.G = G
        self.fixed = {"noise_mode": "const"} if isinstance(G, Styled) else {}

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return self.G(z, c, **self.fixed)


def network(name: str) -> nn.Module:
    """One of NETWORKS, in evaluation mode; noise and moving averages are not the zeros that they start from."""
    family, kind, part = name.rsplit("-", 2)
    sizes = {"resolution": (16, 8), "channel_base": 64, "channel_max": 8, "z_dim": 6}
    _, G, D = build(family, **sizes, **SMALL[family], num_classes=CLASSES if kind == "cond" else 0)
    for key, value in (*G.named_parameters(), *G.named_buffers()):
        if "noise_strength" in key or "w_avg" in key:
            value.data.normal_()
    return (Quiet(G) if part == "G" else D).eval()


def inputs(name: str, n: int) -> tuple[Tensor, ...]:
    """z or images, and labels where there are classes, for a batch of n."""
    _, kind, part = name.rsplit("-", 2)
    first = torch.randn(n, 6) if part == "G" else torch.randn(n, 3, 16, 8)
    return (first, torch.eye(CLASSES)[torch.arange(n) % CLASSES]) if kind == "cond" else (first,)
