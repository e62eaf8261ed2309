"""Filters of band-limited layers, against SciPy's."""

from __future__ import annotations

import math

import pytest
import torch

from fastgan.nn.lowpass import jinc, kaiser_beta, lowpass, radial_lowpass

# scipy.signal.firwin(taps, cutoff, width=2·half_width, fs=rate), SciPy 1.17.1; the first half, the rest mirrors it.
FIRWIN = {
    (12, 2.0, 6.0, 32.0): [0.000791902, 0.010018318, 0.038949522, 0.09241279, 0.156525615, 0.201301852],
    (24, 20.0, 3.5, 256.0): [
        -0.018123299, -0.030121874, -0.036784169, -0.035305224, -0.023982622, -0.002641132, 0.027198026, 0.062448679,
        0.098881204, 0.1317676, 0.156639353, 0.170023456,
    ],
    (7, 3.0, 0.5, 16.0): [-0.036678259, 0.101658877, 0.265647448, 0.338743868],
}  # fmt: skip
# Rows of the same windows with scipy.special.j1, 12 taps, cut-off 2, half-width 6, rate 32: the upper triangle of the
# first quarter.
RADIAL = [
    8.412096704e-07, 1.047216943e-05, 4.027792657e-05, 9.487117566e-05, 1.599577227e-04, 2.052621264e-04,
    1.236210763e-04, 4.616462469e-04, 1.068594007e-03, 1.783841452e-03, 2.278629985e-03, 1.694139277e-03,
    3.879858608e-03, 6.436506870e-03, 8.198047939e-03, 8.826399468e-03, 1.458485020e-02, 1.854215749e-02,
    2.404344667e-02, 3.053335953e-02, 3.875488540e-02,
]  # fmt: skip


@pytest.mark.parametrize(
    ("taps", "width", "beta"), [(12, 0.5, 4.249202671613025), (24, 0.25, 4.448363810423823), (6, 0.1, 0.0)]
)
def test_beta_is_scipys(taps: int, width: float, beta: float) -> None:
    assert kaiser_beta(taps, width) == pytest.approx(beta, rel=1e-12)


def test_beta_of_more_than_50_dB() -> None:
    # 2.285·23·π·0.5 + 7.95 = 90.504 dB
    assert kaiser_beta(24, 0.5) == pytest.approx(0.1102 * (2.285 * 23 * math.pi * 0.5 + 7.95 - 8.7))


@pytest.mark.parametrize("design", FIRWIN, ids=str)
def test_the_separable_filter_is_scipys(design: tuple[int, float, float, float]) -> None:
    f, half = lowpass(*design), torch.tensor(FIRWIN[design])
    assert f.dtype == torch.float32 and f.shape == design[:1]
    torch.testing.assert_close(f[: len(half)], half, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(f, f.flip(0), rtol=0, atol=1e-8)


def test_the_radial_filter_is_that_of_scipys_parts() -> None:
    f, rows = radial_lowpass(12, 2.0, 6.0, 32.0), torch.triu_indices(6, 6)
    torch.testing.assert_close(f[rows[0], rows[1]], torch.tensor(RADIAL), rtol=1e-6, atol=1e-11)
    torch.testing.assert_close(f, f.t().flip(0), rtol=0, atol=1e-9)
    assert f.sum().item() == pytest.approx(1)


def test_waves_pass_below_the_cutoff_and_stop_above() -> None:
    """24 taps at rate 256, cut-off 64, transition from 32 to 96: gain 1, one half and 0 along an axis."""
    t = (torch.arange(24, dtype=torch.float64) - 11.5) / 256
    for f, tolerance in ((lowpass(24, 64, 32, 256).double(), 2e-4), (radial_lowpass(24, 64, 32, 256).double(), 0.02)):
        row = f if f.ndim == 1 else f.sum(dim=0)
        gains = [(row * torch.cos(2 * math.pi * frequency * t)).sum().item() for frequency in (0, 32, 96, 120)]
        assert gains == pytest.approx([1, 1, 0, 0], abs=tolerance)
    middle = (lowpass(24, 64, 32, 256).double() * torch.cos(2 * math.pi * 64 * t)).sum().item()
    assert middle == pytest.approx(0.5, abs=1e-3)


def test_jinc_at_its_centre_and_its_first_zero() -> None:
    cutoff = 3.0
    r = torch.tensor([0.0, 3.8317059702 / (2 * math.pi * cutoff)], dtype=torch.float64)
    torch.testing.assert_close(jinc(r, cutoff), torch.tensor([cutoff, 0.0], dtype=torch.float64))
    near = jinc(torch.tensor([1e-7], dtype=torch.float64), cutoff)
    torch.testing.assert_close(near, torch.tensor([cutoff], dtype=torch.float64))
