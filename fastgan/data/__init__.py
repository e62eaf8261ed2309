"""Data: sets of images, in memory or streamed, and the batches drawn from them."""

from fastgan.data.dataset import Dataset, ImageDataset
from fastgan.data.image import BrokenImageError
from fastgan.data.loading import load_dataset
from fastgan.data.source import Batch, BatchSource

__all__ = ["Batch", "BatchSource", "BrokenImageError", "Dataset", "ImageDataset", "load_dataset"]
