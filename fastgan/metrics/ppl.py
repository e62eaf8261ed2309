"""Perceptual path length: how far an image goes for a small step in latent space.

Source: Karras et al. 2018 (StyleGAN), section 4.1; in w and at end points alone, Karras et al. 2019 (StyleGAN2).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.config.fields import check_choice, check_int, check_number
from fastgan.metrics.evaluation import PUBLISHED, GeneratorMetric
from fastgan.metrics.extractors import Extractor, make_extractor
from fastgan.metrics.extractors.vgg16 import make_lpips
from fastgan.models.protocols import FromNoise, Styled
from fastgan.nn.evaluation import evaluation_view
from fastgan.nn.precision import Precision, set_precision
from fastgan.ops import exact_convolutions, tf32

SPACES, SAMPLINGS = ("z", "w"), ("end", "full")
_EPSILON = 1e-4
_TRIMMED = 0.01  # of the samples, on each side


class Distance(Protocol):
    """How far images are apart: grows with the square of a small difference.

    Attributes:
        name: in the names of figures.
    """

    name: str

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """a and b [n, C, H, W], float32 and about in [0, 255] -> [n]."""
        ...


class FeatureDistance:
    """d(a, b) = ‖f(a) - f(b)‖² of an extractor's features f.

    Attributes:
        name: the extractor's.
    """

    def __init__(self, extractor: Extractor) -> None:
        self.extractor, self.name = extractor, extractor.name

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """a and b [n, C, H, W], float32 and about in [0, 255] -> float64 [n], on the CPU."""
        return (self.extractor(a) - self.extractor(b)).double().square().sum(dim=1)


@torch.no_grad()
def perceptual_path_length(
    G: FromNoise,
    distance: Distance,
    *,
    space: str = "w",
    sampling: str = "end",
    epsilon: float = _EPSILON,
    crop: bool = False,
    images: int = 50_000,
    batch: int = 16,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> dict[str, float]:
    """E[d(G(p(t)), G(p(t + ε))) / ε²], of a path p between two random latents; smaller is smoother.

    The lowest and the highest hundredth of the samples are left out. Images are made in float32 with the noise that the
    layers keep ("const"), and compared as they are: rounded to bytes, they would not differ. Both ends of a path have
    the same label, drawn uniformly from the classes.

    Args:
        G: the generator; its mode and its averages are left alone.
        distance: d, such as `extractors.vgg16.make_lpips` gives, or `FeatureDistance(extractor)`.
        space: "w": p is the line between the ws of two latents; "z": the arc between the two on the sphere of radius
            √z_dim.
        sampling: of t: "full": uniform in [0, 1); "end": 0.
        epsilon: ε.
        crop: look at rows from 3/8 to 7/8 and columns from 1/4 to 3/4 alone: where aligned photos show the face.
        images: samples, of two images each.
        batch: samples made at once, on which latents do not depend.
        seed: of latents, labels and t.
        device: where G and distance are; None: where G's first weight is.

    Returns:
        figure -> value. The figure is "ppl2_wend" for LPIPS on VGG16 in w at the end, with ε = 1e-4 and no crop; any
        other is called by what it is, such as "ppl_z_full_wavelet" or "ppl_w_end_vgg16_crop".

    Raises:
        ValueError: an argument is out of range, or the space is w and G has none.
    """
    check_choice("space", space, SPACES)
    check_choice("sampling", sampling, SAMPLINGS)
    check_choice("crop", crop, (False, True))
    check_number("epsilon", epsilon, 0, above=True)
    check_int("images", images, 1)
    check_int("batch", batch, 1)
    if space == "w" and not isinstance(G, Styled):
        raise ValueError(f"space must be z for {type(G).__name__}, which has no w, got w")
    view = evaluation_view(G)
    set_precision(view, Precision())
    device = torch.device(device) if device is not None else next(G.parameters()).device
    generator, found = torch.Generator("cpu").manual_seed(seed), []
    for count in (min(batch, images - first) for first in range(0, images, batch)):
        z, t, c = _drawn(G, count, generator)
        t = t if sampling == "full" else torch.zeros_like(t)
        with exact_convolutions(), tf32.exactly(next(G.parameters())):
            picture = _path(view, z.to(device), c if c is None else c.to(device), space)
            ends = [_shown(picture((t + step).to(device)), crop) for step in (0.0, epsilon)]
        found.append(distance(*ends).double().cpu() / epsilon**2)
    return {_figure(distance.name, space, sampling, epsilon, crop): _trimmed_mean(torch.cat(found))}


def _figure(distance: str, space: str, sampling: str, epsilon: float, crop: bool) -> str:
    if (distance, space, sampling, epsilon, crop) == ("lpips_vgg16", "w", "end", _EPSILON, False):
        return "ppl2_wend"
    return f"ppl_{space}_{sampling}_{distance}{'_crop' if crop else ''}"


def _drawn(G: FromNoise, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
    """z [2, count, z_dim], t [count] in [0, 1), c [count, num_classes]: sample by sample, whatever the batch."""
    z, t, labels = [], [], []
    for _ in range(count):
        z.append(torch.randn(2, G.z_dim, generator=generator, device="cpu"))
        t.append(torch.rand((), generator=generator, dtype=torch.float64, device="cpu"))
        if G.num_classes:
            labels.append(torch.randint(G.num_classes, (), generator=generator, device="cpu"))
    c = F.one_hot(torch.stack(labels), G.num_classes).float() if labels else None
    return torch.stack(z, dim=1), torch.stack(t), c


def _path(view: Any, z: Tensor, c: Tensor | None, space: str) -> Callable[[Tensor], Tensor]:
    """t [n] -> images at p(t), interpolated in float64."""
    dtype = next(view.parameters()).dtype
    if space == "w":
        first, last = (view.mapping(each.to(dtype), c).double() for each in z)
        return lambda t: view.synthesis(torch.lerp(first, last, t[:, None, None]).to(dtype), "const")
    options = {"noise_mode": "const"} if isinstance(view, Styled) else {}
    first, last = z.double()
    return lambda t: view(slerp(first, last, t).to(dtype), c, **options)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """√K (a cos tθ + c sin tθ), a and b taken to length 1: θ the angle between them, c at right angles to a towards b.

    Args:
        a: [n, K].
        b: [n, K].
        t: [n]; 0: a, 1: b.

    Returns:
        [n, K], of length √K, as latents from N(0, 1) have about.

    Source: Shoemake 1985.
    """
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    cosine = (a * b).sum(dim=1, keepdim=True).clamp(-1, 1)
    angle = t[:, None] * cosine.acos()
    return (a * angle.cos() + F.normalize(b - cosine * a, dim=1) * angle.sin()) * a.shape[1] ** 0.5


def _shown(images: Tensor, crop: bool) -> Tensor:
    """What is looked at of images in [-1, 1], in [0, 255]."""
    height, width = images.shape[2:]
    if crop:
        images = images[:, :, 3 * height // 8 : 7 * height // 8, width // 4 : 3 * width // 4]
    return (images.float() + 1) * 127.5


def _trimmed_mean(values: Tensor) -> float:
    """Of values [n] in float64 from the lowest hundredth to the highest, both of which count."""
    order, last = values.sort().values, len(values) - 1
    low, high = order[int(_TRIMMED * last)], order[last - int(_TRIMMED * last)]
    return float(values[(values >= low) & (values <= high)].mean())


def _published(G: Styled, *, images: int, device: torch.device, weights: Path | None) -> dict[str, float]:
    return perceptual_path_length(G, make_lpips(device, weights, weights), images=images, device=device)


def _of_wavelets(space: str, sampling: str) -> Callable[..., dict[str, float]]:
    def measure(G: FromNoise, *, images: int, device: torch.device, weights: Path | None) -> dict[str, float]:
        distance = FeatureDistance(make_extractor("wavelet", device))
        return perceptual_path_length(G, distance, space=space, sampling=sampling, images=images, device=device)

    return measure


_STYLED = "generators that map latents to styles"
PPL2_WEND = GeneratorMetric(_published, Styled, _STYLED, PUBLISHED, better="lower")
W_END_WAVELET = GeneratorMetric(_of_wavelets("w", "end"), Styled, _STYLED, 1000, better="lower")
Z_FULL_WAVELET = GeneratorMetric(_of_wavelets("z", "full"), FromNoise, "generators of noise", 1000, better="lower")
