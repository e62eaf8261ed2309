"""One generator against one discriminator: what its penalties and losses look at, and what lies in place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastgan.augment import Critic
from fastgan.config.options import AdversarialOptions
from fastgan.data import ImageDataset
from fastgan.losses import Labelled, Move, dragan, gradient_penalty, r1
from fastgan.models import FromNoise, build
from fastgan.train.game import Game
from fastgan.train.games.adversarial import joined_group
from fastgan.train.games.noise import play
from fastgan.train.loop import step
from fastgan.train.state import TrainState
from fastgan.train.statistics import Statistics
from fastgan.train.step import update


class TinyG(FromNoise):
    """A line from z to pixels."""

    def __init__(self):
        super().__init__()
        self.z_dim, self.num_classes, self.img_channels, self.resolution = 2, 0, 1, (4, 4)
        self.net = nn.Linear(2, 16)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        return torch.tanh(self.net(z)).reshape(-1, 1, 4, 4)


class TinyD(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(16, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(self, img: Tensor, c: Tensor | None = None) -> Tensor:
        return self.net(img.flatten(1))


def tiny(labelled: bool = False, **changes: Any) -> Game:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (9, 4, 4, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    labels, names = (torch.arange(9) % 3, tuple("xyz")) if labelled else (None, ())
    dataset = ImageDataset(images, labels=labels, class_names=names)
    options = AdversarialOptions(**{"batch": 4, "kimg": 1, "tick": 1, **changes})
    return play({"G": TinyG(), "D": TinyD()}, options, {"image": dataset}, torch.device("cpu"))


@pytest.mark.parametrize("name", ["r1", "r2", "wgan-gp", "wgan-lp", "zero-gp", "dragan"])
def test_penalties_look_at_the_move_and_share_its_fakes(name):
    game = tiny(penalties={name: (8.0, 1)})
    G, D = game.players[0].modules["G"], game.players[1].modules["D"]
    adversarial, penalty = game.players[1].terms
    assert (adversarial.name, penalty.name) == ("D", name)
    assert penalty.weight == (4.0 if name in ("r1", "r2") else 8.0)  # γ/2
    calls: list[int] = []
    original = G.forward
    G.forward = lambda z, c: calls.append(len(z)) or original(z, c)
    move = Move(game.players[1].source.next())
    adversarial.loss(move)
    random = torch.get_rng_state()
    got = penalty.loss(move)
    assert calls == [4]
    torch.set_rng_state(random)
    real, fake = move.batch["image"], original(move.batch["z"], move.batch["c"]).detach()
    expected = {
        "r1": lambda: r1(D, real),
        "r2": lambda: r1(D, fake),
        "wgan-gp": lambda: gradient_penalty(D, real, fake),
        "wgan-lp": lambda: gradient_penalty(D, real, fake, one_sided=True),
        "zero-gp": lambda: gradient_penalty(D, real, fake, target=0.0),
        "dragan": lambda: dragan(D, real),
    }[name]()
    assert got.requires_grad and got.shape == (4,)
    torch.testing.assert_close(got, expected)


def test_a_penalty_of_every_step_shares_an_evaluation_with_the_loss():
    """D sees real and generated images once each, whatever is penalised there, and gradients are the sum of both."""
    game = tiny(penalties={"r1": (8.0, 1), "r2": (4.0, 1)})
    D, state = game.players[1].modules["D"], TrainState(game)
    calls: list[int] = []
    original = D.forward
    D.forward = lambda img, c: calls.append(len(img)) or original(img, c)
    batch = game.players[1].source.next()
    with torch.no_grad():
        fake = batch["fake"] = Labelled(game.players[0].modules["G"](batch["z"]), batch["c"])
    update(game.players[1], game.players[1].terms, [batch], state)
    assert calls == [4, 4]
    got = [p.grad.clone() for p in D.parameters()]
    restored = tiny().players[1].modules["D"]  # the weights before the update
    softplus, real = nn.functional.softplus, batch["image"]
    loss = softplus(-restored(real)) + softplus(restored(fake.images))
    total = loss.mean() + 4 * r1(restored, real).mean() + 2 * r1(restored, fake.images).mean()
    for grad, expected in zip(got, torch.autograd.grad(total, list(restored.parameters())), strict=True):
        torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize("micro_batch", [4, 6, 8])
@pytest.mark.parametrize("num_classes", [0, 2])
def test_real_and_generated_images_as_one_batch_have_the_logits_that_they_have_apart(micro_batch, num_classes):
    torch.manual_seed(0)
    small = {"resolution": 8, "channel_base": 32, "channel_max": 4, "z_dim": 3, "w_dim": 4, "mapping_layers": 2}
    D = build("stylegan2", **small, num_classes=num_classes, mbstd_group=2)[2].double()
    group = joined_group(AdversarialOptions(batch=micro_batch, joined=True), D)
    assert group == 2

    def seen():
        labels = torch.eye(2, dtype=torch.float64)[torch.randint(2, [micro_batch])] if num_classes else None
        return torch.randn(micro_batch, 3, 8, 8, dtype=torch.float64), labels

    a, b = seen(), seen()
    for got, expected in zip(Critic(D).of_both(a, b, group), (D(*a), D(*b)), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_what_cannot_be_joined_is_refused():
    with pytest.raises(ValueError, match="joined must be False beside r2 at every step"):
        tiny(joined=True, penalties={"r1": (1.0, 16), "r2": (1.0, 1)})
    D = build("stylegan2", resolution=8, channel_base=32, channel_max=4, z_dim=3, w_dim=4)[2]
    with pytest.raises(ValueError, match=r"with 6 images a micro-batch: .* have 3, those of twice as many 4"):
        joined_group(AdversarialOptions(batch=6, joined=True), D)
    with pytest.raises(ValueError, match="joined must be False for a discriminator with batch normalisation"):
        joined_group(AdversarialOptions(batch=4, joined=True), nn.Sequential(nn.BatchNorm2d(3)))


def test_joined_and_apart_are_one_game():
    losses = {}
    for joined in (False, True):
        game = tiny(joined=joined, penalties={"r1": (8.0, 2)})
        move = Move(game.players[1].source.next())
        losses[joined] = game.players[1].terms[0].loss(move)
    torch.testing.assert_close(losses[True], losses[False])


def test_a_loss_that_compares_is_handed_real_logits_by_both_players():
    game = tiny(loss="relativistic")
    D, softplus = game.players[1].modules["D"], nn.functional.softplus
    for player, sign in zip(game.players, (-1, 1), strict=True):
        move = Move(player.source.next())
        value = player.terms[0].loss(move)
        fake = game.players[0].modules["G"](move.batch["z"], None)
        expected = softplus(sign * (D(fake) - D(move.batch["image"])))[:, 0]
        torch.testing.assert_close(value, expected)
    assert game.players[0].source.state_dict()["position"] == 8


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({"loss": "relativistic"}, True),
        ({"penalties": {"wgan-gp": (1.0, 1)}}, True),
        ({"penalties": {"zero-gp": (1.0, 4)}}, True),
        ({"penalties": {"r1": (1.0, 1)}}, False),
    ],
)
def test_images_that_are_compared_one_by_one_are_of_one_class(options, same):
    game = tiny(labelled=True, **options)
    for player in game.players if "loss" in options else game.players[1:]:
        batches = [player.source.next() for _ in range(4)]
        assert all(torch.equal(batch["c"], batch["label"]) for batch in batches) == same


def test_a_lazy_penalty_sees_the_fakes_that_are_there():
    game = tiny(penalties={"r2": (1.0, 2)})
    G, calls = game.players[0].modules["G"], []
    original = G.forward
    G.forward = lambda z, c: calls.append(len(z)) or original(z, c)
    state = TrainState(game)
    step(state)
    assert calls == [4, 4]  # for G's update and for D's


def test_images_are_counted_by_what_the_discriminator_sees():
    assert tiny(d_repeats=5).images_per_step == 20


def test_what_the_next_step_reads_stays_where_it_is():
    game = tiny(penalties={"r1": (1.0, 2)}, augment="instance-noise")
    state = TrainState(game)
    step(state)
    rates = [group["lr"] for player in game.players for group in player.optimizer.param_groups]
    kept = [*rates, *(schedule.target for schedule in game.schedules), *state.skipped.values()]
    kept += [tensor for average in game.averages.values() for tensor in (average.weight, *average.module.parameters())]
    kept += state.statistics._sums.values()
    before = [(tensor, tensor.data_ptr(), tensor._version) for tensor in kept]
    state.statistics.means()
    step(state)
    now = [group["lr"] for player in game.players for group in player.optimizer.param_groups]
    now += [*(schedule.target for schedule in game.schedules), *state.skipped.values()]
    now += [tensor for average in game.averages.values() for tensor in (average.weight, *average.module.parameters())]
    now += state.statistics._sums.values()
    assert [id(tensor) for tensor in now] == [id(tensor) for tensor, _, _ in before]
    assert [tensor.data_ptr() for tensor in now] == [place for _, place, _ in before]
    assert all(tensor._version > version for tensor, _, version in before[len(rates) :])  # and was written


def test_statistics_begin_anew_in_place():
    statistics = Statistics()
    statistics.report("a", torch.tensor([1.0, 3.0]))
    statistics.report("b", torch.tensor(5.0))
    sums = statistics._sums["a"]
    assert statistics.means() == {"a": 2.0, "b": 5.0}
    assert statistics.means() == {} and statistics.state_dict() == {}
    statistics.report("a", torch.tensor([7.0]))
    assert statistics._sums["a"] is sums
    saved = statistics.state_dict()
    other = Statistics()
    other.report("c", torch.tensor(1.0))
    other.load_state_dict(saved)
    assert other.means() == {"a": 7.0}


def test_restored_statistics_follow_what_is_reported_to_its_device():
    statistics = Statistics()
    statistics.load_state_dict({"a": torch.tensor([1.0, 3.0], dtype=torch.float64)})
    statistics.report("a", torch.ones(2, device="meta"))
    assert statistics._sums["a"].device.type == "meta"
