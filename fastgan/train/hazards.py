"""What to warn of before training: options that make wrong images of these sets, images that cannot be read."""

from __future__ import annotations

from collections.abc import Iterable

from fastgan.choices import AUGPIPES
from fastgan.config.options import AdversarialOptions
from fastgan.data import Dataset
from fastgan.train.config import RunConfig


def warnings_of(config: RunConfig, sets: Iterable[Dataset]) -> list[str]:
    """Sentences, each once."""
    training, warnings = config.training, list[str]()
    turned = (
        isinstance(training, AdversarialOptions)
        and training.augment in ("ada", "fixed")
        and "blit" in AUGPIPES[training.augpipe].split()
    )
    for dataset in sets:
        hazards = ", ".join(dataset.mirror_hazards)
        if training.mirror and hazards:
            warnings.append(f"--mirror flips images of {hazards}: their mirror images are wrong")
        if turned and hazards:
            warnings.append(
                f"--aug shows D images of {hazards} mirrored and turned: where p comes near 1, G "
                "makes such too; --augpipe color has none of that"
            )
        if training.mirror and config.data.cond and not dataset.num_classes:
            warnings.append("--mirror flips images, not what their label vectors say of left and right")
        warnings += [f"left out: {message}" for message in dataset.broken]
    return list(dict.fromkeys(warnings))
