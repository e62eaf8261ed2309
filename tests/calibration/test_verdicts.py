"""The file of a calibration as it is read, and what follows for who serves."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fastgan.ops import bias_act, providers, upfirdn2d, verdicts
from fastgan.ops.conv2d_layer import products
from fastgan.ops.identity import identity
from fastgan.ops.verdicts import FORMAT, Loss, Measured, Record, Table, Verdict

CPU = torch.device("cpu")
LRELU = ("bias_act", "float32", "nchw", "with a kink")


def verdict(of: tuple[str, str, str, str], size: tuple[int, ...], *ranking: str) -> Verdict:
    return Verdict(Measured(*of, size), ranking, {form: (1.0, 1.0, 1.0) for form in ranking}, "a call")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    verdicts.forget()
    yield tmp_path
    verdicts.forget()


def write(*records: Record) -> None:
    verdicts.path().parent.mkdir(parents=True, exist_ok=True)
    data = {"format": FORMAT, "records": [record.as_json() for record in records]}
    verdicts.path().write_text(json.dumps(data), encoding="utf-8")
    verdicts.forget()


def choose(x: torch.Tensor, act: str = "lrelu") -> str:
    """Who serves bias_act of x, as the operator asks."""
    kind = "with a kink" if act == "lrelu" else "smooth"
    return providers.choose("bias_act", x.device, x.dtype, act, lambda: ("nchw", kind, (x.numel(),)))


def test_a_record_survives_the_file(cache: Path) -> None:
    record = Record(identity(CPU), "2026-01-01T00:00:00+00:00", 0.02, 3, [verdict(LRELU, (64,), "native")])
    record.losses.append(Loss("bias_act", "shim", "float32", "wrong"))
    write(record)
    assert verdicts.read_records() == [record]


def test_without_a_file_nothing_is_known(cache: Path) -> None:
    assert verdicts.table(CPU) is None and verdicts.read_records() == []
    assert "not calibrated" in verdicts.why_none(CPU)


def test_the_nearest_size_decides(native_provider, cache: Path) -> None:
    small, large = verdict(LRELU, (100,), "reference", "native"), verdict(LRELU, (10_000,), "native", "reference")
    write(Record(identity(CPU), verdicts=[small, large]))
    with providers._named.holding(""):
        assert choose(torch.zeros(50)) == choose(torch.zeros(200)) == "reference"
        assert choose(torch.zeros(5000)) == choose(torch.zeros(20_000)) == "native"
        assert choose(torch.zeros(49)) == choose(torch.zeros(201)) == choose(torch.zeros(0)) == "native"  # too far away
        assert choose(torch.zeros(20), "tanh") == "native"  # of which nothing was measured
        assert choose(torch.zeros(20, dtype=torch.float64)) == "native"
        assert providers.choose("bias_act", "cpu", torch.float32) == "native"
        by = {n: str(bias_act(torch.ones(n, requires_grad=True), act="lrelu").grad_fn) for n in (60, 5000)}
        assert "bias_act_native" in by[5000] and "bias_act_native" not in by[60]


def test_as_near_the_larger_decides() -> None:
    table = Table(Record({}, verdicts=[verdict(LRELU, (10,), "a"), verdict(LRELU, (1000,), "b")]))
    assert table.ranking(Measured(*LRELU, (100,))) == ("b",)
    assert table.ranking(Measured(*LRELU, (99,))) == ("a",)
    assert table.ranking(Measured(*LRELU, (99,)), within=9.0) == ()
    assert table.ranking(Measured(*LRELU, ())) == ("b",)  # of no size, as torch.compile asks
    assert table.ranking(Measured(*LRELU[:3], "smooth", (100,))) == ()


def test_what_lost_its_place_does_not_serve(native_provider, cache: Path) -> None:
    loss = Loss("bias_act", "native", "float32", "wrong: dx")
    write(Record(identity(CPU), verdicts=[verdict(LRELU, (100,), "native", "reference")], losses=[loss]))
    with providers._named.holding(""):
        assert choose(torch.zeros(100)) == "reference"
        assert choose(torch.zeros(100), "tanh") == "reference"
        assert choose(torch.zeros(100, dtype=torch.float64)) == "native"
    assert choose(torch.zeros(100)) == "native"  # named


@pytest.mark.parametrize("name", ["driver", "build", "torch", "triton", "device", "capability", "threads"])
def test_of_another_state_nothing_counts(native_provider, cache: Path, name: str) -> None:
    own = identity(CPU)
    write(Record({**own, name: "another"}, verdicts=[verdict(LRELU, (100,), "reference")]))
    assert verdicts.table(CPU) is None
    with providers._named.holding(""):
        assert choose(torch.zeros(100)) == "native"
    why = verdicts.why_none(CPU)
    assert ("not calibrated" in why) if name == "device" else (f"{name} 'another' -> {own[name]!r}" in why)


def test_another_number_of_threads_is_another_state(cache: Path) -> None:
    write(Record(identity(CPU), verdicts=[verdict(LRELU, (100,), "native")]))
    assert verdicts.table(CPU) is not None
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    assert verdicts.table(CPU) is None
    torch.set_num_threads(threads)
    assert verdicts.table(CPU) is not None


_WHOLE = Record({"type": "cpu"}, "now", 0.1, 0, [verdict(LRELU, (64,), "native")]).as_json()
_DAMAGE = {
    "nothing": "",
    "half": json.dumps({"format": FORMAT, "records": [_WHOLE]})[:-40],
    "a list": "[1, 2]",
    "another format": json.dumps({"format": FORMAT + 1, "records": []}),
    "a record without verdicts": json.dumps({"format": FORMAT, "records": [{"identity": {}}]}),
    "no form": json.dumps(
        {"format": FORMAT, "records": [{**_WHOLE, "verdicts": [{**_WHOLE["verdicts"][0], "ranking": []}]}]}
    ),
    "deep": "[" * 100_000,
    "a size of 0": json.dumps({"format": FORMAT, "records": [_WHOLE]}).replace('"size": [64]', '"size": [0]'),
}


@pytest.mark.parametrize("damage", _DAMAGE)
def test_a_damaged_file_is_told_of_once(native_provider, cache: Path, damage: str) -> None:
    verdicts.path().parent.mkdir(parents=True)
    verdicts.path().write_text(_DAMAGE[damage], encoding="utf-8")
    with providers._named.holding(""):
        with pytest.warns(UserWarning, match="is damaged: .*fastgan calibrate"):
            assert choose(torch.zeros(100)) == "native"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert choose(torch.zeros(100)) == "native"
    assert "is damaged" in verdicts.why_none(CPU)


def test_without_the_library_that_finds_the_file_operators_work(
    native_provider, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with (
        providers._named.holding(""),
        pytest.warns(UserWarning, match="the library platformdirs is not installed: what was calibrated is not found"),
    ):
        assert choose(torch.zeros(100)) == "native"


def test_bytes_that_are_no_text_are_damage(cache: Path) -> None:
    verdicts.path().parent.mkdir(parents=True)
    verdicts.path().write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is damaged"):
        verdicts.read_records()


def test_a_compiled_function_follows_the_file(native_provider, cache: Path) -> None:
    write(Record(identity(CPU), verdicts=[verdict(LRELU, (64,), "reference", "native")]))
    with providers._named.holding(""):
        seen: list[str] = []

        def backend(graph: torch.fx.GraphModule, inputs: list) -> torch.fx.GraphModule:
            seen.extend(str(node.target) for node in graph.graph.nodes)
            return graph

        x = torch.randn(2, 4, 4, 2)
        y = torch.compile(lambda x: bias_act(x, act="lrelu"), backend=backend, fullgraph=True)(x)
        assert not any("fastgan" in target for target in seen)
        torch.testing.assert_close(y, bias_act(x, act="lrelu"))


def test_convolutions_of_a_layer_follow_the_file(native_provider, cache: Path) -> None:
    x, w = torch.zeros(2, 16, 8, 8), torch.zeros(16, 16, 3, 3)
    of = ("conv2d_layer/native", "float32", "nchw", "3x3 convolution")
    forms = ("winograd 4x4", "torch")

    def chosen() -> str:
        call = lambda: products.convolution("convolution", x, w, True)  # noqa: E731
        return providers.choose_form(of[0], x, forms, "winograd 4x4", call)

    assert chosen() == "winograd 4x4"
    write(Record(identity(CPU), verdicts=[verdict(of, (16, 16, 128), "torch", "winograd 4x4")]))
    assert chosen() == "torch"
    exact = products.convolution("convolution", x, w, False)  # other kernels, of which nothing was measured
    assert providers.choose_form(of[0], x, forms, "winograd 4x4", lambda: exact) == "winograd 4x4"
    with providers.form("winograd 4x4"):
        assert chosen() == "winograd 4x4"
    write(Record(identity(CPU), losses=[Loss(of[0], "winograd 4x4", "float32", "wrong")]))
    assert chosen() == "torch"
    with providers.listening() as heard:
        chosen()
    assert heard == [(Measured(*of, (16, 16, 128)), "winograd 4x4")]


def test_operators_say_what_they_are_asked_for() -> None:
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    with providers.listening() as heard:
        bias_act(x, act="tanh")
        upfirdn2d(x, torch.ones(4), up=2, padding=2)
    assert heard == [
        (Measured("bias_act", "float32", "channels_last", "smooth", (120,)), "native"),
        (Measured("upfirdn2d", "float32", "channels_last", "up 2 down 1 separable", (6 * 9 * 11,)), "native"),
    ]
