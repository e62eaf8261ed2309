from __future__ import annotations

import pytest

from fastgan.models.pyramid import channels_at, pyramid


@pytest.mark.parametrize(
    ("resolution", "start", "levels"),
    [
        ((8, 8), (4, 4), 1),
        ((1024, 1024), (4, 4), 8),
        ((64, 96), (4, 6), 4),
        ((96, 64), (6, 4), 4),
        ((48, 48), (6, 6), 3),
        ((40, 256), (5, 32), 3),
        ((18, 24), (9, 12), 1),
    ],
)
def test_start_and_levels(resolution, start, levels):
    sizes = pyramid(resolution)
    assert sizes[0] == start and sizes[-1] == resolution and len(sizes) == levels + 1


@pytest.mark.parametrize("resolution", [(4, 4), (7, 8), (6, 6), (15, 15), (8, 9)])
def test_what_cannot_be_halved_is_refused(resolution):
    with pytest.raises(ValueError, match="resolution must be"):
        pyramid(resolution)


def test_channel_table_of_the_published_network():
    table = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}
    assert {r: channels_at((r, r), 32768, 512) for r in table} == table
    assert channels_at((64, 96), 32768, 512) == 341  # the larger side decides
    assert channels_at((64, 64), 16, 512) == 1
