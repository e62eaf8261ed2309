"""Data: sets of images and of pairs, in memory or streamed, and the batches drawn from them."""

from fastgan.data.batches import Batches, UnalignedBatches
from fastgan.data.dataset import Dataset, ImageDataset
from fastgan.data.image import BrokenImageError
from fastgan.data.loading import load_dataset
from fastgan.data.pairs import load_pairs, load_two_sets

__all__ = [
    "Batches",
    "BrokenImageError",
    "Dataset",
    "ImageDataset",
    "UnalignedBatches",
    "load_dataset",
    "load_pairs",
    "load_two_sets",
]
