"""How to train: the options of a run, resolved and checked before anything starts."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any

from fastgan.choices import ADVERSARIAL
from fastgan.models.fields import as_names, check_choice, is_finite, shown

# Above what any run could mean: a slip such as 1e30 is named instead of overflowing somewhere inside.
_LARGEST = 1e9
_LARGEST_SEED = 2**63 - 2  # torch takes 64 bits with a sign, and one more than the seed is used


@dataclass(frozen=True)
class TrainingOptions:
    """Options of the two-player game and its loop. A model family brings its own defaults (`Family.training`).

    Attributes:
        batch: real images per step.
        batch_gpu: images per micro-batch; None for the whole batch. Minibatch statistics see one micro-batch.
        kimg: length of the run in thousands of real images.
        tick: kimg between lines of statistics.
        snap: ticks between grids, checkpoints and metrics.
        keep: checkpoints kept, the newest; 0 keeps all.
        seed: of weights, latents and the order of the data.
        loss: adversarial loss, a name of `choices.ADVERSARIAL`.
        g_lr, d_lr: learning rates of Adam.
        betas, eps: of Adam.
        d_repeats: updates of D per step (n_critic).
        r1_gamma: weight γ of R1, (γ/2)·|∇D|²; None for 0.0002·R²/batch; 0 for none.
        r1_interval: steps between R1 updates.
        pl_weight: weight of the path-length penalty; 0 for none. Needs a generator with mapping and synthesis.
        pl_interval: steps between path-length updates.
        pl_batch_shrink: the path-length batch is batch // this.
        ema_kimg: half-life of the averaged generator in kimg; None for batch·10/32.
        ema_rampup: bounds the half-life to this share of the images seen; 0 for none.
        mirror: flip images left-right at random.
        channels_last: memory format of networks and images; None: channels_last on GPUs alone.
        metrics: names of `choices.METRICS`, measured at every snapshot.
    """

    batch: int = 32
    batch_gpu: int | None = None
    kimg: float = 25000.0
    tick: float = 4.0
    snap: int = 50
    keep: int = 5
    seed: int = 0
    loss: str = "nonsaturating"
    g_lr: float = 0.002
    d_lr: float = 0.002
    betas: tuple[float, float] = (0.0, 0.99)
    eps: float = 1e-8
    d_repeats: int = 1
    r1_gamma: float | None = 0.0
    r1_interval: int = 16
    pl_weight: float = 0.0
    pl_interval: int = 4
    pl_batch_shrink: int = 2
    ema_kimg: float | None = None
    ema_rampup: float = 0.05
    mirror: bool = False
    channels_last: bool | None = True
    metrics: tuple[str, ...] = ()

    def __post_init__(self):
        for name in ("batch", "snap", "d_repeats", "r1_interval", "pl_interval", "pl_batch_shrink"):
            self._check_number(name, 1, int)
        self._check_number("seed", 0, int, high=_LARGEST_SEED)
        self._check_number("keep", 0, int)
        for name in ("g_lr", "d_lr", "eps"):
            self._check_number(name, 0, float, above=True)
        for name in ("kimg", "tick"):
            self._check_number(name, 0.001, float)  # one image
        for name in ("r1_gamma", "pl_weight", "ema_kimg", "ema_rampup"):
            if name in ("pl_weight", "ema_rampup") or getattr(self, name) is not None:
                self._check_number(name, 0, float)
        if self.batch_gpu is not None:
            self._check_number("batch_gpu", 1, int)
            if self.batch % self.batch_gpu:
                raise ValueError(f"batch must be a multiple of batch_gpu={self.batch_gpu}, got {self.batch}")
        check_choice("mirror", self.mirror, (False, True))
        check_choice("channels_last", self.channels_last, (None, False, True))
        check_choice("loss", self.loss, tuple(ADVERSARIAL))
        object.__setattr__(self, "metrics", as_names("metrics", self.metrics))
        betas = tuple(self.betas) if isinstance(self.betas, (list, tuple)) else ()
        if len(betas) != 2 or not all(is_finite(beta) and 0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {shown(self.betas)}")
        object.__setattr__(self, "betas", betas)

    def _check_number(self, name: str, low: float, kind: type, above: bool = False, high: float = _LARGEST) -> None:
        value = getattr(self, name)
        fits = is_finite(value) and (kind is float or isinstance(value, int))
        if not fits or value < low or (above and value == low):
            bound = f"above {low}" if above else f"at least {low}"
            raise ValueError(
                f"{name} must be {'an integer' if kind is int else 'a number'} {bound}, got {shown(value)}"
            )
        if value > high:
            raise ValueError(f"{name} must be at most {high:g}, got {shown(value)}")

    @property
    def micro_batch(self) -> int:
        """Images per micro-batch."""
        return self.batch_gpu or self.batch

    def half_life(self) -> float:
        """Half-life of the averaged generator in images: ema_kimg, or batch·10/32 kimg (Karras et al. 2020a)."""
        return (self.batch * 10 / 32 if self.ema_kimg is None else self.ema_kimg) * 1000

    def gamma(self, resolution: tuple[int, int]) -> float:
        """γ of R1: r1_gamma, or 0.0002·R²/batch with R the larger side (Karras et al. 2020a)."""
        return 0.0002 * max(resolution) ** 2 / self.batch if self.r1_gamma is None else self.r1_gamma


def replace(options: Any, what: str, /, **changes: Any) -> Any:
    """A copy of a frozen dataclass with some fields changed.

    Raises:
        ValueError: a name that is no field of it; `what` says in words what the options are of.
    """
    fields = {field.name for field in dataclasses.fields(options)}
    for name in changes:
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{what} has no option {name!r}{hint} (it has {', '.join(sorted(fields))})")
    return dataclasses.replace(options, **changes)
