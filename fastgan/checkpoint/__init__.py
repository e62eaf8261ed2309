"""Checkpoints: one .safetensors file holding a tree of tensors and plain values, replaced whole or not at all."""

from fastgan.checkpoint.atomic import replacing
from fastgan.checkpoint.format import (
    FORMAT_VERSION,
    CheckpointError,
    load_checkpoint,
    load_tensors,
    read_metadata,
    save_checkpoint,
)
from fastgan.checkpoint.numbering import checkpoints, images_of, latest_checkpoint, numbered

__all__ = [
    "FORMAT_VERSION",
    "CheckpointError",
    "checkpoints",
    "images_of",
    "latest_checkpoint",
    "load_checkpoint",
    "load_tensors",
    "numbered",
    "read_metadata",
    "replacing",
    "save_checkpoint",
]
