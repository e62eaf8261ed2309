"""Model families; each is imported when first asked for."""

from fastgan.models.registry import MODELS, Family, build, configure, family

__all__ = ["MODELS", "Family", "build", "configure", "family"]
