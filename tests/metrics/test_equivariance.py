"""EQ-T and EQ-R of pictures whose movement is known, of pictures that do not move, and of networks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastgan.metrics import MovedConstant, equivariance
from fastgan.metrics.equivariance import lanczos_shift, turn
from fastgan.models import build
from fastgan.models.transforms import placement

SMALL = {"channel_base": 256, "channel_max": 16, "z_dim": 8, "w_dim": 8, "mapping_layers": 1}


class Waves(nn.Module):
    """A picture of waves with up to `finest` cycles a pixel, moved exactly, or left where it is."""

    z_dim, num_classes = 4, 0

    def __init__(self, finest: float, size: tuple[int, int] = (32, 32), moves: bool = True) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.size, self.moves = size, moves
        self.weight = nn.Parameter(torch.zeros(1))
        direction = 2 * math.pi * torch.rand(24, generator=generator, dtype=torch.float64)
        length = finest * max(size) * torch.rand(24, 1, generator=generator, dtype=torch.float64).sqrt()
        self.freqs = torch.stack([direction.cos(), direction.sin()], dim=1) * length
        self.phases = torch.rand(24, 1, generator=generator, dtype=torch.float64)
        self.mix = torch.randn(3, 24, generator=generator, dtype=torch.float64) / 10

    def mapping(self, z: Tensor, c: Tensor | None) -> Tensor:
        return z

    def synthesis(self, ws: Tensor, noise_mode: str, generator: Any = None, transform: Tensor | None = None) -> Tensor:
        transform = torch.eye(3) if transform is None or not self.moves else transform
        y, x = ((torch.arange(n, dtype=torch.float64) + 0.5 - n / 2) / max(self.size) for n in self.size)
        places = torch.stack([x.expand(self.size), y[:, None].expand(self.size), torch.ones(self.size)]).flatten(1)
        moved = (transform.double() @ places)[..., :2, :].expand(len(ws), 2, -1)
        waves = torch.sin(2 * math.pi * (self.freqs @ moved + self.phases))
        return (self.mix @ waves).unflatten(2, self.size).float()


def measured(network: Any, *figures: str, images: int = 4, **options: Any) -> list[float]:
    return list(equivariance(network, figures, images=images, batch=3, **options).values())


@pytest.mark.parametrize("size", [(32, 32), (24, 40)], ids=str)
def test_pictures_that_move_exactly_are_told_up_to_the_filters_errors(size: tuple[int, int]) -> None:
    whole, fractions, turns = measured(Waves(0.2, size), "eqt", "eqt_frac", "eqr")
    assert whole > 90 and fractions > 50 and turns > 60


def test_pictures_that_do_not_move_have_the_contrast_of_their_differences() -> None:
    """Unrelated values of variance v each: 10·log10(4 / 2v)."""
    still = Waves(0.5, moves=False)
    variance = still.synthesis(torch.zeros(1, 4), "none").var().item()
    chance = 10 * math.log10(4 / (2 * variance))
    assert measured(still, "eqt", "eqt_frac", images=12) == pytest.approx([chance] * 2, abs=1.5)
    assert measured(still, "eqr", images=12) == pytest.approx([chance], abs=3)  # the finest waves are filtered away


def test_the_seed_decides_and_the_order_of_figures_does_not() -> None:
    waves: Any = Waves(0.3)
    first = equivariance(waves, images=3, batch=2)
    again = equivariance(waves, ("eqr", "eqt_frac", "eqt"), images=3, batch=2, device="cpu")
    assert first == again
    assert measured(Waves(0.3), "eqt_frac", seed=1) != measured(Waves(0.3), "eqt_frac", seed=2)


def test_what_is_wrong_is_named() -> None:
    for options, message in (
        ({"figures": ("eqx",)}, "figures must be one of eqt, eqt_frac, eqr, got 'eqx'"),
        ({"images": 0}, "images must be an integer of at least 1, got 0"),
        ({"batch": 0}, "batch must be an integer of at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            equivariance(Waves(0.3), **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"images of \[3, 8, 8\], of which eqr leaves no pixel to compare"):
        measured(Waves(0.3, (8, 8)), "eqr")


def test_a_shift_by_whole_pixels_is_a_roll_and_zeros_come_in() -> None:
    x = torch.randn(2, 7, 9)
    shifted = lanczos_shift(x, 2, -3)
    torch.testing.assert_close(shifted[:, :4, 2:], x[:, 3:, :7])
    assert shifted[:, 4:].abs().max() < 1e-6 and shifted[:, :, :2].abs().max() < 1e-6


def test_a_quarter_turn_is_exact_but_for_the_filter() -> None:
    """Counter-clockwise, of an oblong's middle square; a filter whose centre falls on pixels."""
    x = torch.randn(3, 40, 40)
    turned, known = turn(x, 90.0)
    filtered, complete = turn(x, 0.0)
    both = known & complete
    assert both.sum() == (40 - 10) ** 2
    torch.testing.assert_close(turned[:, both], torch.rot90(filtered, dims=(1, 2))[:, both])


@pytest.mark.parametrize("name", ["stylegan3-t", "stylegan3-r"])
def test_an_alias_free_generator_follows_as_it_is_built(name: str) -> None:
    torch.manual_seed(0)
    _, G, _ = build(name, resolution=32, layers=6, **SMALL)
    found = equivariance(G, ("eqt", "eqt_frac", "eqr"), images=3, batch=3)
    assert found["eqt"] > 60 and found["eqt_frac"] > 50, found
    assert (found["eqr"] > 50) == (name == "stylegan3-r"), found
    assert G.training


def test_stylegan2_follows_its_moved_constant_where_nothing_is_padded() -> None:
    torch.manual_seed(0)
    G = build("stylegan2", resolution=32, **SMALL)[1].eval()
    moved = MovedConstant(G)
    z = torch.randn(2, 8)
    torch.testing.assert_close(moved(z, transform=torch.eye(3), noise_mode="none"), G(z, noise_mode="none"))
    # By one sample of the constant, which is 8 pixels.
    found = moved.synthesis(G.mapping(z), "none", None, placement((0.25, 0)))
    with torch.no_grad():
        G.synthesis.const.copy_(G.synthesis.const.roll(1, dims=2))
    torch.testing.assert_close(found, G.synthesis(G.mapping(z), "none"), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="transform must be a translation"):
        moved(z, transform=placement(degrees=10))
    assert 5 < measured(moved, "eqt")[0] < 40
