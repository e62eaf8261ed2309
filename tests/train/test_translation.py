"""Translations: what their players minimise, what discriminators see, what is shown and measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from fastgan.config.data import DataOptions
from fastgan.config.options import PairedOptions, UnpairedOptions
from fastgan.generate.quantise import to_uint8
from fastgan.losses import Move
from fastgan.train.game import Game
from fastgan.train.games.buffer import ImageBuffer
from fastgan.train.games.columns import Translated
from fastgan.train.games.translation import play_unpaired
from fastgan.train.loop import step
from fastgan.train.players import Shared
from fastgan.train.sets import PAIRS
from fastgan.train.state import TrainState
from tests.train.games import Points
from tests.train.translating import TinyD, TinyG, paired, sides, unpaired


def mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean(dim=(1, 2, 3))


def assert_moves(game: Game, *expected: dict[str, torch.Tensor]) -> None:
    """The values of every term in the first move of each player, in turn."""
    for player, values in zip(game.players, expected, strict=True):
        move = Move(player.source.next())
        got = {term.name: term.loss(move).detach() for term in player.terms}
        assert got.keys() == values.keys()
        for name, value in values.items():
            torch.testing.assert_close(got[name], value)


def test_paired_terms_are_those_of_the_paper():
    game = paired(mirror=False)
    G, D = game.players[0].modules["G"], game.players[1].modules["D"]
    batch = paired(mirror=False).players[0].source.next()
    a, b = batch["a"], batch["b"]
    with torch.no_grad():
        fake = G(a)
        fake_logits, real_logits = D(a, fake), D(a, b)
    softplus = nn.functional.softplus
    assert_moves(
        game,
        {"G": mean(softplus(-fake_logits)), "l1": mean((fake - b).abs())},
        {"D": mean(softplus(fake_logits)) + mean(softplus(-real_logits))},
    )
    assert [term.weight for term in game.players[0].terms] == [1.0, 10.0]


def test_unpaired_terms_are_those_of_the_paper():
    game = unpaired(mirror=False, gan_weight=2.0, buffer=0)
    modules = {**game.players[0].modules, **game.players[1].modules}
    networks = (modules[name] for name in ("G_ab", "G_ba", "D_a", "D_b"))
    batch = unpaired(mirror=False, buffer=0).players[0].source.next()
    a, b = batch["a"], batch["b"]
    with torch.no_grad():
        G_ab, G_ba, D_a, D_b = networks
        fake_a, fake_b = G_ba(b), G_ab(a)
        expected_g = {
            "G": mean((D_a(fake_a) - 1).square() / 2) + mean((D_b(fake_b) - 1).square() / 2),
            "cycle": mean((G_ba(fake_b) - a).abs()) + mean((G_ab(fake_a) - b).abs()),
            "identity": mean((G_ba(a) - a).abs()) + mean((G_ab(b) - b).abs()),
        }
        expected_d = {
            "D_a": mean(D_a(fake_a).square() / 2) + mean((D_a(a) - 1).square() / 2),
            "D_b": mean(D_b(fake_b).square() / 2) + mean((D_b(b) - 1).square() / 2),
        }
    weights = {term.name: term.weight for term in game.players[0].terms}
    assert weights == {"G": 2.0, "cycle": 10.0, "identity": 5.0}
    assert_moves(game, expected_g, expected_d)


def test_both_players_see_the_same_images_and_generators_translate_once():
    game = unpaired()
    calls: list[int] = []
    G = game.players[0].modules["G_ab"]
    original = G.forward
    G.forward = lambda image: calls.append(len(image)) or original(image)
    state = TrainState(game)
    step(state)
    assert len(calls) == 3  # a to b, its identity, and back of b's translation; none for D
    leader: Any = game.players[0].source
    follower = game.players[1].source
    assert not leader.waiting
    assert leader.next() is follower.next()


def test_a_discriminator_that_moves_more_often_draws_batches_of_its_own():
    game = paired(d_repeats=2)
    state = TrainState(game)
    step(state)
    source: Any = game.players[0].source
    assert source.state_dict()["position"] == 4 and not source.waiting


def test_shared_batches_go_on_where_they_were():
    shared = Shared(Points(4, (0, 0), 0))
    for source in (shared, shared, shared.follower):
        source.next()
    other = Shared(Points(4, (0, 0), 0))
    other.load_state_dict(shared.state_dict())
    assert torch.equal(other.next(), shared.next()) and not len(other.waiting) - 1


def test_learning_rates_fall_in_a_straight_line_over_the_end_of_the_run():
    game = paired(batch=2, kimg=0.02, decay=0.5, g_lr=0.01)
    state = TrainState(game)
    rate, seen = game.players[0].optimizer.param_groups[0]["lr"], []
    for _ in range(10):
        step(state)
        seen.append(float(rate))
    assert seen == pytest.approx([0.01] * 6 + [0.008, 0.006, 0.004, 0.002])
    assert game.players[0].optimizer.param_groups[0]["lr"] is rate
    assert float(paired(decay=0.0).players[0].optimizer.param_groups[0]["lr"]) == pytest.approx(0.002)


def test_a_restored_learning_rate_is_the_tensor_that_the_schedule_writes():
    whole, resumed = TrainState(paired(decay=1.0)), TrainState(paired(decay=1.0))
    step(whole)
    resumed.restore(whole.capture())
    step(resumed)
    group = resumed.game.players[0].optimizer.param_groups[0]
    assert float(group["lr"]) == pytest.approx(0.002 * 0.9)
    assert any(schedule.target is group["lr"] for schedule in resumed.game.schedules)


def test_the_buffer_fills_then_gives_half_of_what_it_holds():
    torch.manual_seed(0)
    buffer = ImageBuffer(4, (1, 1, 1), "cpu")
    first = torch.arange(3.0).reshape(3, 1, 1, 1)
    assert torch.equal(buffer(first), first) and int(buffer.filled) == 3
    images, filled = buffer.images, buffer.filled
    second = torch.arange(3.0, 6.0).reshape(3, 1, 1, 1)
    assert torch.equal(buffer(second), second) and int(buffer.filled) == 4
    earlier = []
    for number in range(10, 4010, 2):
        held = set(buffer.images.flatten().tolist())
        given = torch.tensor([number, number + 1.0]).reshape(2, 1, 1, 1)
        got = buffer(given)
        assert set(got.flatten().tolist()) <= held | {number, number + 1.0}
        now = set(buffer.images.flatten().tolist())
        assert now | set(got.flatten().tolist()) == held | {number, number + 1.0}  # nothing is lost or doubled
        earlier += (got != given).flatten().tolist()
    assert sum(earlier) / len(earlier) == pytest.approx(0.5, abs=0.03)
    assert buffer.images is images and buffer.filled is filled
    with pytest.raises(ValueError, match="images must be at most 4, what the buffer holds, got 5"):
        buffer(torch.zeros(5, 1, 1, 1))
    with pytest.raises(ValueError, match=r"images must have shape \[4, 1, 1, 1\], got \[2, 1, 1, 1\]"):
        buffer.load_state_dict(ImageBuffer(2, (1, 1, 1), "cpu").state_dict())


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_shown_of_pairs(channels):
    game = paired(channels, held=True)
    step(TrainState(game))
    shown = game.preview()
    assert shown.captions == ("input", "output", "target") and shown.columns == 9
    held: Any = sides(3, channels=channels)
    b = held["b"].images.permute(0, 3, 1, 2)
    assert shown.images.shape == (9, 3, 8, 8)
    assert torch.equal(shown.images[2::3], b)
    assert torch.equal(shown.images[0::3], held["a"].images.permute(0, 3, 1, 2).expand(-1, 3, -1, -1))
    G = game.averages["G"].module
    a = held["a"].images.permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(shown.images[1::3].int(), to_uint8(G(a)).int(), rtol=0, atol=1)
    target = b / 127.5 - 1
    assert game.figures()["l1_to_target"] == pytest.approx((G(a) - target).abs().mean().item(), rel=1e-5)
    made = torch.cat(list(game.sample(5)))
    assert made.shape == (5, 3, 8, 8) and torch.equal(made[3], made[0]) and made.dtype == torch.uint8


def test_what_is_shown_without_pairs():
    assert unpaired().preview().captions == ("input a", "output b", "back to a", "input b", "output a", "back to b")
    assert unpaired().figures is None
    held = unpaired(held=True)
    assert held.preview().captions == ("input a", "output b", "target b", "input b", "output a", "target a")
    assert set(held.figures()) == {"l1_to_target_b", "l1_to_target_a"}


def test_impossible_translations_are_refused():
    networks = {"G_ab": TinyG(1), "G_ba": TinyG(3, 1), "D_a": TinyD(1), "D_b": TinyD()}
    with pytest.raises(ValueError, match="identity_weight must be 0 for sets of different channels, got 0.5 and 1"):
        play_unpaired(networks, UnpairedOptions(batch=2), sides(channels=1), torch.device("cpu"))
    with pytest.raises(ValueError, match="G_ab must be a fastgan.models.FromImage, got Identity"):
        play_unpaired(networks | {"G_ab": nn.Identity()}, UnpairedOptions(batch=2), sides(), torch.device("cpu"))
    with pytest.raises(ValueError, match="buffer must be 0 or hold a micro-batch of 32 images, got 8"):
        UnpairedOptions(buffer=8)


def test_penalties_of_two_discriminators_share_a_step():
    game = unpaired(penalties={"r1": (1.0, 2)}, decay=0.0)
    player, rate = game.players[1], game.players[1].optimizer.param_groups[0]["lr"]
    assert [[term.name for term in stage] for stage in player.stages(0)] == [["D_a", "D_b"], ["r1_a", "r1_b"]]
    assert [[term.name for term in stage] for stage in player.stages(1)] == [["D_a", "D_b"]]
    state = TrainState(game)
    for _ in range(4):
        step(state)
    taken = {int(each["step"]) for name, each in player.optimizer.state.items() if name.ndim > 1}
    assert taken == {6} and float(rate) * 6 == pytest.approx(0.002 * 4)


def test_lazy_penalties_fill_the_buffer_no_second_time():
    game = unpaired(penalties={"r2": (1.0, 1), "zero-gp": (1.0, 2)}, buffer=5)
    state, buffer = TrainState(game), game.players[1].extras["buffer_b"]
    assert isinstance(buffer, ImageBuffer)
    for filled in (2, 4, 5):
        step(state)
        assert int(buffer.filled) == filled


@pytest.mark.parametrize("make", [paired, unpaired])
def test_images_are_counted_by_what_discriminators_see(make):
    assert make(d_repeats=3).images_per_step == 6


@pytest.mark.parametrize("stream", [False, True])
def test_pairs_that_are_shown_are_pairs_where_one_image_is_broken(tmp_path, stream):
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        for number in range(6):
            Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(tmp_path / side / f"{number}.png")
    (tmp_path / "a/0.png").write_bytes(b"no image")
    (tmp_path / "b/4.png").write_bytes(b"no image")
    sets = PAIRS.load(DataOptions(source=str(tmp_path), skip_broken=True, stream=stream))
    shown = Translated(sets, PairedOptions(batch=4), torch.device("cpu"))
    assert shown.difference(lambda a, b: a, lambda a, b: b) == 0
    for dataset in sets.values():
        dataset.close()
