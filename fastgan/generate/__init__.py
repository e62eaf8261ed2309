"""Pictures from trained generators."""

from fastgan.generate.sampling import Sampler
from fastgan.generate.seeds import parse_seeds

__all__ = ["Sampler", "parse_seeds"]
