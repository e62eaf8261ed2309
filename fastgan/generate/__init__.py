"""Pictures from trained generators."""

from fastgan.generate.sampling import Sampler
from fastgan.generate.seeds import parse_seeds
from fastgan.generate.translating import Translator

__all__ = ["Sampler", "Translator", "parse_seeds"]
