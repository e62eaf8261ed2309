"""Two processes train as one does with as many micro-batches, and what each has alone is kept for it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from fastgan.config.options import TrainingOptions
from fastgan.data import Batches, ImageDataset, UnalignedBatches
from fastgan.train.loop import step
from fastgan.train.shares import Place, part_of, play_together, seed_of
from fastgan.train.state import TrainState
from tests.train.games import wgan
from tests.train.test_state import flatten, stylegan2_game
from tests.train.together import results
from tests.train.translating import unpaired


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """case -> what one process ended with, and each of two."""
    folder = tmp_path_factory.mktemp("together")
    alone, *ranks = results(folder, 1) + results(folder, 2)
    return {case: [each[case] for each in (alone, *ranks)] for case in alone}


def different(a: Any, b: Any) -> set[str]:
    """Names of what differs, to the bit."""
    mine, theirs = dict(flatten(a)), dict(flatten(b))
    assert mine.keys() == theirs.keys()
    return {
        name
        for name, value in mine.items()
        if not (torch.equal(value, theirs[name]) if isinstance(value, torch.Tensor) else value == theirs[name])
    }


def test_two_ranks_train_as_one_process_with_two_micro_batches(ended) -> None:
    alone, first, second = ({**each} for each in ended["same_as_one"])
    # After the first step, whose updates show what has no gradient, all buckets are sent during the backward passes.
    assert alone.pop("overlapped") == []
    assert [each.pop("overlapped")[3:] for each in (first, second)] == [[True] * 7] * 2
    assert not different(first, second)
    # Halves of a sum are exact: not even the rounding differs. Alone, w_avg follows the first micro-batch of a step.
    statistics = {name for name in different(alone, first) if name.startswith("/statistics")}
    w_avg = {"/G/modules/G/mapping.w_avg", "/emas/G/mapping.w_avg"}
    assert different(alone, first) - statistics == w_avg | {"/G/source/drawn", "/D/source/drawn"}
    for name, known in alone["statistics"].items():
        times = 2 if name.startswith("gradient/") else 1  # each rank tells the norm of the whole gradient
        torch.testing.assert_close(times * known, first["statistics"][name], rtol=1e-6, atol=1e-6)
    assert different(alone["G"]["source"]["source"], first["G"]["source"]["source"]) == set()  # the place in the data


def test_parameters_without_gradient_on_some_ranks(ended) -> None:
    _, first, second = ended["some_without_gradient"]
    always, on_one, later = torch.full((3,), 1.5), torch.full((3,), 1.0), torch.full((3,), 0.5)  # means of 1 and 2
    expected = [[always, on_one, None, None], [always, on_one, later, None], [always, on_one, None, None]]
    for gradients, with_moments in (first, second):
        for found, wanted in zip(gradients, expected, strict=True):
            for gradient, value in zip(found, wanted, strict=True):
                assert (gradient is None) == (value is None)
                assert value is None or torch.equal(gradient, value)
        assert with_moments == [0, 1, 2]


def test_an_update_that_is_broken_on_one_rank_is_left_out_by_all(ended) -> None:
    _, first, second = ended["broken_on_one"]
    for rank in (first, second):
        assert {name: count.item() for name, count in rank["skipped"].items()} == {"G": 1, "D": 0}
        assert torch.equal(rank["before"], rank["broken"]) and not torch.equal(rank["before"], rank["after"])
        assert rank["after"].isfinite().all()
    assert not different(first, second)


def test_what_follows_the_batch_is_the_same_on_all_ranks_and_the_rest_is_its_own(ended) -> None:
    alone, first, second = ended["what_follows"]
    for name in first:
        mine = {each for each in different(first[name], second[name]) if not each.startswith(("/statistics", "/rng"))}
        assert mine == (
            {"/players/D/extras/buffer_a/images", "/players/D/extras/buffer_b/images"} if "un" in name else set()
        )
        assert different({"rng": first[name]["rng"]}, {"rng": second[name]["rng"]})
    modules = first["stylegan2"]["players"]["G"]["modules"]["G"]
    theirs = alone["stylegan2"]["players"]["G"]["modules"]["G"]
    constant = [key for key in modules if key.endswith("noise_const")]
    assert constant and all(torch.equal(modules[key], theirs[key]) for key in constant)
    for game, key in (("stylegan3", "synthesis.layers.1.magnitude_ema"), ("dcgan", "norms.0.running_mean")):
        moved = first[game]["players"]["G"]["modules"]["G"][key]
        assert not torch.equal(moved, torch.ones_like(moved)) and not torch.equal(moved, torch.zeros_like(moved))
    assert first["stylegan2"]["players"]["G"]["extras"]["path_length"]["mean"] > 0
    assert first["stylegan2"]["players"]["D"]["extras"]["augment"]["updates"] > 0


def test_ranks_that_go_on_are_those_that_did_not_stop(ended) -> None:
    for whole, again in ended["resumed"]:
        assert not different(whole, again)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_each_epoch(world: int) -> None:
    """Together they draw what one source does, and the place in the data is that of all."""
    images = torch.arange(11, dtype=torch.uint8)[:, None, None, None].expand(11, 2, 2, 1).contiguous()

    def source(rank: int = 0, of: int = 1) -> Batches:
        batches = Batches(ImageDataset(images), 2, seed=3, mirror=True)
        batches.divide(rank, of)
        return batches

    alone, ranks = source(), [source(rank, world) for rank in range(world)]
    for _ in range(5):  # across ends of epochs
        for rank in ranks:
            assert not different(alone.next(), rank.next())
        assert all(rank.state_dict() == ranks[0].state_dict() for rank in ranks)
    assert ranks[0].state_dict() == alone.state_dict()
    with pytest.raises(ValueError, match=r"rank must lie in 0\.\.1, got 2"):
        source(2, 2)


def test_ranks_share_sets_that_are_independent() -> None:
    sets = {
        name: ImageDataset(torch.randint(0, 256, (n, 2, 2, 1), dtype=torch.uint8)) for name, n in (("a", 5), ("b", 7))
    }
    alone, first, second = (UnalignedBatches(sets, 1, seed=0) for _ in range(3))
    first.divide(0, 2)
    second.divide(1, 2)
    for _ in range(9):
        assert not different(alone.next(), first.next())
        assert not different(alone.next(), second.next())


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    options = TrainingOptions(batch=12, batch_gpu=4)
    assert Place(2, 3, 2, 3).share(options) is not None and Place().share(options) is options
    assert Place(0, 2).share(TrainingOptions(batch=12)).batch_gpu == 6
    with pytest.raises(ValueError, match=r"must be a multiple of 2 ranks x batch_gpu=4, got 12"):
        Place(0, 2).share(options)
    with pytest.raises(ValueError, match=r"must be a multiple of 5 ranks, got 12"):
        Place(0, 5).share(TrainingOptions(batch=12))


def test_a_source_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ValueError, match=r"player 'critic' must have divide\(rank, world\).*Points has not"):
        play_together(wgan().game, Place(1, 2), 0)


def test_a_rank_plays_its_share_of_the_micro_batches_with_its_own_random_numbers() -> None:
    drawn = []
    for rank in range(2):
        torch.manual_seed(0)
        state = stylegan2_game(batch_gpu=1)
        play_together(state.game, Place(rank, 2), 5)
        assert [player.accumulate for player in state.game.players] == [2, 2]
        assert state.game.images_per_step == 4
        drawn.append(torch.randn(4))
    assert not torch.equal(*drawn)
    assert len({seed_of(0, 1), seed_of(1, 0), seed_of(0, 2), seed_of(0, 1, 5)}) == 4


def test_the_parts_of_a_checkpoint() -> None:
    """Of as many ranks each gets its own; of another number statistics are added up, and no random numbers repeat."""
    state = TrainState(unpaired())
    step(state)
    first = state.capture()
    second = copy.deepcopy({key: first[key] for key in ("rng", "statistics")}) | {"players": {}}
    for name, player in first["players"].items():
        extras = {each: {k: v + 1 for k, v in extra.items()} for each, extra in player["extras"].items()}
        second["players"][name] = {"source": player["source"], "extras": extras}
    second["rng"]["cpu"] = torch.Generator().manual_seed(9).get_state()
    tree = first | {"ranks": [second]}

    def part(rank: int, world: int, of: dict = tree) -> tuple[dict, int]:
        return part_of(of, Place(rank, world), 0, torch.device("cpu"))

    assert not different(part(0, 2)[0], first) and part(0, 2)[1] == 2
    assert not different(part(1, 2)[0]["rng"], second["rng"])
    assert not different(part(1, 2)[0]["players"]["D"]["extras"], second["players"]["D"]["extras"])
    alone = part(0, 1)[0]
    assert "ranks" not in alone and not different(alone["rng"], first["rng"])
    for name, sums in first["statistics"].items():
        assert torch.equal(alone["statistics"][name], sums * 2)
    state.restore(alone | {"emas": first["emas"]})  # of one process
    assert part(1, 3)[0]["statistics"] == {} and not different(part(1, 3)[0]["rng"], second["rng"])
    states = [part(rank, 4)[0]["rng"]["cpu"].numpy().tobytes() for rank in range(4)]
    assert len(set(states)) == 4
    assert np.array_equal(part(3, 4)[0]["players"]["D"]["extras"]["buffer_a"]["images"],
                          second["players"]["D"]["extras"]["buffer_a"]["images"])  # fmt: skip
    old = part(1, 2, first)  # of a checkpoint that one process wrote
    assert old[1] == 1 and different(old[0]["rng"], first["rng"]) and old[0]["statistics"] == {}
