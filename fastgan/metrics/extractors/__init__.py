"""What makes numbers of images, between which metrics measure."""

from fastgan.metrics.extractors.extractor import Extractor, make_extractor

__all__ = ["Extractor", "make_extractor"]
