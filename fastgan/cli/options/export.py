"""What `fastgan export` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass
class ExportOptions:
    """Write the averaged generator of a checkpoint as one file that makes images of tensors, without fastgan.

    The file is run once, and compared with what fastgan computes, before it takes the place of --output.
    """

    network: Path
    """checkpoint (.safetensors) of a run, or the folder of a run: then its newest"""
    output: Path
    """file to write, NAME.onnx or NAME.pt2; replaced whole; its folder is made if absent"""
    format: Literal["onnx", "torch"] | None = None
    """onnx, or torch: a program of torch.export; default: what the ending of --output says"""
    inputs: Literal["z", "ws"] = "z"
    """what goes in: z, with the label c of a conditional model, or ws, a row of w for each layer"""
    batch: str = "dynamic"
    """images of a call: a number, or dynamic, any"""
    trunc: float = 1.0
    """truncation psi: 1 leaves variety as it is, 0 gives the average image"""
    trunc_center: Literal["class", "all"] = "class"
    """what truncation leads to: the average of the image's class, or of all classes"""
    noise_mode: Literal["const", "none"] = "const"
    """the layers' own noise, or none"""
    cfg: str | None = None
    """MODULE:NAME of the checkpoint's family, if it is one in a module of your own"""
