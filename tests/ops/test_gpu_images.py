"""Which GPU can run what was built, told without one."""

from __future__ import annotations

import pytest
import torch

from fastgan.ops import gpu_images, native, provider, providers
from fastgan.ops.gpu_images import Gpu, image

DEFAULT = "80 90a-real 100-real 120-real"  # of CMakeLists.txt
BUILDS = (DEFAULT, "90a-real", "80-real", "86")
# capability -> what it runs of each build
SERVED = {
    (7, 5): (None, None, None, None),
    (8, 0): ("SASS sm_80", None, "SASS sm_80", None),
    (8, 6): ("SASS sm_80", None, "SASS sm_80", "SASS sm_86"),
    (8, 9): ("SASS sm_80", None, "SASS sm_80", "SASS sm_86"),
    (9, 0): ("SASS sm_90a", "SASS sm_90a", None, "PTX compute_86"),
    (10, 0): ("SASS sm_100", None, None, "PTX compute_86"),
    (10, 3): ("SASS sm_100", None, None, "PTX compute_86"),
    (11, 0): ("PTX compute_80", None, None, "PTX compute_86"),
    (12, 0): ("SASS sm_120", None, None, "PTX compute_86"),
    (12, 1): ("SASS sm_120", None, None, "PTX compute_86"),
    (13, 0): ("PTX compute_80", None, None, "PTX compute_86"),
}


def info(targets: str = DEFAULT, compiler: str = "nvcc 13.0.88") -> dict:
    return {"cuda": targets, "cuda_compiler": compiler}


@pytest.mark.parametrize("capability", SERVED)
def test_what_each_gpu_runs_of_each_build(capability: tuple[int, int]) -> None:
    for targets, expected in zip(BUILDS, SERVED[capability], strict=True):
        assert image(targets, capability) == expected, targets
        why = gpu_images.native_refusal([Gpu("a GPU", capability)], (13, 0), info(targets))
        assert (why is None) == (expected is not None), targets


@pytest.mark.parametrize(
    ("targets", "capability", "expected"),
    [
        ("90a", (12, 0), None),  # its PTX too is for 9.0 alone
        ("90a-real 90-virtual", (10, 0), "PTX compute_90"),
        ("100f", (10, 3), "SASS sm_100f"),
        ("100f-virtual", (12, 0), None),
        ("80-real 86-real", (8, 9), "SASS sm_86"),
        ("80 90-virtual", (12, 0), "PTX compute_90"),
        ("native", (7, 0), "one of native"),
    ],
)
def test_architecture_specific_targets(targets: str, capability: tuple[int, int], expected: str | None) -> None:
    assert image(targets, capability) == expected


def test_the_refusal_names_the_gpu_the_build_and_what_to_do() -> None:
    why = gpu_images.native_refusal([Gpu("RTX 3090", (8, 6))], (13, 0), info("90a-real"))
    assert why and why.startswith("RTX 3090 has compute capability 8.6, and the native library is built for 90a-real")
    assert "TORCH_CUDA_ARCH_LIST=8.6" in why and "CUDA_VISIBLE_DEVICES" in why
    why = gpu_images.native_refusal([Gpu("H100", (9, 0)), Gpu("T4", (7, 5))], (13, 0), info())
    assert why and why.startswith("T4 has compute capability 7.5") and "TORCH_CUDA_ARCH_LIST" not in why


@pytest.mark.parametrize(
    ("driver", "compiler", "capability", "serves"),
    [
        ((12, 9), "nvcc 13.0.88", (9, 0), False),
        ((13, 0), "nvcc 13.0.88", (9, 0), True),
        ((13, 0), "nvcc 13.2.10", (9, 0), True),  # a minor version older is no hindrance to machine code
        ((13, 0), "nvcc 13.2.10", (11, 0), False),  # but such a driver cannot read newer PTX
        ((13, 2), "nvcc 13.2.10", (11, 0), True),
        ((13, 0), "nvcc 12.8.61", (11, 0), True),
        (None, "nvcc 13.0.88", (9, 0), True),  # not known, and so not refused
    ],
)
def test_the_driver_must_know_the_runtime(driver, compiler: str, capability: tuple[int, int], serves: bool) -> None:
    why = gpu_images.native_refusal([Gpu("a GPU", capability)], driver, info(compiler=compiler))
    assert (why is None) == serves
    if driver == (12, 9):
        assert why.startswith(
            "the driver is for CUDA 12.9, and the native library was built with CUDA 13.0, which needs"
        )


def seen(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int], targets: str = DEFAULT) -> list[int]:
    """A machine with such GPUs, and a library with CUDA for these targets; how often they were asked for."""
    asked: list[int] = []

    def visible() -> list[Gpu]:
        asked.append(1)
        return [Gpu(f"GPU {major}.{minor}", (major, minor)) for major, minor in capabilities]

    monkeypatch.setattr(gpu_images, "visible", visible)
    monkeypatch.setattr(gpu_images, "driver_version", lambda: (13, 0))
    monkeypatch.setattr(gpu_images, "_refusals", {})
    monkeypatch.setattr(native, "unavailable", None)
    monkeypatch.setattr(native, "info", {**native.info, **info(targets)})
    monkeypatch.setattr(providers.triton_provider, "unavailable", None)
    return asked


@pytest.mark.parametrize("name", ["native", "triton"])
def test_a_provider_refuses_an_old_gpu_and_the_default_is_the_reference(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = seen(monkeypatch, (9, 0), (7, 5))
    with (
        provider(name),
        pytest.raises(ValueError, match=f"{name!r} cannot serve bias_act on cuda .*GPU 7.5 has compute"),
    ):
        providers.choose("bias_act", "cuda", torch.float32)
    assert providers.choose("bias_act", "cuda", torch.float32) == "reference"
    rows = [row for row in providers.report(("cuda",)) if row.provider == name]
    assert rows and not any(row.serves for row in rows)
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["native", "triton"])
def test_a_provider_serves_what_it_has_an_image_for_and_is_asked_once(name: str, monkeypatch) -> None:
    asked = seen(monkeypatch, (9, 0), (8, 6))
    with provider(name):
        for _ in range(3):
            assert providers.choose("bias_act", "cuda", torch.float32) == name
    assert len(asked) == 1


def test_a_compiled_call_takes_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dynamo could not read how the driver is asked."""
    ask = gpu_images.driver_version
    seen(monkeypatch, (9, 0), targets="80-real")
    monkeypatch.setattr(gpu_images, "driver_version", ask)

    @torch.compile(backend="eager", fullgraph=True)
    def call(x: torch.Tensor) -> torch.Tensor:
        return x + (1 if gpu_images.refusal("native") else 2)

    assert call(torch.zeros(())).item() == 1


def test_a_machine_without_gpus_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = seen(monkeypatch)
    assert gpu_images.refusal("native") is None and gpu_images.refusal("native") is None
    assert len(asked) == 2
