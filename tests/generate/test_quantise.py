from __future__ import annotations

import pytest
import torch

from fastgan.generate.quantise import to_uint8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_known_values(dtype: torch.dtype) -> None:
    values = torch.tensor([-9.0, -1.0, -0.5, 0.0, 0.5, 1.0, 9.0], dtype=dtype)
    assert to_uint8(values).tolist() == [0, 0, 64, 128, 191, 255, 255]


def test_every_byte_comes_back() -> None:
    # The pipeline's images are byte / 127.5 - 1: quantising is its inverse.
    pixels = torch.arange(256)
    assert torch.equal(to_uint8(pixels / 127.5 - 1), pixels.to(torch.uint8))


def test_bytes_pass_and_other_integers_do_not() -> None:
    pixels = torch.arange(4, dtype=torch.uint8)
    assert to_uint8(pixels) is pixels
    with pytest.raises(TypeError, match=r"got torch\.int32"):
        to_uint8(torch.zeros(2, dtype=torch.int32))
