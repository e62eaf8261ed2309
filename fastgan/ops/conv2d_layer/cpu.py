"""The passes on a CPU: Winograd's algorithm where it is faster, oneDNN's convolutions elsewhere."""

from __future__ import annotations

from fastgan.ops.conv2d_layer.passes import Passes


class CpuPasses(Passes):
    """See `Passes`."""
