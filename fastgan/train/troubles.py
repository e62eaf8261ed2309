"""What a run does about what its figures tell: it says so, ends, or goes back to before the trouble."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fastgan.config.options import TrainingOptions
from fastgan.report import Finding, diagnosis
from fastgan.train.rollback import Back

STANDING = 3  # snapshots, the one among them at or after which a trouble began


class Verdict(NamedTuple):
    """What follows a snapshot; at most one of these.

    Attributes:
        back: where training is to go back to, and why.
        stop: why the run stops, an error.
        end: why the run is complete before its time.
    """

    back: Back | None = None
    stop: str | None = None
    end: str | None = None


class Troubles:
    """The troubles of a run, looked at after each snapshot.

    Args:
        options: of the run.

    Attributes:
        standing: what stood at the last snapshot.
    """

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options
        self.standing: dict[str, Finding] = {}

    def look(
        self,
        records: Sequence[Mapping[str, Any]],
        images: int,
        end: str | None,
        notes: list[str],
        tell: Callable[[str], None],
    ) -> Verdict:
        """Tell of what has begun since the last snapshot and of what is over; what the run is to do.

        Args:
            records: of the statistics until now.
            images: seen until now.
            end: why the run is complete before its time, if it is.
            notes: of the report, which tells itself of what stands.
            tell: shows a sentence.
        """
        found = {finding.name: finding for finding in diagnosis(records)}
        for name, finding in found.items():
            if name not in self.standing:
                tell(f"warning: {finding.sentence}")
        over = [f"{name} is over at {images / 1000:g} kimg" for name in self.standing if name not in found]
        self.standing = found
        verdict = self._verdict(images, end)
        for sentence in filter(None, (*over, verdict.end)):
            notes.append(sentence)
            tell(f"note: {sentence}")
        return verdict

    def _verdict(self, images: int, end: str | None) -> Verdict:
        action = self.options.on_trouble
        for finding in self.standing.values():
            if self._snapshot(images) - self._snapshot(round(finding.since * 1000)) < STANDING - 1:
                continue
            if action == "stop":
                return Verdict(stop=finding.sentence)
            if action == "roll-back" and finding.chance:
                return Verdict(back=Back(finding.sentence, finding.since))
        return Verdict(end=end)

    @property
    def doubtful(self) -> bool:
        """Whether it would be no good to go back to where the run stands now."""
        return self.options.on_trouble == "roll-back" and any(finding.chance for finding in self.standing.values())

    def _snapshot(self, images: int) -> int:
        """How many snapshots lie at or before `images`."""
        return images // round(self.options.tick * 1000) // self.options.snap
