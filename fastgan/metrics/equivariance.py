"""How well a generator's picture follows its input: EQ-T and EQ-R.

Source: Karras et al. 2021 (StyleGAN3), section 2.2 and appendix E.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.config.fields import check_choice, check_int
from fastgan.metrics.evaluation import GeneratorMetric
from fastgan.models.protocols import Movable
from fastgan.models.transforms import placement
from fastgan.nn.evaluation import evaluation_view
from fastgan.nn.lowpass import jinc

RANGE = 2.0  # of images in [-1, 1]
_FARTHEST = 1 / 8  # of the image
_LOBES = 3  # of Lanczos's filter
_RADIUS = 6  # pixels, of the filter that turns images

# What is compared: a moved image, the image of a moved input, [C, H, W], and [H, W]: which pixels both know.
Pair = tuple[Tensor, Tensor, Tensor]


@torch.no_grad()
def equivariance(
    G: Movable,
    figures: tuple[str, ...] = ("eqt", "eqt_frac", "eqr"),
    *,
    images: int = 1000,
    batch: int = 16,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> dict[str, float]:
    """PSNR = 10·log10(2² / E[(G moved - move(G))²]) over images, movements, channels and pixels that both know.

    Images are made without noise, which stays where it is by design.

    "eqt": translations by whole pixels; "eqt_frac": by fractions, where images are moved by Lanczos's filter of three
    lobes; "eqr": rotations. Translations are uniform within an eighth of the image both ways, angles in a turn. An
    image is turned by a filter that passes a disc of frequencies, the largest that every turned image has whole, and
    that the other image passes too: corners of the spectrum are not compared, while the paper keeps what the two share
    of them.

    Args:
        G: the generator; its mode and its averages are left alone.
        figures: which to measure, on the same images.
        images: that are drawn, with labels uniform over classes.
        batch: images made at once.
        seed: of latents, labels and movements, which depend on it, `images` and `batch` alone.
        device: where G is; None: where its first weight is.

    Returns:
        figure -> dB, infinite where nothing differs.

    Raises:
        ValueError: an unknown figure, images or batch below 1, or images too small for the filters.
    """
    for figure in figures:
        check_choice("figures", figure, tuple(MOVEMENTS))
    check_int("images", images, 1)
    check_int("batch", batch, 1)
    view: Any = evaluation_view(G)
    device = torch.device(device) if device is not None else next(G.parameters()).device
    errors = dict.fromkeys(figures, 0.0)
    generator = torch.Generator().manual_seed(seed)
    for count in (min(batch, images - first) for first in range(0, images, batch)):
        z = torch.randn(count, G.z_dim, generator=generator, device="cpu")
        numbers = {figure: torch.rand(count, 2, generator=generator, device="cpu") for figure in MOVEMENTS}
        c = None
        if G.num_classes:
            drawn = torch.randint(G.num_classes, [count], generator=generator, device="cpu")
            c = F.one_hot(drawn, G.num_classes).float().to(device)
        ws = view.mapping(z.to(device), c)

        def moved(transform: Tensor, ws: Tensor = ws) -> Tensor:
            return view.synthesis(ws, "none", None, transform.to(ws)).float()

        still = view.synthesis(ws, "none").float()
        for figure in figures:
            for x, y, known in MOVEMENTS[figure](still, moved, numbers[figure]):
                if not known.any():
                    raise ValueError(f"G makes images of {list(x.shape)}, of which {figure} leaves no pixel to compare")
                errors[figure] += (x - y)[:, known].double().square().mean().item()
    return {figure: _decibels(error / images) for figure, error in errors.items()}


def _decibels(error: float) -> float:
    return 10 * math.log10(RANGE**2 / error) if error > 0 else math.inf


def _shifts(still: Tensor, numbers: Tensor) -> Tensor:
    """(x, y) in pixels, [N, 2], of numbers in [0, 1)."""
    return (2 * numbers - 1) * _FARTHEST * torch.tensor([still.shape[3], still.shape[2]])


def _translated(still: Tensor, moved: Callable[[Tensor], Tensor], shifts: Tensor) -> Tensor:
    side = max(still.shape[2:])
    return moved(torch.stack([placement((x / side, y / side)) for x, y in shifts.tolist()]))


def _by_whole_pixels(still: Tensor, moved: Callable[[Tensor], Tensor], numbers: Tensor) -> Iterator[Pair]:
    shifts = _shifts(still, numbers).round()
    for x, y, (dx, dy) in zip(still, _translated(still, moved, shifts), shifts.int().tolist(), strict=True):
        yield x.roll((dy, dx), dims=(1, 2)), y, _inside(x, dx, dy)


def _by_fractions(still: Tensor, moved: Callable[[Tensor], Tensor], numbers: Tensor) -> Iterator[Pair]:
    shifts = _shifts(still, numbers)
    for x, y, (dx, dy) in zip(still, _translated(still, moved, shifts), shifts.tolist(), strict=True):
        yield lanczos_shift(x, dx, dy), y, _inside(x, dx, dy, _LOBES)


def _inside(x: Tensor, dx: float, dy: float, margin: int = 0) -> Tensor:
    """[H, W]: pixels that come from inside of an image moved by (dx, dy), by `margin` pixels from its border."""
    rows, columns = (torch.arange(length, device=x.device) for length in x.shape[1:])
    masks = []
    for places, shift, length in ((rows, dy, len(rows)), (columns, dx, len(columns))):
        masks.append((places - shift >= margin) & (places - shift <= length - 1 - margin))
    return masks[0][:, None] & masks[1]


def lanczos_shift(x: Tensor, dx: float, dy: float) -> Tensor:
    """x [C, H, W] moved right by dx and down by dy pixels: Lanczos's filter of three lobes; outside is zero."""
    for dim, shift in ((2, dx), (1, dy)):
        whole = math.floor(shift)
        taps = torch.arange(-_LOBES, _LOBES + 1, dtype=torch.float64, device=x.device)
        t = taps - (shift - whole)
        f = torch.sinc(t) * torch.sinc(t / _LOBES) * (t.abs() < _LOBES)
        f = (f / f.sum()).to(x.dtype)
        length = x.shape[dim]
        padded = F.pad(x.movedim(dim, 2), (_LOBES + max(whole, 0), _LOBES + max(-whole, 0)))
        padded = padded[..., max(-whole, 0) : max(-whole, 0) + length + 2 * _LOBES]
        # y[i] = Σ_k f[k] x[i - whole - k]: a correlation with the taps reversed.
        x = F.conv1d(padded.flatten(0, 1)[:, None], f.flip(0)[None, None])[:, 0].unflatten(0, padded.shape[:2])
        x = x.movedim(2, dim)
    return x


def _by_turns(still: Tensor, moved: Callable[[Tensor], Tensor], numbers: Tensor) -> Iterator[Pair]:
    angles = (360 * numbers[:, 0]).tolist()
    turned = moved(torch.stack([placement(degrees=angle) for angle in angles]))
    for x, y, angle in zip(still, turned, angles, strict=True):
        reference, known = turn(x, angle)
        other, complete = turn(y, 0.0)
        yield reference, other, known & complete


def turn(x: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    """The picture x turned counter-clockwise about its middle, band-limited to a disc of half a cycle a pixel.

    Args:
        x: [C, H, W].
        degrees: angle; 0 turns nothing and filters alike.

    Returns:
        the picture [C, H, W], and [H, W]: which pixels come from inside of x whole.
    """
    height, width = x.shape[1:]
    inverse = placement(degrees=degrees)[:2, :2].to(x.device, torch.float64)
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64, device=x.device)
    rows, columns = (torch.arange(length, dtype=torch.float64, device=x.device) for length in (height, width))
    places = torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], dim=2)
    sources = (places - middle) @ inverse.t() + middle  # [H, W, (x, y)]
    corner = sources.floor().long()
    total, weights = torch.zeros_like(x, dtype=torch.float64), torch.zeros(height, width, device=x.device).double()
    for dy in range(1 - _RADIUS, _RADIUS + 1):
        for dx in range(1 - _RADIUS, _RADIUS + 1):
            at = corner + torch.tensor([dx, dy], device=x.device)
            r = (sources - at).norm(dim=2)
            weight = jinc(r, 0.5) * torch.sinc(r / _RADIUS) * (r < _RADIUS)
            i, j = at[..., 0].clamp(0, width - 1), at[..., 1].clamp(0, height - 1)
            total += x[:, j, i] * weight
            weights += weight
    border = _RADIUS - 1 - 1e-6  # what is less than _RADIUS away counts; turns by quarters are not exact
    known = ((sources >= border) & (sources <= 2 * middle - border)).all(dim=2)
    return (total / weights).to(x.dtype), known


MOVEMENTS: dict[str, Callable[[Tensor, Callable[[Tensor], Tensor], Tensor], Iterator[Pair]]] = {
    "eqt": _by_whole_pixels,
    "eqt_frac": _by_fractions,
    "eqr": _by_turns,
}


def _published(name: str, figure: str) -> GeneratorMetric:
    def measure(G: Movable, *, images: int, device: torch.device, weights: Path | None) -> dict[str, float]:
        return {name: equivariance(G, (figure,), images=images, device=device)[figure]}

    return GeneratorMetric(measure, Movable, "generators that can move their pictures, stylegan3-t and -r", 50_000)


EQT50K_INT, EQT50K_FRAC, EQR50K = (
    _published(*each) for each in (("eqt50k_int", "eqt"), ("eqt50k_frac", "eqt_frac"), ("eqr50k", "eqr"))
)
