"""Frames of videos: keyframes, seams, what moves and what stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fastgan.generate import Sampler, Video
from fastgan.generate.quantise import to_uint8
from fastgan.generate.video import SHOTS
from fastgan.models.registry import build
from fastgan.models.transforms import placement
from tests.models import movable

SMALL = {"resolution": (16, 16), "channel_base": 128, "channel_max": 8}


def sampler(name: str, **overrides: Any) -> Sampler:
    own = {"z_dim": 8, "w_dim": 8, "mapping_layers": 2} if name == "stylegan2" else {"z_dim": 8}
    torch.manual_seed(0)
    _, G, _ = build(name, **{**SMALL, **own, **overrides})
    for key, parameter in G.named_parameters():
        if key.endswith("noise_strength"):
            parameter.data.fill_(0.5)
    return Sampler(G)


def watched(video: Video) -> list[tuple[Tensor, dict[str, Any]]]:
    """The first argument and the options of every call that makes images."""
    calls = []
    make = video.G.synthesis if hasattr(video.G, "synthesis") else video.G
    make.register_forward_pre_hook(lambda module, given, options: calls.append((given[0], options)), with_kwargs=True)
    for _ in video:
        pass
    return calls


@pytest.mark.parametrize("name", ["stylegan2", "dcgan"])
@pytest.mark.parametrize("classes", [0, 3])
def test_keyframes_are_the_images_of_their_seeds_to_the_bit(name: str, classes: int) -> None:
    source = sampler(name, num_classes=classes)
    psi = 0.7 if name == "stylegan2" else 1.0
    seeds = [5, 2, 900, 41, 7, 8]
    video = Video(source, seeds, cells=2, steps=3, truncation_psi=psi, batch_size=1)
    frames = list(video)
    assert len(frames) == len(video) == 9
    images = source.images(seeds, psi, batch_size=1)
    for k in range(3):
        assert torch.equal(frames[3 * k], images[2 * k : 2 * k + 2])
        assert not torch.equal(frames[3 * k + 1], frames[3 * k])
    again = list(Video(source, seeds, cells=2, steps=3, truncation_psi=psi, batch_size=5))
    assert (torch.stack(again).int() - torch.stack(frames).int()).abs().max() <= 1


def test_classes_take_turns_where_several_are_asked_for() -> None:
    source = sampler("stylegan2", num_classes=3)
    frames = list(Video(source, [4, 5], cells=2, steps=2, class_index=[2, 0], truncation_psi=0.5, batch_size=1))
    for frame, k in ((frames[0], 2), (frames[2], 0)):
        assert torch.equal(frame, source.images([4, 5], 0.5, k, batch_size=1))
    label = [0.5, -1.0, 0.25]
    assert torch.equal(
        next(iter(Video(source, [4, 5], labels=label, batch_size=1)))[0],
        source.images([4], labels=label, batch_size=1)[0],
    )


@pytest.mark.parametrize("name", ["stylegan2", "dcgan"])
def test_it_does_not_matter_where_a_walk_begins(name: str) -> None:
    """The step from the last frame to the first is thus one like the others."""
    source = sampler(name)
    walks = [Video(source, seeds, steps=5, batch_size=7) for seeds in ([0, 1, 2, 3], [2, 3, 0, 1])]
    one, other = (torch.cat([rows for rows, _ in watched(video)]) for video in walks)
    torch.testing.assert_close(one.roll(10, 0), other, rtol=0, atol=1e-6)
    for a, b in zip([*walks[0]][10:], walks[1], strict=False):
        assert (a.int() - b.int()).abs().max() <= 1


def test_the_noise_of_a_video_stays() -> None:
    source = sampler("stylegan2")
    assert {options["noise_mode"] for _, options in watched(Video(source, [0, 1], steps=2))} == {"const"}
    still = Video(source, [0, 1], steps=2, truncation_psi=0.0, batch_size=1)  # the average image all through
    frames = torch.stack(list(still))
    assert torch.equal(frames, frames[:1].expand_as(frames))
    assert not torch.equal(frames[0], next(iter(Video(source, [0, 1], truncation_psi=0.0, noise_mode="none"))))
    with pytest.raises(ValueError, match="^noise_mode must be one of const, none, got 'random'$"):
        Video(source, [0, 1], noise_mode="random")


def places(video: Video) -> Tensor:
    """Where the picture of each image is."""
    return torch.cat([options["transform"] for _, options in watched(video)])


def test_a_rotation_turns_steadily_and_once(tmp_path: Path) -> None:
    source = Sampler.from_checkpoint(movable.checkpoint(tmp_path))
    video = Video(source, [3, 9], shot="rotate", cells=2, steps=8, batch_size=3)
    assert len(video) == 8
    expected = torch.stack([placement((0.0, 0.0), 45.0 * i) for i in range(8)])
    torch.testing.assert_close(places(video), expected.repeat_interleave(2, 0))
    frames = list(video)
    stay = source.images([3, 9], batch_size=3)
    assert torch.equal(frames[0], stay)
    assert (frames[2].int() - stay.rot90(1, (2, 3)).int()).abs().max() <= 1


def test_a_pan_goes_a_circle_at_one_speed(tmp_path: Path) -> None:
    source = Sampler.from_checkpoint(movable.checkpoint(tmp_path))
    video = Video(source, [3], shot="pan", steps=16, batch_size=16)
    matrices = places(video)
    torch.testing.assert_close(matrices[:, :2, :2], torch.eye(2).expand(16, 2, 2))
    points = torch.linalg.inv(matrices)[:, :2, 2]
    torch.testing.assert_close(points[[0, 4, 8, 12]], torch.tensor([[0, 0], [1, 1], [0, 2], [-1, 1]]) / 8)
    steps = (points.roll(-1, 0) - points).norm(dim=1)
    torch.testing.assert_close(steps, steps[:1].expand(16))
    ws = source.styles([3])
    made = [to_uint8(source.G.synthesis(ws, transform=matrix)) for matrix in matrices]
    frames = list(video)
    assert all((frame.int() - one.int()).abs().max() <= 1 for frame, one in zip(frames, made, strict=True))
    assert torch.equal(frames[0], source.images([3]))


@pytest.mark.parametrize("shot", SHOTS)
def test_frames_come_one_by_one(tmp_path: Path, shot: str) -> None:
    source = Sampler.from_checkpoint(movable.checkpoint(tmp_path))
    video = Video(source, [3] if shot != "walk" else [3, 4], shot=shot, steps=10**6, batch_size=2)
    made = []
    video.G.synthesis.register_forward_pre_hook(lambda module, given: made.append(len(given[0])))
    for _, frame in zip(range(3), video, strict=False):
        assert frame.shape == (1, 3, 16, 16)
    assert sum(made) <= 6


def test_labels_of_generators_without_styles_mix(tmp_path: Path) -> None:
    source = sampler("dcgan", num_classes=2)
    given = []
    video = Video(source, [0], class_index=[0, 1], steps=4, batch_size=1)
    video.G.register_forward_pre_hook(lambda module, inputs: given.append(inputs))
    frames = list(video)
    assert torch.cat([c for _, c in given])[:, 1].tolist() == [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25]
    assert torch.equal(torch.cat([z for z, _ in given]), source.latents([0])[0].expand(8, -1))
    assert not torch.equal(frames[0], frames[4])


@pytest.mark.parametrize(
    ("seeds", "options", "message"),
    [
        ([1, 2], {"shot": "zoom"}, "shot must be one of walk, pan, rotate, got 'zoom'"),
        ([1], {"shot": "pan"}, r"shot must be walk: a stylegan2 generator cannot move its picture, .*; got pan"),
        ([1], {}, "seeds must be 2 or more for a walk, got 1"),
        ([1, 2, 3], {"cells": 2}, "seeds must be 2 or more times the 2 cells for a walk, got 3"),
        ([1, 2], {"cells": 0}, "cells must be an integer of at least 1, got 0"),
        ([1, 2], {"steps": 0.5}, "steps must be an integer of at least 1, got 0.5"),
        ([1, 2], {"truncation_center": "none"}, "truncation_center must be one of class, all; got 'none'"),
        ([1, 2], {"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ([1, -2], {}, "seeds must be from 0 to 4294967295, got -2"),
    ],
)
def test_what_cannot_be_is_said_at_once(seeds: list[int], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Video(sampler("stylegan2"), seeds, **options)


def test_a_shot_that_holds_takes_a_seed_a_cell(tmp_path: Path) -> None:
    source = Sampler.from_checkpoint(movable.checkpoint(tmp_path))
    with pytest.raises(ValueError, match="^seeds must be 2 for a pan, one a cell, got 4$"):
        Video(source, range(4), shot="pan", cells=2)


def test_a_generator_without_styles_is_not_truncated() -> None:
    with pytest.raises(ValueError, match="^truncation_psi must be 1: a dcgan generator maps no latents to styles"):
        Video(sampler("dcgan"), [0, 1], truncation_psi=0.5)
