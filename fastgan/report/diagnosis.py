"""What goes wrong in a training, in words: mode collapse, a D that overfits, gradients that vanish, divergence."""

from __future__ import annotations

import itertools
from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fastgan.choices import METRICS, chosen
from fastgan.config.fields import is_finite

Records = Sequence[Mapping[str, Any]]
Points = list[tuple[float, float]]  # kimg, value

# Values in a row, of a tick or a snapshot each, before a word is said.
_SNAPSHOTS, _TICKS = 2, 5
# Mode collapse. A ratio of real images' diversity and a share of twins that a healthy run has long left behind.
_FELL, _GROWN = 0.4, 0.3  # of the best ratio, which counts once it was that high, and as 1 where it was higher
_LOST = 0.5  # of the best coverage, which counts once it was _GROWN
_TWINS, _FEW = 0.5, 0.25  # too many; and so few that there have been enough others
_BEGINNING = 2000  # steps, after which images should not be all alike any more
# Divergence.
_FARTHER, _FAR = 10.0, 20.0  # times what was usual, and of logits at all
_WORSE = 1.5  # times the best of a metric
_VANISHED = 0.02  # of the usual norm
_USUAL = 10  # ticks at least tell what is usual
# Overfitting.
_SHARE = 3  # the last third of a run is judged
_SMOOTH = {"r_v": 2, "r_t": 10}  # of so many values at least: one is a mean of few images
_R_V = 0.5  # D takes held-out images half for generated
_R_T = 0.9  # real images of 20 are taken for real by D, all but one
_PASSES = 20  # over the set, before which nothing can be known by heart
_MORE = "more images, --aug ada or diffaug, or fewer kimg help"


class Finding(NamedTuple):
    """A trouble that stands at the end of the records.

    Attributes:
        name: of the trouble and whose it is, the same as long as it stands.
        since: kimg at which it began.
        sentence: what it is, since when, its evidence, and what usually helps.
        chance: whether other random numbers may lead past it.
    """

    name: str
    since: float
    sentence: str
    chance: bool = True


def diagnosis(records: Records) -> list[Finding]:
    """What stands at the end of a run's figures; [] of a healthy run, or where nothing tells.

    Args:
        records: lines of a stats file, in order.

    Returns:
        findings, each with its sentence.
    """
    return list(itertools.chain.from_iterable(rule(records) for rule in RULES))


def collapse(records: Records) -> Iterable[Finding]:
    """Generated images are alike: less different than they were, many with a twin, or never different at all.

    Nothing is said while the diversity of a young G rises: it is compared with its own best.
    """
    ratios, twins = points(records, "diversity/ratio"), points(records, "diversity/alike")
    if not ratios or not twins:
        return
    best = max(ratio for _, ratio in ratios)
    fell = since(ratios, lambda ratio, before: before[-1] >= _GROWN and ratio < _FELL * min(1.0, before[-1]))
    again = since(twins, lambda share, before: before[0] < _FEW and share > _TWINS)
    fooled, steps = _fooled(records), {record["kimg"]: record.get("step", 0) for record in records}
    never = _run([(kimg, share > _TWINS and (kimg in fooled or steps[kimg] > _BEGINNING)) for kimg, share in twins],
                 _SNAPSHOTS)  # fmt: skip
    begun = min((kimg for kimg in (fell, again, never) if kimg is not None), default=None)
    if begun is None:
        return
    remark = f" ({best:.2f} at its best)" if best > ratios[-1][1] else ""
    if twins[-1][0] in fooled:
        remark += ", and D takes them for real ones rather than real ones themselves"
    yield Finding(
        "mode collapse",
        begun,
        f"mode collapse since {begun:g} kimg: generated images differ {ratios[-1][1]:.2f} times as much as real ones"
        f"{remark}; {twins[-1][1]:.0%} have a near twin. A lower --glr, a larger --batch or a higher --gamma helps, "
        "from a checkpoint before",
    )


def lost_modes(records: Records) -> Iterable[Finding]:
    """Fewer of the real images have generated ones near them than had: `dc_*` among the metrics tells.

    Recall is no such sign: bad images lie wide apart, and seem to reach many real ones.
    """
    for name in _names(records, "metric/coverage_"):
        values, figure = points(records, name), name.removeprefix("metric/")
        begun = since(values, lambda value, before: before[-1] >= _GROWN and value < _LOST * before[-1])
        if begun is not None:
            kimg, best = max(values, key=lambda point: point[1])
            yield Finding(
                f"lost modes by {figure}",
                begun,
                f"modes are lost since {begun:g} kimg: {values[-1][1]:.0%} of the real images have generated ones near "
                f"them ({figure}), after {best:.0%} at {kimg:g} kimg. Take the checkpoint of then; a lower --glr, a "
                "larger --batch or a higher --gamma helps",
            )


def overfitting(records: Records) -> Iterable[Finding]:
    """D knows its images by heart.

    r_v tells by images held out, else r_t by the signs of D's logits, unless augmentation is adapting to it.
    """
    often = {float(record["kimg"]) for record in records if record.get("passes", _PASSES) >= _PASSES}
    r_v = points(records, "overfit/r_v")
    if r_v:
        begun, late = _late(r_v, _R_V, often, _SMOOTH["r_v"])
        if begun is not None:
            yield Finding(
                "overfitting of D",
                begun,
                f"D knows its images by heart since {begun:g} kimg: it takes such as are held out {min(late, 1):.0%} "
                f"of the way for generated ones (r_v {late:.2f} of late); {_MORE}",
                chance=False,
            )
        return
    if any("augment/p" in record for record in records):
        return
    for name in _names(records, "overfit/r_t"):
        begun, late = _late(points(records, name), _R_T, often, _SMOOTH["r_t"])
        which = f"D{name.removeprefix('overfit/r_t')}"
        if begun is not None:
            yield Finding(
                f"overfitting of {which}",
                begun,
                f"{which} is sure of nearly every real image since {begun:g} kimg (r_t {late:.2f} of late): it may "
                f"know them by heart, which --held-out images would tell; {_MORE}",
                chance=False,
            )


def vanishing(records: Records) -> Iterable[Finding]:
    """G's gradients are next to nothing beside what they were."""
    for name in _names(records, "gradient/G"):
        norms, player = points(records, name), name.removeprefix("gradient/")
        begun = since(norms, lambda norm, before: norm < _VANISHED * _median(before), _TICKS, _USUAL)
        if begun is not None:
            usual = _median(sorted(norm for kimg, norm in norms if kimg < begun))
            yield Finding(
                f"vanishing gradients of {player}",
                begun,
                f"{player} hardly learns since {begun:g} kimg: the norm of its gradients is {norms[-1][1]:.2g}, where "
                f"{usual:.2g} was usual. A lower --glr or --dlr, a higher --gamma or another --loss helps",
            )


def divergence(records: Records) -> Iterable[Finding]:
    """Logits or D's loss beyond all that was usual, or a metric far worse than it was."""
    gaps = {
        f"distance between D{which}'s mean logits of real and generated images": _difference(
            points(records, f"score/real{which}"), points(records, f"score/fake{which}")
        )
        for which in (name.removeprefix("score/real") for name in _names(records, "score/real"))
    }
    losses = {f"loss of {name.removeprefix('loss/')}": points(records, name) for name in _names(records, "loss/D")}
    for what, values in (gaps | losses).items():
        sizes = [(kimg, abs(value)) for kimg, value in values]
        begun = since(sizes, lambda size, before: size > max(_FAR, _FARTHER * _median(before)), _TICKS, _USUAL)
        if begun is not None:
            usual = _median(sorted(size for kimg, size in sizes if kimg < begun))
            yield Finding(
                f"divergence: {what}",
                begun,
                f"training diverges since {begun:g} kimg: the {what} is {values[-1][1]:.3g}, where {usual:.3g} was "
                "usual. Lower --glr and --dlr, or a higher --gamma, help, from a checkpoint before",
            )
    for metric in METRICS:
        if scores := points(records, f"metric/{metric}"):
            yield from _worse(metric, scores)


def _worse(metric: str, scores: Points) -> Iterable[Finding]:
    """A metric that has lost more than half of what was won, and is half as bad again as its best."""
    higher = chosen(METRICS, metric).better == "higher"

    def bad(score: float, before: list[float]) -> bool:
        worst, best = (before[0], before[-1]) if higher else (before[-1], before[0])
        lost = abs(score - best) > abs(worst - best) / 2
        return lost and (score * _WORSE < best if higher else score > _WORSE * best)

    begun = since(scores, bad)
    if begun is not None:
        kimg, best = (max if higher else min)(scores, key=lambda point: point[1])
        yield Finding(
            f"worse {metric}",
            begun,
            f"training gets worse since {begun:g} kimg: {metric} is {scores[-1][1]:.4g}, after {best:.4g} at {kimg:g} "
            "kimg. Take the checkpoint of then; lower --glr and --dlr, or augmentation (--aug ada), help to go farther",
        )


RULES: tuple[Callable[[Records], Iterable[Finding]], ...] = (collapse, lost_modes, overfitting, vanishing, divergence)


def points(records: Records, name: str) -> Points:
    """(kimg, value) of a figure where it is a finite number."""
    return [(float(each["kimg"]), float(each[name])) for each in records if is_finite(each.get(name))]


def since(
    values: Points, bad: Callable[[float, list[float]], bool], least: int = _SNAPSHOTS, enough: int = 1
) -> float | None:
    """The kimg from which on values are bad to the last; None where they are not, or fewer than `least`.

    Args:
        values: a figure.
        bad: (value, those before it that were not bad, ascending) -> whether it is bad.
        least: how many have to be bad in a row.
        enough: how many have to be there before one can be bad.
    """
    before: list[float] = []
    verdicts = []
    for kimg, value in values:
        verdicts.append((kimg, len(before) >= enough and bad(value, before)))
        if not verdicts[-1][1]:
            insort(before, value)
    return _run(verdicts, least)


def _run(verdicts: Sequence[tuple[float, bool]], least: int) -> float | None:
    """Where the last verdicts, all of them true, begin; None where they are fewer than `least`."""
    last = list(itertools.takewhile(lambda verdict: verdict[1], reversed(verdicts)))
    return last[-1][0] if len(last) >= least else None


def _median(ascending: list[float]) -> float:
    return ascending[len(ascending) // 2]


def _fooled(records: Records) -> set[float]:
    """The kimg at which D's logits of generated images, since the last snapshot, were above those of real ones."""
    fooled, gaps = set(), list[float]()
    for record in records:
        real, fake = record.get("score/real"), record.get("score/fake")
        if real is not None and fake is not None:
            gaps.append(float(real) - float(fake))
        if "diversity/ratio" in record:
            if gaps and sum(gaps) < 0:
                fooled.add(float(record["kimg"]))
            gaps = []
    return fooled


def _difference(a: Points, b: Points) -> Points:
    others = dict(b)
    return [(kimg, value - others[kimg]) for kimg, value in a if kimg in others]


def _late(values: Points, most: float, among: set[float], least: int) -> tuple[float | None, float]:
    """Since when the mean of the last third of all values until then, of `least` where there are so many, is above
    `most` at a kimg `among` these; and that mean at the end.
    """
    sums = [0.0, *itertools.accumulate(value for _, value in values)]
    verdicts, mean = [], 0.0
    for count, (kimg, _) in enumerate(values, start=1):
        few = max(min(count, least), count // _SHARE)
        mean = (sums[count] - sums[count - few]) / few
        verdicts.append((kimg, mean > most and kimg in among))
    return _run(verdicts, 1), mean


def _names(records: Records, beginning: str) -> list[str]:
    return sorted({name for record in records for name in record if name.startswith(beginning)})
