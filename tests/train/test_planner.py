"""The memory of a step, estimated with tensors without values: against real steps, and in words."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fastgan.bench.memory import peak_bytes
from fastgan.config.data import DataOptions
from fastgan.config.options import replace
from fastgan.data import ImageDataset
from fastgan.models.registry import configure, family
from fastgan.train.available import free_bytes
from fastgan.train.config import RunConfig
from fastgan.train.game import game_of
from fastgan.train.loop import step
from fastgan.train.planner import Planner
from fastgan.train.shadows import Shadows
from fastgan.train.state import TrainState

pytestmark = pytest.mark.thorough

CPU = torch.device("cpu")
SMALL = {
    "stylegan2": {"channel_base": 512, "channel_max": 32, "z_dim": 32, "w_dim": 32, "mapping_layers": 2},
    "stylegan3-t": {"channel_base": 256, "channel_max": 16, "z_dim": 32, "w_dim": 32},
    "dcgan": {"channel_base": 1024, "channel_max": 64},
    "cyclegan": {"channel_base": 8, "d_channel_base": 8, "num_blocks": 2},
}


def planned(name: str, resolution: int = 32, **training: Any) -> tuple[Planner, Callable[[], TrainState]]:
    """The planner of a small game on random images, and what makes the game itself."""
    of = family(name)
    architecture = dataclasses.asdict(configure(name, resolution=resolution, **SMALL[name]))
    config = RunConfig(name, architecture, DataOptions(), replace(of.options(), "training", **training))
    names = ("image",) if of.data == "images" else ("a", "b")
    shape = (16, *architecture["resolution"], 3)
    sets = {each: ImageDataset(torch.randint(0, 256, shape, dtype=torch.uint8)) for each in names}
    return Planner(config, sets, CPU, game_of), lambda: TrainState(game_of(config, sets, CPU))


class TestShadows:
    def test_bytes_are_those_of_storages_that_are_alive(self) -> None:
        with Shadows() as shadows:
            x = torch.empty(1000)
            assert (shadows.now, shadows.peak) == (4000, 4000)
            y = x[::2].view(5, 100)
            x.mul_(2)
            assert shadows.now == 4000
            z = y.double() + 1
            assert (shadows.now, shadows.peak) == (8000, 12000)
            assert z.shape == (5, 100) and z.dtype == torch.float64 and z.device == CPU
            del x
            assert shadows.now == 8000  # y looks at it
            del y
            assert shadows.now == 4000

    def test_what_is_known_of_a_call_is_no_other_call_s(self) -> None:
        with Shadows():
            x = torch.empty(2, 3, 4, 4)
            assert [torch.cat([x, x], dim=d).shape[d] for d in (0, 1, 0)] == [4, 6, 4]
            assert (x + 1).dtype == torch.float32 and (x + torch.empty(1, dtype=torch.float64)).dtype == torch.float64
            last = x.contiguous(memory_format=torch.channels_last)
            assert torch.relu(x).is_contiguous() and torch.relu(last).stride() == last.stride()

    def test_derivatives_are_shadows_too(self) -> None:
        with Shadows():
            net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(4 * 36, 1))
            x = torch.empty(2, 3, 8, 8).requires_grad_()
            (grad,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
            grad.square().sum().backward()
            assert grad.shape == x.shape
            assert all(p.grad is not None and p.grad.shape == p.shape for p in list(net.parameters())[:3])

    def test_numbers_are_not_made_up_and_random_numbers_not_drawn(self) -> None:
        before = torch.get_rng_state()
        with Shadows():
            drawn = torch.randn(3)
            for read in (lambda: drawn[0].item(), lambda: bool(drawn.sum() > 0), lambda: torch.equal(drawn, drawn)):
                with pytest.raises(RuntimeError, match="without values"):
                    read()
        assert torch.equal(before, torch.get_rng_state())
        assert torch.ones(2).sum().item() == 2


def alive_bytes(state: TrainState) -> int:
    """Of networks, gradients, optimizers and averages."""
    modules = [m for player in state.game.players for m in player.modules.values()]
    modules += [average.module for average in state.game.averages.values()]
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    tensors += [t.grad for t in tensors if t.grad is not None]
    for player in state.game.players:
        tensors += [t for kept in player.optimizer.state.values() for t in kept.values()]
    return sum({t.data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


@pytest.mark.parametrize(
    ("name", "training"),
    [
        ("stylegan2", {"batch": 32}),
        ("stylegan2", {"batch": 32, "channels_last": True}),
        ("stylegan2", {"batch": 32, "batch_gpu": 8}),
        ("stylegan3-t", {"batch": 8}),
        ("dcgan", {"batch": 32}),
        ("cyclegan", {"batch": 4}),
    ],
)
def test_the_estimate_is_what_a_real_step_takes(name: str, training: dict[str, Any]) -> None:
    planner, make = planned(name, **training)
    sizes = planner.config.training
    estimate = planner.tensors(sizes.micro_batch, sizes.accumulate)
    state = make()
    step(state)

    def again() -> None:
        state.step = 0
        step(state)

    before = alive_bytes(state)
    assert before + peak_bytes(again, CPU) == pytest.approx(estimate, rel=0.25)
    assert estimate > 1.5 * before  # else the batch would not matter


def test_all_that_is_due_counts() -> None:
    bare = planned("stylegan2", batch=16, penalties={}, pl_weight=0)[0].tensors(16)
    with_r1 = planned("stylegan2", batch=16, penalties={"r1": (1.0, 16)}, pl_weight=0)[0]
    assert with_r1.tensors(16) > 1.03 * bare
    assert with_r1.tensors(16) < with_r1.tensors(16, 2) < 1.3 * with_r1.tensors(16) < with_r1.tensors(32)
    # Beyond what is simulated, in a straight line.
    assert with_r1.tensors(512) - with_r1.tensors(256) == pytest.approx(
        2 * (with_r1.tensors(256) - with_r1.tensors(128))
    )
    wait = [with_r1.tensors(16, parts) for parts in (2, 3, 9)]
    assert wait[2] - wait[0] == 7 * (wait[1] - wait[0])


def test_a_refusal_names_the_largest_batches_that_fit() -> None:
    planner, _ = planned("dcgan", batch=60)
    assert planner.limit is None or planner.limit > planner.needed()
    planner.limit = planner.needed()
    assert planner.refusal() is None
    planner.limit = planner.needed(20) + 1
    said = planner.refusal()
    assert said is not None
    whole, part = (int(re.search(rf"--{flag} (\d+) (?:is|trains)", said)[1]) for flag in ("batch", "batch-gpu"))  # type: ignore[index]
    assert whole == 20 and planner.needed(whole) <= planner.limit < planner.needed(whole + 1)
    assert 60 % part == 0 and planner.needed(part, 60 // part) <= planner.limit
    larger = min(n for n in range(part + 1, 61) if 60 % n == 0)
    assert planner.needed(larger, 60 // larger) > planner.limit
    planner.limit = planner.held
    assert "not even one image" in (planner.refusal() or "")


def test_only_memory_is_explained_and_less_than_what_failed_is_named() -> None:
    planner, _ = planned("dcgan", batch=64)
    planner.limit = 2**40
    assert planner.exhausted(RuntimeError("shapes do not match")) is None
    for error in (torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), _from_the_allocator()):
        said = planner.exhausted(error)
        assert said is not None
        named = int(re.search(r"--batch (\d+) is", said)[1])  # type: ignore[index]
        assert 32 < named < 64


def _from_the_allocator() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**57, dtype=torch.float32)
    return caught.value


def test_a_batch_that_is_named_fits_a_process() -> None:
    program = """
import json, re, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_planner import planned, step
from fastgan.ops.allocation import tune_cpu_allocator
tune_cpu_allocator()
planner, _ = planned("stylegan2", batch=4096)
planner.limit = planner.needed(160)
named = int(re.search(r"--batch (\\d+) is", planner.refusal())[1])
_, make = planned("stylegan2", batch=named)
state = make()
for _ in range(2):
    state.step = 0
    step(state)
# Not ru_maxrss, which begins with what the process had that started this one.
most = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps([named, planner.limit, most, planner.held]))
"""
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", program, here], check=True, stdout=subprocess.PIPE, text=True)
    named, limit, most, held = json.loads(done.stdout)
    assert 155 <= named <= 160 and most <= 1.15 * limit  # as near as estimates are
    assert most - held > 0.5 * (limit - held)  # the limit was no idle one


class TestAvailable:
    @staticmethod
    def root(at: Path, files: dict[str, str]) -> Path:
        for name, text in files.items():
            (at / name).parent.mkdir(parents=True, exist_ok=True)
            (at / name).write_text(text)
        return at

    def test_the_kernel_s_word_where_nothing_limits(self, tmp_path: Path) -> None:
        root = self.root(
            tmp_path,
            {
                "proc/meminfo": "MemTotal: 4000 kB\nMemAvailable: 3000 kB\n",
                "proc/self/cgroup": "0::/user\n",
                "sys/fs/cgroup/user/memory.max": "max\n",
                "sys/fs/cgroup/user/memory.current": "1000\n",
            },
        )
        assert free_bytes(CPU, root) == 3000 * 1024
        assert free_bytes(CPU, tmp_path / "nothing") is None

    def test_the_least_of_the_limits_around_a_process(self, tmp_path: Path) -> None:
        v2 = {
            "proc/meminfo": "MemAvailable: 3000 kB\n",
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/memory.max": "900000\n",
            "sys/fs/cgroup/a/memory.current": "500000\n",
            "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 100000\n",
            "sys/fs/cgroup/a/b/memory.max": "max\n",
        }
        assert free_bytes(CPU, self.root(tmp_path / "v2", v2)) == 500000
        v1 = {
            "proc/meminfo": "MemAvailable: 3000 kB\n",
            "proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/outside\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "700000\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "800000\n",
            "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 300000\n",
        }
        assert free_bytes(CPU, self.root(tmp_path / "v1", v1)) == 200000
        (tmp_path / "v1/sys/fs/cgroup/memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
        assert free_bytes(CPU, tmp_path / "v1") == 3000 * 1024
