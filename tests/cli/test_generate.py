from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.checkpoint import save_checkpoint
from fastgan.cli.main import main
from fastgan.generate.sampling import Sampler
from fastgan.models.registry import build
from tests.models import movable

SMALL = {"resolution": (16, 16), "channel_base": 128, "channel_max": 8, "z_dim": 8, "w_dim": 8, "mapping_layers": 2}

NO_CLASSES = (
    "class must not be given: the model is conditioned on label vectors, not on classes; give labels, got 'all'"
)


def network(tmp_path: Path, *classes: str, name: str = "network.safetensors", seed: int = 0, **more: object) -> Path:
    torch.manual_seed(seed)
    config = {**SMALL, "num_classes": len(classes)}
    path = tmp_path / name
    tree = {"model": {"name": "stylegan2", "config": config}, "G_ema": build("stylegan2", **config)[1].state_dict()}
    save_checkpoint(path, tree | more, metadata={"kimg": 1.0, "dataset": {"name": "emoji", "classes": list(classes)}})
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_one_file_a_seed_and_a_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = network(tmp_path), tmp_path / "deep" / "out"
    arguments = ["--network", str(path), "--seeds", "0-2,40", "--trunc", "0.7", "--outdir", str(out), "--grid"]
    assert main(["generate", *arguments, "--batch", "3", "--device", "cpu"]) == 0
    names = ["grid.png", "seed0000.png", "seed0001.png", "seed0002.png", "seed0040.png"]
    assert sorted(entry.name for entry in out.iterdir()) == names
    images = Sampler.from_checkpoint(path).images([0, 1, 2, 40], truncation_psi=0.7).permute(0, 2, 3, 1).numpy()
    for image, name in zip(images, names[1:], strict=True):
        assert np.abs(pixels(out / name).astype(int) - image).max() <= 1
    assert pixels(out / "grid.png").shape == (38, 38, 3)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"wrote 4 images: {out}/seed0000.png ... seed0040.png",
        f"wrote a grid of 4: {out}/grid.png",
    ]


def test_the_grid_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["generate", "--network", str(network(tmp_path)), "--outdir", str(out), "--seeds", "1"]
    assert main([*command, "--grid", "--no-images"]) == 0
    assert [entry.name for entry in out.iterdir()] == ["grid.png"]


def test_a_class_is_chosen_by_name(tmp_path: Path) -> None:
    path = network(tmp_path, "smileys", "food")
    command = ["generate", "--network", str(path), "--seeds", "5", "--outdir"]
    for name, out in (("food", "name"), ("1", "number"), ("smileys", "other")):
        assert main([*command, str(tmp_path / out), "--class", name]) == 0
    food, number, other = (pixels(tmp_path / out / "seed0005.png") for out in ("name", "number", "other"))
    assert np.array_equal(food, number) and not np.array_equal(food, other)


def test_all_classes_make_a_row_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = network(tmp_path, "smileys", "food", "flags"), tmp_path / "out"
    command = ["generate", "--network", str(path), "--seeds", "5,6", "--outdir", str(out), "--trunc", "0.6", "--grid"]
    assert main([*command, "--class", "all", "--batch", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"wrote 6 images: {out}/class0-seed0005.png ... class2-seed0006.png\n")
    sheet = pixels(out / "grid.png")
    assert sheet.shape == (3 * 18 + 2, 2 * 18 + 2, 3)
    expected = Sampler.from_checkpoint(path).images([6], truncation_psi=0.6, class_index=2, batch_size=1)
    assert np.array_equal(pixels(out / "class2-seed0006.png"), expected[0].permute(1, 2, 0))
    assert np.array_equal(sheet[38:54, 20:36], expected[0].permute(1, 2, 0))
    assert main([*command, "--class", "2", "food", "food", "--batch", "1"]) == 0  # replaces what is there
    assert np.array_equal(pixels(out / "grid.png")[2:18, 20:36], expected[0].permute(1, 2, 0))
    assert pixels(out / "grid.png").shape == (2 * 18 + 2, 2 * 18 + 2, 3)


def test_a_folder_stands_for_its_newest_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    network(run, name="checkpoint-000001.safetensors", seed=1)
    newest = network(run, name="checkpoint-000002.safetensors", seed=2)
    for source, out in ((run, "folder"), (newest, "file")):
        assert main(["generate", "--network", str(source), "--seeds", "3", "--outdir", str(tmp_path / out)]) == 0
    assert np.array_equal(pixels(tmp_path / "folder/seed0003.png"), pixels(tmp_path / "file/seed0003.png"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "gone.safetensors"], "checkpoint gone.safetensors does not exist"),
        (["--network", "text.safetensors"], "text.safetensors is not a fastgan checkpoint (it is no safetensors file)"),
        (["--network", "empty"], "empty: the folder holds no checkpoint (*.safetensors)"),
        (["--seeds", "1-x"], "seeds must be numbers and ranges like 0-31,40, got '1-x' in '1-x'"),
        (["--class", "food"], "class must not be given: the model is unconditional, got 'food'"),
        (
            ["--network", "classes.safetensors", "--class", "cars"],
            "class must be one of smileys, food, or a number from 0 to 1; got 'cars'",
        ),
        (["--label", "1,0"], "labels must be None, as the model is unconditional"),
        (["--label", "1;0"], "--label must be numbers with commas between them, like 0.1,-0.5; got '1;0'"),
        (["--network", "classes.safetensors", "--label", "1"], "labels must have shape [2] or [N, 2], got [1]"),
        (
            ["--network", "classes.safetensors", "--label", "1,0", "--class", "0"],
            "class_index must be None where labels are given, got [0]",
        ),
        (["--network", "vectors.safetensors", "--class", "all"], NO_CLASSES),
        (["--no-images"], "--no-images without --grid leaves nothing to write"),
        (["--batch", "0"], "batch_size must be at least 1, got 0"),
        (["--class", "all"], "class must not be given: the model is unconditional, got 'all'"),
        (["--trunc", "nan"], "truncation_psi must be a number within ±100, got nan"),
        (
            ["--translate", "0.25", "-.5", "--rotate", "30"],
            "translate and rotate must be 0: a stylegan2 generator cannot move its picture, as those of "
            "stylegan3-t and stylegan3-r can; got 0.25 -0.5 and 30",
        ),
        (["--rotate", "nan"], "rotate must be finite and within float32, got nan"),
        (["--outdir", "text.safetensors"], "--outdir must be a folder, text.safetensors is a file"),
        (["--outdir", "text.safetensors/deep"], "text.safetensors/deep: Not a directory"),
    ],
)
def test_errors_are_worded_and_write_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    network(Path("."))
    network(Path("."), "smileys", "food", name="classes.safetensors")
    network(Path("."), "smileys", "food", name="vectors.safetensors", labels=torch.ones(1, 2))
    Path("text.safetensors").write_text("no checkpoint, but long enough to be one")
    Path("empty").mkdir()
    given = arguments if "--network" in arguments else ["--network", "network.safetensors", *arguments]
    assert main(["generate", "--outdir", "out", *given]) == 2
    assert capsys.readouterr().err == f"fastgan: error: {message}\n"
    assert not list(Path(".").glob("out/*"))


def test_a_label_is_given_as_numbers(tmp_path: Path) -> None:
    path = network(tmp_path, "a", "b")
    command = ["generate", "--network", str(path), "--seeds", "5", "--batch", "1", "--outdir"]
    for given, out in ((["--label", "-0.5,1"], "vector"), (["--label=0,1.0"], "one-hot"), (["--class", "b"], "class")):
        assert main([*command, str(tmp_path / out), *given]) == 0
    vector, one_hot, b = (pixels(tmp_path / out / "seed0005.png") for out in ("vector", "one-hot", "class"))
    assert np.array_equal(one_hot, b) and not np.array_equal(vector, b)
    expected = Sampler.from_checkpoint(path).images([5], labels=[-0.5, 1], batch_size=1)
    assert np.array_equal(vector, expected[0].permute(1, 2, 0))


def test_pictures_are_moved_and_turned(tmp_path: Path) -> None:
    path = movable.checkpoint(tmp_path)
    command = ["generate", "--network", str(path), "--seeds", "0-2", "--batch", "1", "--trunc", "0.7", "--outdir"]
    moves = {
        "stay": [],
        "right": ["--translate", "0.25", "0"],
        "all": ["--translate", "-0.25", "0.5", "--rotate", "90"],
    }
    for out, given in moves.items():
        assert main([*command, str(tmp_path / out), *given]) == 0
    stay, right, both = (pixels(tmp_path / out / "seed0002.png").astype(int) for out in moves)
    assert np.abs(right[:, 4:] - stay[:, :-4]).max() <= 1  # 0.25 of 16 pixels
    turned = np.rot90(stay)
    assert np.abs(both[8:, :-4] - turned[:-8, 4:]).max() <= 1
