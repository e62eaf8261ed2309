"""What ranks do together, one process of it: `python -m tests.train.together FOLDER`, started by `results`.

Each process leaves a file with what it ended with; alone, it plays the part of all ranks, a micro-batch for each.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastgan.losses import Move, Term
from fastgan.train import reduction
from fastgan.train.distributed import Ranks
from fastgan.train.game import Game
from fastgan.train.loop import step
from fastgan.train.players import Player, adam
from fastgan.train.reduction import Reduction
from fastgan.train.shares import Place, part_of, play_together, summed
from fastgan.train.state import TrainState
from tests.train.test_state import dcgan_game, stylegan2_game, stylegan3_game
from tests.train.translating import unpaired

ROOT = Path(__file__).resolve().parents[2]


def results(folder: Path, world: int) -> list[dict[str, Any]]:
    """What each of so many processes ended with."""
    port = free_port()
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.train.together", str(folder)]
    ranks = [subprocess.Popen(command, cwd=ROOT, env=os.environ | told | {"RANK": str(rank)}) for rank in range(world)]
    assert [rank.wait(300) for rank in ranks] == [0] * world
    return [torch.load(folder / f"{world}-{rank}.pt") for rank in range(world)]


def free_port() -> int:
    """A port that the system gives to no one who asks for any."""
    for port in random.sample(range(20000, 30000), 100):
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


class Numbered:
    """Batches of a source, each with its number among those of all ranks."""

    def __init__(self, source: Any) -> None:
        self.source, self.rank, self.world, self.drawn = source, 0, 1, 0

    def next(self) -> dict[str, Any]:
        number = self.drawn * self.world + self.rank
        self.drawn += 1
        torch.manual_seed(number)
        return self.source.next() | {"number": number}

    def divide(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        self.source.divide(rank, world)

    def state_dict(self) -> dict:
        return {"drawn": self.drawn, "source": self.source.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.drawn = state["drawn"]
        self.source.load_state_dict(state["source"])


def seeded(loss: Callable[[Move], torch.Tensor]) -> Callable[[Move], torch.Tensor]:
    """A loss whose random numbers follow from the batch alone."""

    def seeded_loss(move: Move) -> torch.Tensor:
        torch.manual_seed(1000 + move.batch["number"])
        return loss(move)

    return seeded_loss


def reproducible(state: TrainState) -> TrainState:
    """The game, in which a micro-batch is the same whichever process plays it."""
    sources: dict[int, Numbered] = {}
    players = []
    for player in state.game.players:
        source = sources.setdefault(id(player.source), Numbered(player.source))
        terms = tuple(dataclasses.replace(term, loss=seeded(term.loss)) for term in player.terms)
        players.append(dataclasses.replace(player, source=source, terms=terms))
    state.game.players = tuple(players)
    return state


def begin(game: Callable[[], TrainState], place: Place, ranks: Ranks | None) -> TrainState:
    torch.manual_seed(place.rank if ranks else 0)  # weights that differ, until rank 0 gives its own
    state = game()
    play_together(state.game, place, 0)
    state.ranks = ranks
    if ranks is not None:
        ranks.equalise(state.game)
    return state


def same_as_one(place: Place, ranks: Ranks | None) -> dict[str, Any]:
    """StyleGAN2 without path lengths, on the same images, latents and noise as one process: what it ends with."""
    state = begin(lambda: reproducible(stylegan2_game(batch_gpu=2, pl_weight=0.0)), place, ranks)
    finish, overlapped = Reduction.finish, list[bool]()

    def noted(self: Reduction) -> None:
        overlapped.append(self._sent == len(self._buckets))
        finish(self)

    Reduction.finish = noted  # type: ignore[method-assign]
    for _ in range(4):
        step(state)
    Reduction.finish = finish  # type: ignore[method-assign]
    captured = state.capture()
    sums = summed(ranks.gathered(captured["statistics"])) if ranks else captured["statistics"]
    return captured["players"] | {"emas": captured["emas"], "statistics": sums, "overlapped": overlapped}


class Branches(nn.Module):
    """Parameters that get gradients on all ranks, on one, later, and never."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.second, self.later, self.never = (nn.Parameter(torch.ones(3)) for _ in range(4))


def some_without_gradient(place: Place, ranks: Ranks | None) -> list[Any]:
    """Gradients after each of three updates, and Adam's states, where buckets hold one parameter each."""
    reduction._BUCKET = 4
    net, done = Branches(), list[int]()

    def loss(move: Move) -> torch.Tensor:
        x, rank = move.batch
        total = net.always * x
        if rank == 1:
            total = total + net.second * x
        if len(done) == 1 and rank == 0:  # of the same terms as before, and after its bucket went out
            total = total + net.later * x
        return total.sum()[None]

    class Source:
        def next(self) -> tuple[float, int]:
            return 1.0 + place.rank, place.rank

    terms = (Term("t", loss),)
    player = Player("p", {"net": net}, adam({"net": net}, terms, 0.1), terms, Source())  # type: ignore[arg-type]
    state = TrainState(Game((player,), {}, 2), ranks=ranks)
    if ranks is not None:
        ranks.equalise(state.game)
    gradients = []
    for number in range(3):
        step(state)
        done.append(number)
        gradients.append([None if p.grad is None else p.grad.clone() for p in net.parameters()])
    reduction._BUCKET = 25 << 20
    return [gradients, sorted(player.optimizer.state_dict()["state"])]


def broken_on_one(place: Place, ranks: Ranks | None) -> dict[str, Any]:
    """A NaN in the loss of one rank, in the second of three steps."""
    state = begin(lambda: reproducible(stylegan2_game(batch_gpu=2)), place, ranks)
    g = state.game.players[0]
    broken = torch.tensor(1.0)
    first = g.terms[0]
    term = dataclasses.replace(first, loss=lambda move: first.loss(move) * broken)
    state.game.players = (dataclasses.replace(g, terms=(term, *g.terms[1:])), *state.game.players[1:])
    weights = []
    for number in range(3):
        broken.fill_(float("nan") if number == 1 and place.rank == place.world - 1 else 1.0)
        step(state)
        weights.append(torch.cat([p.detach().flatten() for p in g.parameters]).clone())
    return {"skipped": state.skipped, "before": weights[0], "broken": weights[1], "after": weights[2]}


def what_follows(place: Place, ranks: Ranks | None) -> dict[str, Any]:
    """Buffers, and other state, after some steps of games that have them."""
    found = {}
    for name, game in {
        "stylegan2": lambda: stylegan2_game(batch_gpu=2, augment="ada", ada_kimg=0.05),
        "stylegan3": stylegan3_game,
        "dcgan": lambda: dcgan_game(batch=4, batch_gpu=2),
        "unpaired": lambda: TrainState(unpaired(batch=4, batch_gpu=2)),
    }.items():
        state = begin(game, place, ranks)
        for _ in range(3):
            step(state)
        found[name] = state.capture()
    return found


def resumed(place: Place, ranks: Ranks | None) -> list[dict[str, Any]]:
    """The end of a game, and of another that began with the checkpoint of its middle."""

    def game() -> TrainState:
        return TrainState(unpaired(batch=4, batch_gpu=2))

    whole = begin(game, place, ranks)
    for _ in range(3):
        step(whole)
    tree = whole.capture() if ranks is None else ranks.from_first(ranks.capture(whole))
    tree = copy.deepcopy(tree)  # as a file would hold it
    for _ in range(3):
        step(whole)
    ended = whole.capture()
    again = begin(game, place, ranks)
    again.restore(part_of(tree, place, 0, torch.device("cpu"))[0])
    if ranks is not None:
        ranks.equalise(again.game)
    for _ in range(3):
        step(again)
    return [ended, again.capture()]


CASES = (same_as_one, some_without_gradient, broken_on_one, what_follows, resumed)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    place = Place.told()
    ranks = Ranks(place, torch.device("cpu")) if place.world > 1 else None
    found = {case.__name__: case(place, ranks) for case in CASES}
    torch.save(found, folder / f"{place.world}-{place.rank}.pt")
    if ranks is not None:
        ranks.__exit__(None, None, None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
