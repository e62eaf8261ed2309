"""torch.onnx.export: networks are exported by both exporters; onnxruntime gives torch's values for two batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import fastgan
from tests.interop.networks import NETWORKS, inputs, network

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.usefixtures("onnx"),
    # torch's own, about its exporters and what they call
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]
BATCHES = (4, 6, 1)  # the first is exported; groups of 4, 3 and 1 in D


def export(module: torch.nn.Module, given: tuple[torch.Tensor, ...], path: Path, dynamo: bool) -> list[str]:
    """Names of the inputs; the output is called y, and every first axis may have any length."""
    names = ["first", "label"][: len(given)]
    if dynamo:
        shapes = tuple({0: torch.export.Dim("batch")} for _ in given)
        dynamic = {"dynamo": True, "dynamic_shapes": shapes, "verbose": False}
    else:
        dynamic = {"dynamo": False, "dynamic_axes": {name: {0: "batch"} for name in [*names, "y"]}}
    torch.onnx.export(module, given, path, input_names=names, output_names=["y"], **dynamic)
    return names


def run(path: Path, names: Sequence[str], given: tuple[torch.Tensor, ...]) -> torch.Tensor:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, dict(zip(names, (value.numpy() for value in given), strict=True)))
    return torch.from_numpy(y)


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])
@pytest.mark.parametrize("name", NETWORKS)
def test_onnxruntime_gives_torchs_values_for_any_batch(tmp_path: Path, name: str, dynamo: bool) -> None:
    module = network(name)
    names = export(module, inputs(name, BATCHES[0]), tmp_path / "network.onnx", dynamo)
    for n in BATCHES:
        given = inputs(name, n)
        torch.testing.assert_close(run(tmp_path / "network.onnx", names, given), module(*given), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])
def test_a_provider_that_onnx_cannot_hold_is_named(tmp_path: Path, native_provider: str, dynamo: bool) -> None:
    module, given = network("dcgan-plain-D"), inputs("dcgan-plain-D", 2)
    # While it captures the graph, torch's newer exporter tells nobody: it names our operator at its end.
    words = (
        "bias_act_native" if dynamo else "provider 'native' cannot serve bias_act .* ONNX has no operator of that kind"
    )
    with pytest.raises(Exception, match=words):
        export(module, given, tmp_path / "network.onnx", dynamo)
    with fastgan.provider("reference"):
        export(module, given, tmp_path / "network.onnx", dynamo)
