"""How to train: the options of a run, resolved and checked before anything starts.

A family brings a dataclass of its own, which inherits from one of these, sets its defaults and adds what it alone has;
the command line derives its flags from it, and their text from the docstrings.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fastgan.choices import ADVERSARIAL, AUGMENTS, AUGPIPES, DIFFAUG, METRICS
from fastgan.config.fields import as_names, check_choice, check_float, check_int, check_number, is_finite, shown
from fastgan.config.penalties import LARGEST_INT, R1_INTERVAL, as_penalties

_LARGEST_SEED = 2**63 - 2  # torch takes 64 bits with a sign, and one more than the seed is used
_KEPT = 4  # checkpoints, of which one lies before a trouble that has stood for three snapshots
# Short for R1 among the penalties, wherever fields of the options are named.
R1_SHORT = ("r1_gamma", "r1_interval")


@dataclass(frozen=True)
class TrainingOptions:
    """Options of the loop, which every game has.

    Args:
        batch: images per step.
        batch_gpu: images per micro-batch, which minibatch statistics see; None: the whole batch.
        kimg: length of the run, thousands of real images.
        tick: kimg between lines of statistics.
        snap: ticks between grids, checkpoints and metrics.
        keep: checkpoints kept, the newest; 0 keeps all.
        seed: of weights, latents and the order of the data.
        ema_kimg: half-life of the averaged generator, kimg; None: batch·10/32.
        ema_rampup: bounds the half-life to this share of the images seen; 0 for none.
        mirror: flip images left-right at random.
        channels_last: memory format of networks and images; None: channels_last on GPUs alone.
        graphs: on GPUs, replay each update as a CUDA graph from its fourth time on.
        precision: in which networks compute; "tf32" lets convolutions on a GPU round operands to 10 bits, "bf16" and
            "fp16" are of the highest resolutions. Parameters stay in fp32.
        half_resolutions: how many of the highest resolutions compute in bf16 or fp16.
        roll_back_after: updates of a player in a row that are skipped, their gradients NaN or infinite, before training
            goes back to the last good checkpoint; 0: never.
        on_trouble: when a trouble that the report tells of has stood for three snapshots: "warn" of it, "stop" with a
            checkpoint, or "roll-back" to the last one before it began, with other random numbers.
        patience: snapshots in which the first of the metrics has not become better before the run ends; 0: never.
        metrics: names of `choices.METRICS`, measured at every snapshot; (): none.
        best: a figure of these metrics: the checkpoint that has the best is kept beside the newest; None: none is.
    """

    batch: int = 32
    batch_gpu: int | None = None
    kimg: float = 25000.0
    tick: float = 4.0
    snap: int = 50
    keep: int = 5
    seed: int = 0
    ema_kimg: float | None = None
    ema_rampup: float = 0.05
    mirror: bool = False
    channels_last: bool | None = True
    graphs: bool = True
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    half_resolutions: int = 4
    roll_back_after: int = 64
    on_trouble: Literal["warn", "stop", "roll-back"] = "warn"
    patience: int = 0
    metrics: tuple[str, ...] = ()
    best: str | None = None

    def __post_init__(self) -> None:
        for name in ("batch", "snap"):
            check_int(name, getattr(self, name), 1, LARGEST_INT)
        check_int("seed", self.seed, 0, _LARGEST_SEED)
        for name in ("keep", "roll_back_after", "patience"):
            check_int(name, getattr(self, name), 0, LARGEST_INT)
        check_choice("precision", self.precision, ("fp32", "tf32", "bf16", "fp16"))
        check_int("half_resolutions", self.half_resolutions, 0)
        for name in ("kimg", "tick"):
            check_number(name, getattr(self, name), 0.001)  # one image
        if self.ema_kimg is not None:
            check_number("ema_kimg", self.ema_kimg, 0)
        check_number("ema_rampup", self.ema_rampup, 0)
        if self.batch_gpu is not None:
            check_int("batch_gpu", self.batch_gpu, 1, LARGEST_INT)
            if self.batch % self.batch_gpu:
                raise ValueError(f"batch must be a multiple of batch_gpu={self.batch_gpu}, got {self.batch}")
        check_choice("mirror", self.mirror, (False, True))
        check_choice("channels_last", self.channels_last, (None, False, True))
        check_choice("graphs", self.graphs, (False, True))
        object.__setattr__(self, "metrics", tuple(dict.fromkeys(as_names("metrics", self.metrics))))
        for metric in self.metrics:
            check_choice("metrics", metric, tuple(METRICS))
        if self.best is not None and (not isinstance(self.best, str) or not self.metrics):
            raise ValueError(f"best must be a figure of the metrics, of which there are none; got {shown(self.best)}")
        self._check_troubles()

    def _check_troubles(self) -> None:
        check_choice("on_trouble", self.on_trouble, ("warn", "stop", "roll-back"))
        if self.on_trouble == "roll-back" and 0 < self.keep < _KEPT:
            raise ValueError(f"keep must be 0 or at least {_KEPT} for on_trouble=roll-back, got {self.keep}")
        if self.patience and not self.metrics:
            raise ValueError(f"patience must be 0 without metrics, got {self.patience}; --metrics names some")

    @property
    def micro_batch(self) -> int:
        """Images per micro-batch."""
        return self.batch_gpu or self.batch

    @property
    def accumulate(self) -> int:
        """Micro-batches per update."""
        return self.batch // self.micro_batch

    @property
    def half_precision(self) -> bool:
        """Whether networks compute in bf16 or fp16 anywhere."""
        return self.precision in ("bf16", "fp16") and self.half_resolutions > 0

    def half_life(self) -> float:
        """Half-life of the averaged generator in images: ema_kimg, or batch·10/32 kimg (Karras et al. 2020a)."""
        return (self.batch * 10 / 32 if self.ema_kimg is None else self.ema_kimg) * 1000

    def uses_channels_last(self, device: str) -> bool:
        """Whether networks and images are channels_last on a device of this type, "cpu" or "cuda"."""
        return device != "cpu" if self.channels_last is None else self.channels_last


@dataclass(frozen=True)
class AdversarialOptions(TrainingOptions):
    """Options of a game of generators against discriminators.

    Args:
        loss: adversarial loss, a name of `choices.ADVERSARIAL`.
        g_lr: learning rate of G (Adam).
        d_lr: learning rate of D (Adam).
        betas: decay of Adam's two moving averages.
        eps: of Adam.
        d_repeats: updates of D per step (n_critic).
        penalties: gradient penalties of D, names of `choices.PENALTIES`, each with its weight and the steps between its
            updates; R1's weight is its γ, None for 0.0002·R²/batch.
        augment: what D sees images through, a name of `choices.AUGMENTS`, or none.
        augpipe: transforms of ada and fixed, a name of `choices.AUGPIPES`.
        augment_p: probability of each transform of fixed.
        ada_target: of ada: mean sign of D's logits of real images, above which p grows and below which it falls.
        ada_kimg: of ada: thousands of images that p takes from 0 to 1.
        diffaug_policy: transforms of diffaug, names of `choices.DIFFAUG`.
        joined: D sees real and generated images as one batch, groups of minibatch statistics apart.
        freezed: layers of D, counted from the image, that stay as the run that this one begins with had them.
    """

    loss: str = "nonsaturating"
    g_lr: float = 0.002
    d_lr: float = 0.002
    betas: tuple[float, float] = (0.0, 0.99)
    eps: float = 1e-8
    d_repeats: int = 1
    penalties: Mapping[str, tuple[float | None, int]] = dataclasses.field(default_factory=dict)
    augment: str = "none"
    augpipe: str = "bgc"
    augment_p: float = 0.2
    ada_target: float = 0.6
    ada_kimg: float = 500.0
    diffaug_policy: tuple[str, ...] = DIFFAUG
    joined: bool = False
    freezed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("loss", self.loss, tuple(ADVERSARIAL))
        check_choice("augment", self.augment, ("none", *AUGMENTS))
        self._check_augment()
        check_choice("joined", self.joined, (False, True))
        check_int("freezed", self.freezed, 0)
        for name in ("g_lr", "d_lr", "eps"):
            check_number(name, getattr(self, name), 0, above=True)
        check_int("d_repeats", self.d_repeats, 1, LARGEST_INT)
        betas = tuple(self.betas) if isinstance(self.betas, (list, tuple)) else ()
        if len(betas) != 2 or not all(is_finite(beta) and 0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {shown(self.betas)}")
        object.__setattr__(self, "betas", betas)
        object.__setattr__(self, "penalties", as_penalties(self.penalties))

    def _check_augment(self) -> None:
        check_choice("augpipe", self.augpipe, tuple(AUGPIPES))
        check_float("augment_p", self.augment_p, 0, 1)
        check_float("ada_target", self.ada_target, -1, 1)
        check_number("ada_kimg", self.ada_kimg, 0.001)
        object.__setattr__(self, "diffaug_policy", as_names("diffaug_policy", self.diffaug_policy))
        for group in self.diffaug_policy:
            check_choice("diffaug_policy", group, DIFFAUG)

    def penalty_weight(self, name: str, resolution: tuple[int, int]) -> float:
        """The weight of a penalty, 0 where there is none; γ of R1 is 0.0002·R²/batch, R the larger side, where it is
        None (Karras et al. 2020a).
        """
        weight, _ = self.penalties.get(name, (0.0, 1))
        return 0.0002 * max(resolution) ** 2 / self.batch if weight is None else weight


@dataclass(frozen=True)
class StyledOptions(AdversarialOptions):
    """Options of a game whose generator maps latents to styles.

    Args:
        pl_weight: weight of the path-length penalty; 0 for none.
        pl_interval: steps between path-length updates.
        pl_batch_shrink: the path-length batch is batch // this.
    """

    pl_weight: float = 0.0
    pl_interval: int = 4
    pl_batch_shrink: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("pl_weight", self.pl_weight, 0)
        for name in ("pl_interval", "pl_batch_shrink"):
            check_int(name, getattr(self, name), 1, LARGEST_INT)


@dataclass(frozen=True)
class TranslationOptions(AdversarialOptions):
    """Options of a game that translates images of one set into images of another.

    Args:
        gan_weight: weight of G's adversarial loss.
        decay: share of the run, at its end, over which learning rates fall to 0 in a straight line.
    """

    gan_weight: float = 1.0
    decay: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("gan_weight", self.gan_weight, 0)
        check_float("decay", self.decay, 0, 1)


@dataclass(frozen=True)
class PairedOptions(TranslationOptions):
    """Options of a translation that is learnt from pairs.

    Args:
        l1_weight: λ of the mean absolute difference between translation and target.
    """

    l1_weight: float = 100.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("l1_weight", self.l1_weight, 0)


@dataclass(frozen=True)
class UnpairedOptions(TranslationOptions):
    """Options of translations to and fro that are learnt without pairs.

    Args:
        cycle_weight: λ of the mean absolute difference between an image and its translation there and back.
        identity_weight: weight, as a share of cycle_weight, of the difference between an image of the target set and
            its translation; 0 for none.
        buffer: translations of earlier steps that D sees again, for each set; 0 for none.
    """

    cycle_weight: float = 10.0
    identity_weight: float = 0.5
    buffer: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("cycle_weight", self.cycle_weight, 0)
        check_number("identity_weight", self.identity_weight, 0)
        check_int("buffer", self.buffer, 0)
        if 0 < self.buffer < self.micro_batch:
            raise ValueError(f"buffer must be 0 or hold a micro-batch of {self.micro_batch} images, got {self.buffer}")


def told(value: Any) -> str:
    """A value of a field as sentences tell it; penalties as `read_penalties` takes them.

    >>> told({"r1": (None, 16), "wgan-gp": (10.0, 1)})
    'r1=auto/16 wgan-gp=10/1'
    """
    if not isinstance(value, Mapping):
        return str(value)
    each = (f"{name}={'auto' if weight is None else f'{weight:g}'}/{steps}" for name, (weight, steps) in value.items())
    return " ".join(each) or "none"


def replace(options: Any, what: str, /, **changes: Any) -> Any:
    """A copy of a frozen dataclass with some fields changed.

    `r1_gamma` and `r1_interval` are short for R1 among the penalties.

    Raises:
        ValueError: a name that is no field of it; `what` says in words what the options are of.
    """
    fields = {field.name for field in dataclasses.fields(options)}
    changes = spelled_out(options, changes)
    for name in changes:
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{what} has no option {name!r}{hint} (it has {', '.join(sorted(fields))})")
    return dataclasses.replace(options, **changes)


def spelled_out(options: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """changes, with `r1_gamma` and `r1_interval` as R1 among the penalties.

    What runs of earlier versions recorded is read: a path-length weight of 0 is passed over where the family has none,
    and `swd_floor` among the metrics stands for swd, with which that floor is measured.
    """
    result = dict(changes)
    metrics = result.get("metrics")
    if isinstance(metrics, (list, tuple)) and "swd_floor" in metrics:
        others = [name for name in metrics if name != "swd_floor"]
        result["metrics"] = others if "swd" in others else [*others, "swd"]
    if isinstance(options, AdversarialOptions) and not set(R1_SHORT).isdisjoint(result):
        penalties = dict(result.get("penalties", options.penalties))
        gamma, interval = penalties.get("r1", (0.0, R1_INTERVAL))
        gamma, interval = result.pop("r1_gamma", gamma), result.pop("r1_interval", interval)
        if gamma is not None:
            check_number("r1_gamma", gamma, 0)
        check_int("r1_interval", interval, 1, LARGEST_INT)
        result["penalties"] = penalties | {"r1": (gamma, interval)}
    if isinstance(options, TrainingOptions) and not isinstance(options, StyledOptions) and result.get("pl_weight") == 0:
        for name in ("pl_weight", "pl_interval", "pl_batch_shrink"):
            result.pop(name, None)
    return result
