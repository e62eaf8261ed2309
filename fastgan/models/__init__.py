"""Model families; each is imported when first asked for."""

from fastgan.models.protocols import FromImage, FromNoise, Movable, Styled
from fastgan.models.registry import MODELS, Family, build, configure, family, import_family

__all__ = [
    "MODELS",
    "Family",
    "FromImage",
    "FromNoise",
    "Movable",
    "Styled",
    "build",
    "configure",
    "family",
    "import_family",
]
