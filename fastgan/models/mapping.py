"""The mapping network of the StyleGAN families. Source: Karras et al. 2019 and 2020; labels: Karras et al. 2020a."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from fastgan.models.inputs import as_labels, as_latents
from fastgan.nn import EqualizedLinear, pixel_norm
from fastgan.ops.arguments import number, sizes


class MappingNetwork(nn.Module):
    """w = MLP(normalise(z), normalise(E c)), with the moving average w_avg of w.

    Args:
        z_dim: length of z; 0: a function of the label alone.
        num_classes: length of c; 0: a function of z alone.
        w_dim: length of w.
        layers: dense lrelu layers of lr_multiplier 0.01.
        num_ws: rows that w is repeated to.
        w_avg_beta: decay of w_avg; None: no w_avg is kept.
        style_mixing: probability of mixing in training mode.

    Attributes: z_dim, c_dim (= num_classes), w_dim, num_ws.
    """

    w_avg: Tensor | None

    def __init__(
        self,
        z_dim: int,
        num_classes: int,
        w_dim: int,
        layers: int,
        num_ws: int = 1,
        *,
        w_avg_beta: float | None = None,
        style_mixing: float = 0.0,
    ) -> None:
        super().__init__()
        self.z_dim, self.num_classes, self.w_dim, self.num_ws = z_dim, num_classes, w_dim, num_ws
        self.c_dim = num_classes
        self.w_avg_beta, self.style_mixing = w_avg_beta, style_mixing
        self.embed = EqualizedLinear(num_classes, w_dim) if num_classes > 0 else None
        widths = [z_dim + (w_dim if num_classes > 0 else 0)] + [w_dim] * layers
        self.layers = nn.ModuleList(
            EqualizedLinear(i, o, act="lrelu", lr_multiplier=0.01) for i, o in zip(widths, widths[1:], strict=False)
        )
        self.register_buffer("w_avg", None if w_avg_beta is None else torch.zeros(w_dim))

    def w(self, z: Tensor | None, c: Tensor | None) -> Tensor:
        """z [N, z_dim], c [N, num_classes] -> w [N, w_dim], of checked arguments."""
        parts = [] if z is None else [pixel_norm(z)]
        if self.embed is not None:
            assert c is not None
            parts.append(pixel_norm(self.embed(c)))
        x = torch.cat(parts, dim=1)
        for layer in self.layers:
            x = layer(x)
        return x

    def mix(self, ws: Tensor, c: Tensor | None) -> Tensor:
        """With probability style_mixing, replace the rows from a random cut-off on by those of a second z.

        One cut-off serves the batch, uniform in 1…num_ws - 1; shapes do not depend on it.
        """
        cutoff = torch.randint(1, self.num_ws, [], device=ws.device)
        mixed = torch.rand([], device=ws.device) < self.style_mixing
        second = self.w(torch.randn(ws.shape[0], self.z_dim, device=ws.device, dtype=ws.dtype), c)
        replaced = (torch.arange(self.num_ws, device=ws.device) >= cutoff) & mixed
        return torch.where(replaced[None, :, None], second[:, None, :], ws)

    def truncate(self, ws: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
        """lerp(w_avg, ws, psi) on the first cutoff rows (None: all). Source: Karras et al. 2019, section 4."""
        if self.w_avg is None:
            raise ValueError("truncation_psi must be 1 for a mapping network without w_avg")
        cutoff = self.num_ws if cutoff is None else cutoff
        ws = ws.to(self.w_avg.dtype)  # under autocast ws is in half precision
        return torch.cat([self.w_avg.lerp(ws[:, :cutoff], psi), ws[:, cutoff:]], dim=1)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
    ) -> Tensor:
        """ws = repeat(w), mixed in training mode, then lerp(w_avg, ws, psi) on the first rows.

        Args:
            z: latents [N, z_dim]; of another dtype they are cast, arrays and lists are taken too.
            c: labels [N, num_classes], one-hot or vectors, likewise; None where there are none.
            truncation_psi: 1: no truncation; 0: w_avg.
            truncation_cutoff: number of truncated rows; None: all.
            update_emas: move w_avg towards the batch mean of w.

        Returns:
            ws [N, num_ws, w_dim].

        Raises:
            ValueError, TypeError: z or c has the wrong shape, dtype or device, or the cut-off is none of 0 ... num_ws.
        """
        like = cast(Tensor, self.layers[0].bias)
        psi, cutoff = number("truncation_psi", truncation_psi), truncation_cutoff
        if cutoff is not None and (not hasattr(cutoff, "__index__") or not 0 <= cutoff <= self.num_ws):
            raise ValueError(f"truncation_cutoff must be an integer from 0 to {self.num_ws} or None, got {cutoff!r}")
        z = as_latents(z, self.z_dim, like)
        c = as_labels(c, sizes(z)[0], self.num_classes, like)
        w = self.w(z, c)
        if update_emas and self.w_avg is not None and self.w_avg_beta is not None:
            self.w_avg.lerp_(w.detach().mean(dim=0).to(self.w_avg.dtype), 1 - self.w_avg_beta)
        ws = w[:, None, :].repeat(1, self.num_ws, 1)
        if self.training and self.style_mixing > 0:
            ws = self.mix(ws, c)
        return ws if psi == 1 else self.truncate(ws, psi, cutoff)
