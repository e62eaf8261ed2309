"""What the tests run of squared_norm and interpolate; see tests.ops.cases."""

from __future__ import annotations

SHAPES = {
    "odd": (2, 5, 7, 3),
    "one-pixel": (3, 4, 1, 1),
    "one-channel": (2, 1, 5, 4),
    "packets": (3, 8, 4, 6),
    "flat": (6, 11),
    "ws": (3, 14, 40),
    "long": (2, 3, 67, 173),  # several chunks of a sample on a CPU, several blocks on a GPU
    "empty": (0, 4, 3, 3),
    "nothing": (2, 0, 3, 3),
}
