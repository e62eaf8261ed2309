"""Data: sets of images in memory and the batches drawn from them."""

from fastgan.data.dataset import ImageDataset, load_dataset

__all__ = ["ImageDataset", "load_dataset"]
