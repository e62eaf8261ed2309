"""Options whose values follow the run."""

from __future__ import annotations

from dataclasses import dataclass

from fastgan.config.fields import check_number, is_finite, shown
from fastgan.config.options import AdversarialOptions


@dataclass(frozen=True)
class AnnealedOptions(AdversarialOptions):
    """Options of a game whose rates go along half a cosine from where they begin to where they end.

    Args:
        burn_in: thousands of images over which they go; None: a tenth of the run, also of one that is made longer.
        lr_end: last learning rates, as a share of the first.
        beta2_end: last decay of Adam's second moving average; betas has the first.
        penalty_end: last weights of the penalties, as a share of the first.
        ema_start: first half-life of the averaged generator, kimg; ema_kimg is the last.
    """

    burn_in: float | None = None
    lr_end: float = 0.25
    beta2_end: float = 0.99
    penalty_end: float = 0.1
    ema_start: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.burn_in is not None:
            check_number("burn_in", self.burn_in, 0)
        for name in ("lr_end", "penalty_end", "ema_start"):
            check_number(name, getattr(self, name), 0)
        if not is_finite(self.beta2_end) or not 0 <= self.beta2_end < 1:
            raise ValueError(f"beta2_end must be a number in [0, 1), got {shown(self.beta2_end)}")

    def burn_in_images(self) -> float:
        """Images over which rates change."""
        return 1000 * (self.kimg / 10 if self.burn_in is None else self.burn_in)
