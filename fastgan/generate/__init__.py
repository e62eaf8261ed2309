"""Pictures from trained generators."""

from fastgan.generate.sampling import Sampler
from fastgan.generate.seeds import parse_seeds
from fastgan.generate.translating import Translator
from fastgan.generate.video import Video

__all__ = ["Sampler", "Translator", "Video", "parse_seeds"]
