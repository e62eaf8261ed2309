"""`fastgan dataset` makes pairs: greys and edges of pictures, two sets by name or codepoint, and holds some out."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.cli.dataset import DatasetOptions, run
from fastgan.cli.main import main
from fastgan.data import conversion, load_pairs
from fastgan.data.drawings import edges
from fastgan.data.image import encode_image
from tests.data.making import flat, in_folder, in_memory, pairs_in_memory


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty 12x8 (WxH) images of noise in two classes, and a licence."""
    random = np.random.default_rng(0)
    for i in range(20):
        path = tmp_path / "photos" / ("cat", "dog")[i % 2] / f"p{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 12, 3), np.uint8)).save(path)
    (tmp_path / "photos" / "LICENSE").write_text("free")
    return tmp_path / "photos"


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def picture(images: torch.Tensor, i: int) -> Image.Image:
    return Image.fromarray(images[i].numpy())


def test_grey_pairs_of_copied_files(photos, tmp_path, capsys):
    assert run(DatasetOptions(str(photos), tmp_path / "set.zip", pair="grey")) == 0
    assert f"Wrote 20 pairs to {tmp_path}/set.zip" in capsys.readouterr().out
    assert names(tmp_path / "set.zip")[:3] == ["LICENSE", "dataset.json", "a/cat/p00.webp"]
    assert names(tmp_path / "set.zip")[-1] == "b/dog/p19.png"
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:  # the pictures stay the files that they were
        assert archive.read("b/dog/p19.png") == (photos / "dog" / "p19.png").read_bytes()
    sets, alone = pairs_in_memory(tmp_path / "set.zip"), in_memory(photos)
    assert torch.equal(sets["b"].images, alone.images) and sets["a"].labels.tolist() == alone.labels.tolist()
    assert sets["a"].class_names == ("cat", "dog")
    for i in range(20):
        luma = np.asarray(picture(alone.images, i).convert("L"))
        assert (sets["a"].images[i].numpy() == luma[..., None]).all()


def test_edges_of_a_packaged_set_are_drawn_after_resizing(tmp_path, capsys):
    dest = tmp_path / "faces"
    options = ["--classes", "smileys/faces", "--resolution", "32", "--max-images", "12", "--pair", "edges"]
    grid = tmp_path / "grid.png"
    assert main(["dataset", "--source", "emoji64", "--dest", str(dest), *options, "--preview", str(grid)]) == 0
    assert f"Wrote 12 pairs to {dest}" in capsys.readouterr().out
    alone = in_memory("emoji64", classes=["smileys/faces"], resolution=(32, 32), max_images=12)
    sets = pairs_in_memory(dest)
    assert torch.equal(sets["b"].images, alone.images) and sets["b"].class_names == ("smileys/faces",)
    for i in range(12):
        drawn = np.asarray(edges(picture(alone.images, i)))
        assert (sets["a"].images[i].numpy() == drawn[..., None]).all() and 20 < (drawn == 0).sum() < 400
    assert (dest / "NOTICE.txt").is_file()
    with Image.open(grid) as image:
        cells = np.asarray(image.convert("RGB"))
    assert cells.shape[1] == 4 * 66 + 2  # partners side by side
    assert len(np.unique(cells[2:66, 2:66].reshape(-1, 3), axis=0)) < len(
        np.unique(cells[2:66, 68:132].reshape(-1, 3), axis=0)
    )


def test_pairs_of_two_sets_by_codepoint(tmp_path, capsys):
    fluent = {f"{group}/{name}.png": flat(i, size=(8, 8)) for i, (group, name) in enumerate(
        [("faces", "1f600"), ("faces", "1f602-fe0f"), ("keys", "0023-fe0f-20e3"), ("keys", "1f511")], 1
    )}  # fmt: skip
    noto = {f"emoji_u{name}.png": flat(100 + i, size=(16, 16)) for i, name in enumerate(
        ["1f600", "1f602", "0023_20e3", "1f6aa", "1f6ab"], 1
    )}  # fmt: skip
    one = in_folder(tmp_path / "fluent", fluent | {"LICENSE": b"mine", "NOTICE": b"same"})
    two = in_folder(tmp_path / "noto", noto | {"LICENSE": b"theirs", "NOTICE": b"same"})
    made = DatasetOptions(str(one), tmp_path / "set", pair_with=str(two), by="codepoint", resolution="8")
    assert run(made) == 0
    said = capsys.readouterr().out
    assert f"note: {one}: images without a partner, left out: 1" in said
    assert f"note: {two}: images without a partner, left out: 2" in said and "Wrote 3 pairs" in said
    sets = pairs_in_memory(tmp_path / "set")
    assert sets["a"].images[:, 0, 0, 0].tolist() == [1, 2, 3] and sets["b"].images[:, 0, 0, 0].tolist() == [
        101,
        102,
        103,
    ]
    assert sets["b"].class_names == ("faces", "keys") and sets["b"].labels.tolist() == [0, 0, 1]
    assert (tmp_path / "set" / "LICENSE").read_bytes() == b"mine\n\ntheirs"
    assert (tmp_path / "set" / "NOTICE").read_bytes() == b"same"
    # The other way round, the labels are those of the partners.
    run(DatasetOptions(str(two), tmp_path / "back", pair_with=str(one), by="codepoint", resolution="8"))
    assert load_pairs(tmp_path / "back")["a"].labels.tolist() == [1, 0, 0]


def test_pairs_of_two_sets_by_name(photos, tmp_path):
    drawn = {f"dog/p{i:02d}.bmp": flat(i, "BMP", size=(12, 8)) for i in (1, 3, 19)}
    other = in_folder(tmp_path / "drawn", drawn)
    run(DatasetOptions(str(photos), tmp_path / "set.zip", pair_with=str(other)))
    assert names(tmp_path / "set.zip")[2:4] == ["a/dog/p01.png", "b/dog/p01.bmp"]
    sets = pairs_in_memory(tmp_path / "set.zip")
    assert sets["b"].images[:, 0, 0, 0].tolist() == [1, 3, 19] and sets["a"].labels.tolist() == [1, 1, 1]
    in_folder(other, {"dog/p05.bmp": flat(5, "BMP", size=(9, 9))})
    with pytest.raises(
        ValueError, match=r"drawn/dog/p05\.bmp: is 9x9 \(WxH\), but the first image is 12x8; pass --res"
    ):
        run(DatasetOptions(str(photos), tmp_path / "two.zip", pair_with=str(other)))


@pytest.mark.parametrize("pair", [None, "edges"], ids=["images", "pairs"])
def test_a_share_is_held_out(photos, tmp_path, capsys, pair):
    dest, held = tmp_path / "set.zip", tmp_path / "set-held-out.zip"
    assert run(DatasetOptions(str(photos), dest, pair=pair, hold_out=0.2)) == 0
    what = "pairs" if pair else "images"
    said = capsys.readouterr().out
    assert f"Wrote 16 {what} to {dest}" in said and f"Wrote 4 {what} to {held}, held out" in said
    kept, others = set(names(dest)), set(names(held))
    assert kept & others == {"LICENSE", "dataset.json"}
    stems = (
        {name.rpartition("/")[2].split(".")[0] for name in kept - others},
        {name.rpartition("/")[2].split(".")[0] for name in others - kept},
    )
    assert not stems[0] & stems[1] and len(stems[1]) == 4 and len(stems[0]) == 16
    if pair:
        assert len(load_pairs(dest)["a"]) == 16 and len(load_pairs(held)["a"]) == 4
    with pytest.raises(ValueError, match=r"set-held-out\.zip: exists"):
        dest.unlink()
        run(DatasetOptions(str(photos), dest, pair=pair, hold_out=0.2))
    before = held.read_bytes()
    run(DatasetOptions(str(photos), dest, pair=pair, hold_out=0.2, force=True, workers=1))
    assert held.read_bytes() == before
    capsys.readouterr()
    run(DatasetOptions(str(photos), dest, pair=pair, force=True))
    assert f"warning: {held} is of an earlier call; {dest} may hold the same images" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "set-held-out.zip", "set.zip"]


def test_a_broken_picture_is_no_pair(photos, tmp_path, capsys):
    (photos / "cat" / "p04.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"photos: 1 of 20 images cannot be used; --skip-broken .*p04\.png"):
        run(DatasetOptions(str(photos), tmp_path / "set", pair="edges", resolution="8"))
    assert not (tmp_path / "set").exists()
    run(DatasetOptions(str(photos), tmp_path / "set", pair="edges", resolution="8", skip_broken=True))
    said = capsys.readouterr().out
    assert "images that cannot be used and are left out: 1" in said and "Wrote 19 pairs" in said
    assert len(load_pairs(tmp_path / "set")["a"]) == 19
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "set"]


def test_pairs_stay_pairs_when_converted_again(photos, tmp_path):
    run(DatasetOptions(str(photos), tmp_path / "one", pair="grey"))
    run(DatasetOptions(str(tmp_path / "one"), tmp_path / "two.zip", resolution="6x4", max_images=5, hold_out=0.3))
    sets, held = load_pairs(tmp_path / "two.zip"), load_pairs(tmp_path / "two-held-out.zip")
    assert len(sets["a"]) + len(held["a"]) == 5 and sets["b"].resolution == (4, 6)
    assert sets["b"].class_names == ("cat", "dog")
    (tmp_path / "one" / "dataset.json").unlink()  # then a and b are folders, and still no classes
    (tmp_path / "one" / "a" / "cat" / "p02.webp").write_bytes(b"x")
    run(DatasetOptions(str(tmp_path / "one"), tmp_path / "three", resolution="8", skip_broken=True))
    three = load_pairs(tmp_path / "three")
    assert len(three["a"]) == 19 and three["a"].class_names == ("cat", "dog")
    labels = dict(json.loads((tmp_path / "three" / "dataset.json").read_text())["labels"])
    assert labels["a/dog/p01.webp"] == labels["b/dog/p01.webp"] == 1
    with pytest.raises(ValueError, match=r"one: is a set of pairs already"):
        run(DatasetOptions(str(tmp_path / "one"), tmp_path / "four", pair="edges"))


def test_class_folders_lie_in_the_sides(photos, tmp_path):
    index = [[f"x/p{i}.png", i] for i in range(2)]
    content = {f"x/p{i}.png": flat(i) for i in range(2)}
    content["dataset.json"] = json.dumps({"labels": index, "classes": ["up", "down"]}).encode()
    source = in_folder(tmp_path / "plain", content)
    run(DatasetOptions(str(source), tmp_path / "set.zip", pair="grey", class_folders=True))
    assert names(tmp_path / "set.zip")[1:] == [
        "a/up/x/p0.webp", "b/up/x/p0.png", "a/down/x/p1.webp", "b/down/x/p1.png",
    ]  # fmt: skip


def test_a_conversion_to_pairs_goes_on_where_it_stopped(photos, tmp_path, monkeypatch):
    options = {"pair": "edges", "resolution": "8", "hold_out": 0.1}
    run(DatasetOptions(str(photos), tmp_path / "whole.zip", **options))
    broken = photos / "dog" / "p19.png"
    good = broken.read_bytes()
    broken.write_bytes(b"x")
    with pytest.raises(ValueError, match=r"p19\.png"):
        run(DatasetOptions(str(photos), tmp_path / "set.zip", **options))
    broken.write_bytes(good)
    encoded = []
    monkeypatch.setattr(conversion, "encode_image", lambda *args: encoded.append(args) or encode_image(*args))
    run(DatasetOptions(str(photos), tmp_path / "set.zip", **options))
    assert len(encoded) == 2  # the two sides of what was broken
    assert (tmp_path / "set.zip").read_bytes() == (tmp_path / "whole.zip").read_bytes()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"pair": "edges", "pair_with": "photos"}, "pair and pair_with are two ways to make pairs"),
        ({"by": "codepoint"}, "--by goes with --pair-with SOURCE only"),
        ({"hold_out": 5.0}, "--hold-out must be a share of the images between 0 and 1, got 5"),
        ({"hold_out": 0.0}, "--hold-out must be a share of the images between 0 and 1, got 0"),
        ({"pair": "grey", "shard_size": 5}, "pairs are written to a folder or a zip, not to shards"),
        ({"pair_with": "photos", "by": "codepoint"}, "no image of photos spells the codepoints of one of photos"),
        ({"pair_with": "nowhere"}, "nowhere: no such file or folder"),
        ({"classes": ("bird",)}, "no class is named 'bird'; there are: cat, dog"),
        ({"dest": None, "pair": "grey", "hold_out": 0.1}, "--pair, --hold-out: nothing is written without --dest"),
        ({"preset": "emoji64", "groups": Path("x"), "pair": "grey"}, "one fixed set"),
        ({"pair_with": "other", "dest": Path("other/new")}, "must lie outside the source"),
    ],
)
def test_options_that_do_not_go_together_are_named(photos, tmp_path, monkeypatch, options, complaint):
    monkeypatch.chdir(tmp_path)
    in_folder(tmp_path / "other", {"cat/p00.png": flat(1)})
    with pytest.raises(ValueError, match=complaint):
        run(DatasetOptions(**{"source": "photos", "dest": Path("new")} | options))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "other") == ["photos"]
