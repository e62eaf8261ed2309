"""Data that move, are packed again or change between two parts of a run."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastgan.checkpoint import load_checkpoint, save_checkpoint
from fastgan.cli.main import main
from fastgan.data.opening import PACKAGED
from fastgan.train.folder import latest_checkpoint
from tests.cli.test_train import TINY, assert_same, state_of

pytestmark = pytest.mark.thorough

NETWORKS = [
    "--resolution", "16", "--batch", "4", "--cbase", "64", "--cmax", "8", "--map-depth", "1", "--set", "z_dim=8",
    "w_dim=8", "--tick", "0.004", "--snap", "2", "--device", "cpu", "--threads", "1",
]  # fmt: skip


def draw(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def make(folder: Path, count: int = 12) -> Path:
    """Images of two classes."""
    for number in range(count):
        draw(folder / ("cats" if number % 2 else "dogs") / f"{number:02d}.png", number)
    return folder


def begin(data: object, run: Path, *options: str, kimg: str = "0.008") -> None:
    assert main(["train", "--data", str(data), *NETWORKS, "--outdir", str(run), "--kimg", kimg, *options]) == 0


def go_on(run: Path, *options: str, kimg: str = "0.024") -> int:
    return main(["train", "--resume", str(run), "--kimg", kimg, "--threads", "1", *options])


def refusal(capsys: pytest.CaptureFixture[str], run: Path, *options: str) -> str:
    capsys.readouterr()
    assert go_on(run, *options) == 2
    return " ".join(capsys.readouterr().err.split())


def moved(data: Path, to: Path) -> Path:
    return data.rename(to / "elsewhere")


def zipped(data: Path, to: Path, wrapper: str = "", level: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(to / "packed.zip", "w", level) as archive:
        for path in sorted(data.rglob("*.png"), reverse=True):
            archive.write(path, wrapper + path.relative_to(data).as_posix())
    shutil.rmtree(data)
    return to / "packed.zip"


def zipped_again(data: Path, to: Path) -> Path:
    return zipped(data, to, "my pictures/", zipfile.ZIP_DEFLATED)


def in_a_shard(data: Path, to: Path) -> Path:
    with tarfile.open(to / "packed.tar", "w") as archive:
        archive.add(data, ".")
    shutil.rmtree(data)
    return to / "packed.tar"


@pytest.fixture(scope="module")
def stayed(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, dict]:
    """The states of two runs whose data stayed where they were, one without and one with labels."""
    states = {}
    for cond in (False, True):
        folder = tmp_path_factory.mktemp("stayed")
        begin(make(folder / "data"), folder / "run", *["--cond"] * cond, kimg="0.024")
        states[cond] = state_of(folder / "run")
    return states


@pytest.mark.parametrize("stream", ["False", "True"])
@pytest.mark.parametrize("how", [moved, zipped, zipped_again, in_a_shard])
def test_a_run_goes_on_with_data_that_moved(tmp_path, stayed, capsys, how, stream) -> None:
    data, run = make(tmp_path / "data"), tmp_path / "run"
    cond = how is not in_a_shard  # whose labels are no folders
    begin(data, run, "--stream", stream, *["--cond"] * cond)
    place = how(data, tmp_path)
    assert "are gone: nothing is at " in refusal(capsys, run)
    assert go_on(run, "--data", str(place)) == 0
    assert f"the same images, which were at {data}, are at {place}" in capsys.readouterr().out
    for part in ("state", "G_ema", "data"):
        assert_same(stayed[cond][part], state_of(run)[part])
    config = json.loads((run / "config.json").read_text())
    assert config["data"]["path"] == str(place) and config["fingerprint"]["images"] == 12
    assert go_on(run, kimg="0.028") == 0  # the new place is known from now on


def test_a_run_goes_on_from_another_working_directory(tmp_path, stayed, monkeypatch) -> None:
    make(tmp_path / "project" / "data")
    monkeypatch.chdir(tmp_path / "project")
    begin("data", Path("runs/mine"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert go_on(Path("../project/runs/mine")) == 0
    assert_same(stayed[False]["state"], state_of(tmp_path / "project" / "runs" / "mine")["state"])


def test_data_and_run_that_moved_together_are_found_from_there(tmp_path, stayed, monkeypatch) -> None:
    make(tmp_path / "project" / "data")
    monkeypatch.chdir(tmp_path / "project")
    begin("data", Path("run"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "project").rename(tmp_path / "renamed")
    monkeypatch.chdir(tmp_path / "renamed")
    assert go_on(Path("run")) == 0
    assert_same(stayed[False]["state"], state_of(Path("run"))["state"])


def test_another_folder_of_the_same_name_is_not_taken_for_the_data(tmp_path, monkeypatch, capsys) -> None:
    make(tmp_path / "a" / "data")
    make(tmp_path / "b" / "data", 14)
    monkeypatch.chdir(tmp_path / "a")
    begin("data", tmp_path / "run")
    shutil.rmtree(tmp_path / "a" / "data")
    monkeypatch.chdir(tmp_path / "b")
    assert "2 images more than when the run began" in refusal(capsys, tmp_path / "run")


def test_the_same_folder_by_another_name(tmp_path, stayed) -> None:
    data, run = make(tmp_path / "data"), tmp_path / "run"
    begin(data, run)
    (tmp_path / "link").symlink_to(data)
    (tmp_path / "link to run").symlink_to(run)
    assert go_on(tmp_path / "link to run", "--data", str(tmp_path / "link")) == 0
    assert_same(stayed[False]["state"], state_of(run)["state"])


def test_a_copy_of_the_packaged_set(tmp_path, capsys) -> None:
    run = tmp_path / "run"
    assert main(["train", "--outdir", str(run), *TINY, "--kimg", "0.004"]) == 0
    copy = shutil.copy(PACKAGED["emoji64"], tmp_path / "emoji.zip")
    assert go_on(run, "--data", str(copy), kimg="0.008") == 0
    assert go_on(run, "--data", "emoji64", kimg="0.012") == 0


def add(data: Path) -> None:
    for number in (40, 41, 42):
        draw(data / "cats" / f"{number}.png", number)


def remove(data: Path) -> None:
    (data / "cats" / "03.png").unlink()


def replace(data: Path) -> None:
    draw(data / "cats" / "03.png", 99)


def swap(data: Path) -> None:
    (data / "cats" / "03.png").rename(data / "cats" / "20.png")


def relabel(data: Path) -> None:
    (data / "cats").rename(data / "cougars")


@pytest.mark.parametrize("form", ["memory", "zip"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (add, "3 images more than when the run began (15; then 12)."),
        (remove, "1 image fewer than when the run began (11; then 12)."),
        (replace, ": 1 image is another."),
        (swap, ": the images in another order."),
        (relabel, "other labels or class names"),
    ],
)
def test_data_that_changed_are_refused_in_words(tmp_path, capsys, change, words, form) -> None:
    data, run = make(tmp_path / "data"), tmp_path / "run"
    if form == "zip":
        spare = shutil.copytree(data, tmp_path / "spare")
        data = zipped(data, tmp_path)
    begin(data, run, "--cond", "--stream", str(form == "zip"))
    before = state_of(run)
    if form == "zip":
        change(spare)
        data.unlink()
        zipped(spare, tmp_path)
    else:
        change(data)
    said = refusal(capsys, run)
    assert f"the data of {latest_checkpoint(run)} changed at {data}: " in said and words in said
    assert f"put back what was there; to train on these instead: fastgan train --branch {run}" in said
    assert_same(before, state_of(run))


def test_labels_that_no_training_sees_may_change(tmp_path) -> None:
    data, run = make(tmp_path / "data"), tmp_path / "run"
    begin(data, run)
    relabel(data)
    assert go_on(run) == 0


def test_other_data_elsewhere_are_refused(tmp_path, capsys) -> None:
    data, run = make(tmp_path / "data"), tmp_path / "run"
    begin(data, run)
    said = refusal(capsys, run, "--data", str(make(tmp_path / "more", 14)))
    assert f"are not those at {tmp_path / 'more'}: 2 images more than when the run began (14; then 12)" in said
    assert said.endswith(f"--outdir NEW --data {tmp_path / 'more'}")


def test_images_added_to_a_streamed_folder_are_noticed_before_it_has_been_read_through(tmp_path, capsys) -> None:
    data, run = make(tmp_path / "data"), tmp_path / "run"
    begin(data, run, "--stream", "True", kimg="0.004")
    config = json.loads((run / "config.json").read_text())
    assert config["fingerprint"]["content"] is None  # 4 of 12 have been read
    add(data)
    assert "3 images more than when the run began (15; then 12)" in refusal(capsys, run)


def test_an_image_of_a_streamed_folder_that_changed_is_named_when_it_is_read(tmp_path, capsys) -> None:
    data, run = make(tmp_path / "data"), tmp_path / "run"
    begin(data, run, "--stream", "True", kimg="0.012")
    replace(data)
    said = refusal(capsys, run)
    assert f"{data}/cats/03.png: is not the image that the run first read there; put it back" in said
    assert "--skip-broken" in said
    assert go_on(run, "--skip-broken") == 0
    assert "warning: left out: " in capsys.readouterr().out
    draw(data / "cats" / "03.png", 3)  # put back
    assert go_on(run, kimg="0.036") == 0


def test_a_checkpoint_that_is_older_than_fingerprints_goes_on_where_its_data_are(tmp_path, capsys) -> None:
    data, run = make(tmp_path / "data"), tmp_path / "run"
    begin(data, run)
    path = latest_checkpoint(run)
    assert path is not None
    tree, metadata = load_checkpoint(path)
    del tree["data"], tree["config"]["data"]["path"], metadata["fingerprint"]
    save_checkpoint(path, tree, metadata=metadata)
    shutil.copytree(data, tmp_path / "copy")
    assert f"source is {data}, asked {tmp_path / 'copy'}" in refusal(capsys, run, "--data", str(tmp_path / "copy"))
    assert go_on(run, "--data", f"{tmp_path}/./data") == 0
    assert "data" in state_of(run)
