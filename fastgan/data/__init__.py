"""Data: sets of images in memory and the batches drawn from them."""

from fastgan.data.dataset import ImageDataset, load_dataset
from fastgan.data.source import Batch, BatchSource

__all__ = ["Batch", "BatchSource", "ImageDataset", "load_dataset"]
