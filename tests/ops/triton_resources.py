"""Compiles the Triton kernels for GPUs that need not be there, and reads what each would use of them.

    python -m tests.ops.triton_resources [80 ...]   prints a JSON object: variant -> [registers, shared, spilled bytes]
    python -m tests.ops.triton_resources --write    makes it the bounds of the installed Triton in triton_resources.json

The variants are what `fastgan.kernels.launch` plans for the tensors below, with the types and divisibilities that a
launch would find. Beside the numbers stands a digest of the kernel's source and of all else that its machine code is
made of: where the file has the same one, only the first variant of a kernel is compiled again to be printed.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fastgan.kernels import affine_warp, conv2d_launch, launch
from fastgan.kernels.filtered_lrelu import filtered_lrelu_middle
from fastgan.kernels.gradient_penalty import gradient_penalty, steps_and_slices
from fastgan.ops.filtered_lrelu.geometry import columns_of_class, mask_shape
from tests.ops import bounds

BOUNDS = Path(__file__).with_suffix(".json")
ARCHITECTURES = (80, 90, 120)
Row = list[int | str]
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
_POINTERS = {
    torch.float64: "*fp64",
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.uint8: "*u8",
    torch.int32: "*i32",
}
_NAMES = {torch.float64: "fp64", torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


def _images(dtype: torch.dtype, last: bool, shape: tuple[int, ...] = (4, 64, 128, 128)) -> torch.Tensor:
    return torch.empty(
        shape, dtype=dtype, device="meta", memory_format=torch.channels_last if last else torch.contiguous_format
    )


def _bias_act(dtype: torch.dtype, last: bool, act: str, clamp: float = 256.0) -> Iterator[tuple[str, launch.Plan]]:
    x, name = _images(dtype, last), f"{act} {_NAMES[dtype]} {'channels_last' if last else 'contiguous'}"
    b, mask = x.new_empty(64), x.new_empty(x.numel() // 4, dtype=torch.uint8)
    formula, smooth = (act, 0.2, 1.4, clamp), act not in ("linear", "relu", "lrelu")
    yield f"bias_act_forward {name}", launch.bias_act_forward(x, b, x, None if smooth else mask, 1, *formula)
    matrix = launch.Matrix.of(x, 1, by_channel=True)
    partial = x.new_empty(matrix.partial_sums(), dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    saved = {"x": x, "b": b} if smooth else {"mask": mask}
    tensors = {"dy": x, "dx": x, "partial": partial, **saved}
    yield f"bias_act_backward {name}", launch.bias_act_backward(matrix, tensors, *formula)
    if smooth:
        yield f"bias_act_double_backward {name}", launch.bias_act_backward(matrix, {**tensors, "ddx": x}, *formula)
    if act == "lrelu":
        yield f"bias_act_sum {name}", launch.bias_act_sum(partial, b)


def _upfirdn2d(dtype: torch.dtype, last: bool, taps: tuple[int, ...], up: int, down: int) -> tuple[str, launch.Plan]:
    x, y = _images(dtype, last), _images(dtype, last, (4, 64, 128 * up // down, 128 * up // down))
    f = x.new_empty(taps, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    name = f"{'x'.join(map(str, taps))} up{up} down{down} {_NAMES[dtype]} {'channels_last' if last else 'contiguous'}"
    return f"upfirdn2d {name}", launch.upfirdn2d(x, f, y, (up, up), (down, down), (2, 2), False, 4.0)


_LRELU, _LINEAR = (2, 0.2, 1.4, 256.0), (0, 0.0, 1.0, -1.0)


def _factors(x: torch.Tensor) -> torch.Tensor:
    """What scales the channels of each sample."""
    return x.new_empty(x.shape[:2], dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)


def _layer_passes(dtype: torch.dtype, last: bool) -> Iterator[tuple[str, launch.Plan]]:
    """What follows a convolution, and its gradients, the one for styles too."""
    x, name = _images(dtype, last), f"{_NAMES[dtype]} {'channels_last' if last else 'contiguous'}"
    mask, scale = x.new_empty(x.numel() // 4, dtype=torch.uint8), _factors(x)
    operands = {"scale": scale, "noise": x.new_empty(4, 1, 128, 128), "b": x.new_empty(64)}
    plan = conv2d_launch.conv2d_epilogue(x, {**operands, "residual": x}, x, mask, last, _LRELU)
    yield f"conv2d_epilogue {name}", plan
    walk, sums = conv2d_launch.Walk.of(x, last), dict.fromkeys(("products", "sums", "noise_sums"), scale)
    tensors = {"dy": x, "du": x, "mask": mask, "y": x, **operands, **sums}
    yield f"conv2d_epilogue_backward {name}", conv2d_launch.conv2d_epilogue_backward(walk, tensors, _LRELU)
    if dtype == torch.float16:
        tensors = {"dy": x, "du": x, "u": x, "scale": scale, "products": scale}
        yield f"conv2d_style_gradient {name}", conv2d_launch.conv2d_epilogue_backward(walk, tensors, _LINEAR)


def _conv2d(
    kind: str, dtype: torch.dtype, last: bool, size: int = 64, tf32: bool = False, batch: int = 16
) -> Iterator[tuple[str, launch.Plan]]:
    """A layer of a generator ("styled"), one that up-samples ("transposed"), or one of a discriminator ("residual"),
    and the gradient for its weights.
    """
    channels = 128 if size > 8 else 512
    x = _images(dtype, last, (batch, channels, size, size))
    w, mask, styles = x.new_empty(channels, 3, 3, channels), x.new_empty(x.numel() // 4, dtype=torch.uint8), _factors(x)
    b, noise = x.new_empty(channels), x.new_empty(batch, 1, size, size)
    name = f"{kind} {batch}x{size}x{size} {'tf32 ' * tf32}{_NAMES[dtype]} {'channels_last' if last else 'contiguous'}"
    geometry = conv2d_launch.Geometry(1, False, (1, 1))
    operands: dict[str, Any] = dict.fromkeys(("scale", "noise", "b", "residual"))
    in_scale, formula, still, moved = styles, _LRELU, x, x
    if kind == "styled":
        operands |= {"scale": styles, "noise": noise, "b": b}
    elif kind == "residual":
        operands |= {"b": b, "residual": x}
        in_scale = None
    else:
        geometry, mask, formula = conv2d_launch.Geometry(2, True, (0, 0)), None, _LINEAR
        moved = _images(dtype, last, (batch, channels, 2 * size + 1, 2 * size + 1))
    plan = conv2d_launch.conv2d(x, w, in_scale, operands, moved, mask, last, geometry, formula, tf32)
    yield f"conv2d {name}", plan
    slices = conv2d_launch.Slices.of(still, moved, 9, tf32)
    partial = x.new_empty(slices.number, *w.shape, dtype=styles.dtype)
    plan = conv2d_launch.conv2d_weight_gradient(slices, still, moved, in_scale, partial, last, geometry, tf32)
    yield f"conv2d_weight_gradient {name}", plan
    if kind == "residual":
        plan = conv2d_launch.conv2d_weight_gradient_sum(partial, w.permute(0, 3, 1, 2))
        yield f"conv2d_weight_gradient_sum {name}", plan


def _filtered_lrelu(dtype: torch.dtype, last: bool, masked: bool, full: bool = False) -> tuple[str, launch.Plan]:
    """A layer of StyleGAN3 up to its middle, forward and back."""
    x, name = _images(dtype, last), f"{_NAMES[dtype]} {'channels_last' if last else 'contiguous'}"
    middle = _images(torch.promote_types(dtype, torch.float32), last, (4, 64, 266, 266))
    f = x.new_empty((12, 12) if full else (12,), dtype=middle.dtype)
    *sizes, row = mask_shape(4, 64, (266, 266), 2, 2)
    mask = x.new_empty((*sizes, row // 4), dtype=torch.int32)
    form = f"{'masked' if masked else 'forward'} {'full' if full else 'separable'} {name}"
    formula = (1.0, 5.6, 0.2, -1.0) if masked else (4.0, 1.4, 0.2, 256.0)
    b = None if masked else x.new_empty(64)
    plan = filtered_lrelu_middle(x, f, b, middle, mask, 2, (9, 9), columns_of_class(266, 2, 2), formula, False, masked)
    return f"filtered_lrelu_middle {form}", plan


def _gradient_penalty(dtype: torch.dtype) -> Iterator[tuple[str, launch.Plan]]:
    """squared_norm with its derivatives, and interpolate."""
    x, factor = _images(dtype, False, (4, 3, 256, 256)), _factors(_images(dtype, False, (4, 1, 1, 1))).flatten()
    sums = factor.new_empty(1, 4, steps_and_slices(x)[1])
    for name, plan in {
        "squared_norm": gradient_penalty(x, None, None, None, sums),
        "squared_norm_backward": gradient_penalty(x, None, factor, x, None),
        "squared_norm_double_backward": gradient_penalty(x, x, factor, x, sums),
        "interpolate": gradient_penalty(x, x, factor, x, None, between=True),
    }.items():
        yield f"{name} {_NAMES[dtype]}", plan


def _affine_warp(dtype: torch.dtype) -> Iterator[tuple[str, launch.Plan]]:
    """Images of three channels under colour matrices, forward and back."""
    x, wide = _images(dtype, False, (4, 3, 256, 256)), torch.promote_types(dtype, torch.float32)
    theta, color = x.new_empty(4, 2, 3, dtype=wide), x.new_empty(4, 3, 4, dtype=wide)
    window = x.new_empty(affine_warp.window_size(x), dtype=wide)
    period = x.new_empty(affine_warp.period_size(x), dtype=wide)
    yield f"affine_warp_gather {_NAMES[dtype]}", affine_warp.affine_warp_gather(x, window, theta, period)
    for adjoint, samples in ((False, window), (True, period)):
        halved, name = samples[..., :256], f"{'adjoint' if adjoint else 'forward'} {_NAMES[dtype]}"
        yield f"affine_warp_samples {name}", affine_warp.affine_warp_samples(x, theta, window, adjoint)
        yield f"affine_warp_halve {name}", affine_warp.affine_warp_halve(x, samples, theta, halved, adjoint)
        yield f"affine_warp {name}", affine_warp.affine_warp(halved, theta, color, x, adjoint, adjoint)


def plans() -> Iterator[tuple[str, launch.Plan]]:
    """Name and plan of each variant."""
    for dtype in _NAMES:
        for last in (False, True):
            yield from _bias_act(dtype, last, "lrelu")
            yield _upfirdn2d(dtype, last, (4,), 2, 1)
            yield from _layer_passes(dtype, last)
            yield from _conv2d("styled", dtype, last)
        yield from _gradient_penalty(dtype)
        yield from _affine_warp(dtype)
    for act in ("tanh", "sigmoid", "elu", "selu", "softplus", "swish"):
        yield from _bias_act(torch.float32, False, act)
    yield from _bias_act(torch.float16, True, "swish")
    yield from _bias_act(torch.float64, True, "tanh")
    for last in (False, True):
        yield _upfirdn2d(torch.float16, last, (4,), 1, 2)
        yield _upfirdn2d(torch.float32, last, (4, 4), 1, 1)
        yield _upfirdn2d(torch.float32, last, (12,), 2, 2)
        yield from _conv2d("styled", torch.float32, last, tf32=True)
        yield from _conv2d("residual", torch.float16, last, size=4)
        yield from _conv2d("styled", torch.float16, last, batch=4200)  # 64-bit offsets
    for kind in ("transposed", "residual"):
        yield from _conv2d(kind, torch.float16, True)
        yield from _conv2d(kind, torch.float32, False)
    yield from _conv2d("styled", torch.float32, True, size=4, tf32=True)
    for masked in (False, True):
        for dtype in _NAMES:
            yield _filtered_lrelu(dtype, False, masked)
        yield _filtered_lrelu(torch.float16, True, masked)
        yield _filtered_lrelu(torch.float32, False, masked, full=True)


def source(plan: launch.Plan) -> ASTSource:
    """The plan's kernel with its types, its constants, and what Triton assumes of pointers and sizes."""
    signature, constants, attributes = {}, {}, {}
    for index, parameter in enumerate(plan.kernel.params):
        value = plan.arguments[parameter.name]
        if isinstance(value, torch.Tensor):
            signature[parameter.name] = _POINTERS[value.dtype]
            attributes[(index,)] = [["tt.divisibility", 16]]
        elif (
            parameter.is_constexpr
            or value is None
            or (value == 1 and not parameter.do_not_specialize and isinstance(value, int))
        ):
            signature[parameter.name], constants[parameter.name] = "constexpr", value
        elif isinstance(value, float):
            signature[parameter.name] = parameter.annotation_type or "fp32"
        else:
            signature[parameter.name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            if value % 16 == 0 and not parameter.do_not_specialize:
                attributes[(index,)] = [["tt.divisibility", 16]]
    return ASTSource(fn=plan.kernel, signature=signature, constexprs=constants, attrs=attributes)


def digest(plan: launch.Plan) -> str:
    """Of what the variant's machine code is made of, but for the architecture and the version of Triton."""
    return hashlib.sha256(f"{source(plan).hash()} {plan.warps} {plan.stages}".encode()).hexdigest()[:16]


def resources(plan: launch.Plan, architecture: int) -> list[int]:
    """[registers a thread, bytes of shared memory, bytes of stack and local memory, where registers are spilled]"""
    target = GPUTarget("cuda", architecture, 32)
    compiled = triton.compile(source(plan), target=target, options={"num_warps": plan.warps, "num_stages": plan.stages})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        printed = subprocess.run(
            [CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found: Any = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", printed)
    registers, stack, shared, local = map(int, found.groups())
    return [registers, max(shared, compiled.metadata.shared), stack + local]


def measure(architectures: tuple[int, ...], known: dict[str, Row]) -> dict[str, Row]:
    """[*resources, digest] of every variant for each architecture, as they are known where its digest is the same."""
    found: dict[str, Row] = {}
    for architecture in architectures:
        kernels = set()
        for name, plan in plans():
            kernel, key, made_of = name.split()[0], f"{name} sm_{architecture}", digest(plan)
            if kernel in kernels and known.get(key, [None])[-1] == made_of:
                found[key] = known[key]
            else:
                found[key] = [*resources(plan, architecture), made_of]
            kernels.add(kernel)
    return found


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        bounds.write(BOUNDS, triton.__version__, measure(ARCHITECTURES, {}))
    else:
        known = json.loads(BOUNDS.read_text()).get(triton.__version__, {})
        table = measure(tuple(map(int, sys.argv[1:])) or ARCHITECTURES, known)
        print(json.dumps({"triton": triton.__version__, "resources": table}))
