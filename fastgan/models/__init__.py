"""Model families; each is imported when first asked for."""

from fastgan.models.protocols import FromImage, FromNoise, Layered, Movable, Styled
from fastgan.models.registry import MODELS, Family, build, configure, family, import_family

__all__ = [
    "MODELS",
    "Family",
    "FromImage",
    "FromNoise",
    "Layered",
    "Movable",
    "Styled",
    "build",
    "configure",
    "family",
    "import_family",
]
