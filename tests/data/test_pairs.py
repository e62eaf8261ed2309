"""Sets of pairs: partners by name, errors that name the lonely, broken images out of both sides, fingerprints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fastgan.data import Batches, BrokenImageError, Dataset, load_pairs, load_two_sets
from fastgan.train.fingerprint import Fingerprint
from tests.data.making import flat, in_folder, in_memory, in_zip, pairs_in_memory

NAMES = ("cat/1", "cat/2", "dog/1", "dog/10", "dog/2")
FORMS = ("folder", "zip", "wrapped.zip", "capitals.zip")


def files(endings: tuple[str, str] = (".png", ".png"), sizes: tuple[tuple[int, int], ...] = ((6, 4), (6, 4))) -> dict:
    """a: images of values 10, 20, ...; b: their partners, one more."""
    return {
        f"{side}/{name}{ending}": flat(10 * i + number, {".png": "PNG", ".bmp": "BMP"}[ending], size=size)
        for number, (side, ending, size) in enumerate(zip("ab", endings, sizes, strict=True))
        for i, name in enumerate(NAMES, 1)
    }


def made(path: Path, form: str, content: dict) -> Path:
    """The files as a folder or zip; perhaps inside another folder, or with sides in capitals."""
    if form == "folder":
        return in_folder(path / "pairs", content)
    if form == "wrapped.zip":
        content = {f"pairs/{name}": data for name, data in content.items()}
    if form == "capitals.zip":
        content = {name[0].upper() + name[1:]: data for name, data in content.items()}
    return in_zip(path / form, content)


def values(dataset, count: int | None = None) -> list[int]:
    return dataset.read(torch.arange(count or len(dataset)))[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("stream", [False, True], ids=["held", "streamed"])
@pytest.mark.parametrize("form", FORMS)
def test_partners_have_equal_numbers_and_labels(tmp_path, form, stream):
    sets = load_pairs(made(tmp_path, form, files()), stream=stream)
    assert list(sets) == ["a", "b"]
    assert values(sets["a"]) == [10, 20, 30, 40, 50] and values(sets["b"]) == [11, 21, 31, 41, 51]
    for each in sets.values():  # folders inside of a and b are classes, a and b are none
        assert each.class_names == ("cat", "dog") and each.labels.tolist() == [0, 0, 1, 1, 1]
        assert each.resolution == (4, 6) and each.channels == 3
        each.close()


def test_endings_need_not_be_equal_and_do_not_change_the_order(tmp_path):
    # 1.c.png sorts before 1.png, but 1.c.bmp after 1.bmp: pairs follow the order of a.
    content = files((".png", ".bmp")) | {"a/dog/1.c.png": flat(60), "b/dog/1.c.bmp": flat(61, "BMP")}
    sets = load_pairs(in_folder(tmp_path / "set", content))
    assert [b - a for a, b in zip(values(sets["a"]), values(sets["b"]), strict=True)] == [1] * 6
    in_folder(tmp_path / "set", {"b/dog/1.png": flat(7)})
    with pytest.raises(ValueError, match=r"b: dog/1\.bmp and dog/1\.png differ in their ending alone"):
        load_pairs(tmp_path / "set")


def test_labels_of_an_index_at_the_root_or_of_each_side(tmp_path):
    content = {name: data for name, data in files().items()}
    labels = [[name, i % 2] for i, name in enumerate(content)]  # b has others, which do not count
    root = {"dataset.json": json.dumps({"labels": labels, "classes": ["even", "odd"]}).encode()}
    for source in (in_folder(tmp_path / "root", content | root), in_zip(tmp_path / "root.zip", content | root)):
        sets = load_pairs(source, classes=["odd"])
        assert values(sets["a"]) == [20, 40] and values(sets["b"]) == [21, 41]
        assert load_pairs(source)["b"].labels.tolist() == [0, 1, 0, 1, 0]
    for side, names in (("a", []), ("b", [[f"{name}.png", i] for i, name in enumerate(NAMES)])):
        text = json.dumps({"labels": names or None})
        in_folder(tmp_path / "own", content | {f"{side}/dataset.json": text.encode()})
    sets = load_pairs(tmp_path / "own")  # a has none: those of b
    assert sets["a"].labels.tolist() == sets["b"].labels.tolist() == [0, 1, 2, 3, 4]


def test_fewer_images_are_fewer_pairs(tmp_path):
    sets = load_pairs(made(tmp_path, "zip", files()), max_images=3, resolution=(2, 2))
    assert values(sets["a"]) == [10, 20, 40] and values(sets["b"]) == [11, 21, 41]


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_lonely_images_are_named(tmp_path, form):
    content = files()
    del content["b/cat/2.png"]
    one = made(tmp_path / "one", form, content) if form == "folder" else in_zip(tmp_path / "one.zip", content)
    with pytest.raises(ValueError, match=r"1 of the 5 images of a has no partner: cat/2\.png\. Partners have equal"):
        load_pairs(one)
    del content["a/dog/1.png"], content["a/dog/2.png"]
    two = made(tmp_path / "two", form, content) if form == "folder" else in_zip(tmp_path / "two.zip", content)
    with pytest.raises(ValueError, match=r"of a has no partner: cat/2\.png; 2 of the 4 images of b have no partner: "):
        load_pairs(two)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"trainA/1.png": 0, "trainB/1.png": 0}, "folders trainA, trainB"),
        ({"a/1.png": 0, "a/2.png": 0}, "folder a"),
        ({"a/1.png": 0, "b/1.png": 0, "c/1.png": 0}, "folders a, b, c"),
        ({"1.png": 0, "2.png": 0}, "no folders"),
        ({"a/1.png": 0, "b/1.png": 0, "2.png": 0}, "folders a, b and images beside them"),
    ],
    ids=["train", "one", "three", "none", "beside"],
)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_other_folders_are_named(tmp_path, content, found, form):
    source = {name: flat(value) for name, value in content.items()}
    path = in_folder(tmp_path / "set", source) if form == "folder" else in_zip(tmp_path / "set.zip", source)
    with pytest.raises(ValueError, match=rf"set.*: pairs lie in two folders, a and b, .*; it has {found}\. Rename"):
        load_pairs(path)


def test_sides_of_different_sizes_are_named(tmp_path):
    source = made(tmp_path, "zip", files(sizes=((6, 4), (12, 8))))
    with pytest.raises(
        ValueError, match=r"zip/?b?: its images are 12x8 \(WxH\), but those of .* are 6x4; give a resol"
    ):
        load_pairs(source)
    assert load_pairs(source, resolution=(4, 4))["b"].resolution == (4, 4)


@pytest.mark.parametrize("stream", [False, True], ids=["held", "streamed"])
def test_a_pair_of_which_one_is_broken_is_left_out_of_both(tmp_path, stream):
    content = files() | {"a/cat/2.png": b"broken", "b/dog/2.png": b"broken"}
    source = in_folder(tmp_path / "set", content)
    if not stream:
        with pytest.raises(BrokenImageError, match=r"1 of 5 images cannot be used; --skip-broken .*cat/2\.png: cannot"):
            load_pairs(source)
    sets = load_pairs(source, skip_broken=True, stream=stream)
    batches = Batches(sets, 5, seed=0, mirror=True)
    for _ in range(4):
        batch = batches.next()
        a, b = (((batch[name][:, 0, 0, 0] + 1) * 127.5).round().int() for name in ("a", "b"))
        assert (b - a).tolist() == [1] * 5
        # A stand-in is of the same class: 10 for 20, 30 for 50.
        assert set(a.tolist()) == {10, 30, 40} and (not stream or sorted(a.tolist()) == [10, 10, 30, 30, 40])
    for name, broken in (("a", "cat/2.png"), ("b", "dog/2.png")):
        assert len(sets[name].broken) == 1 and broken in next(iter(sets[name].broken))
    if not stream:
        assert len(sets["a"]) == len(sets["b"]) == 3 and sets["b"].labels.tolist() == [0, 1, 1]
        assert (
            (sets["a"].checksums == -2).tolist()
            == (sets["b"].checksums == -2).tolist()
            == [False, True, *[False] * 2, True]
        )


def test_pairs_of_which_none_is_whole_are_an_error(tmp_path):
    content = files() | {f"{'ab'[i % 2]}/{name}.png": b"broken" for i, name in enumerate(NAMES)}
    source = in_folder(tmp_path / "set", content)
    with pytest.raises(BrokenImageError, match=r"5 of 5 images cannot be used; none is left: .*cat/1\.png"):
        load_pairs(source, skip_broken=True)
    sets = load_pairs(source, skip_broken=True, stream=True)
    with pytest.raises(BrokenImageError, match="no image can be read together with its partners"):
        Batches(sets, 2, seed=0).next()


def fingerprint(dataset: Dataset) -> Fingerprint:
    found = Fingerprint.of(dataset, True)
    assert found is not None
    return found


def test_fingerprints_tell_each_side_wherever_the_pairs_lie(tmp_path):
    first = load_pairs(made(tmp_path, "folder", files()))
    for form in FORMS[1:]:
        for name, moved in load_pairs(made(tmp_path, form, files())).items():
            assert fingerprint(first[name]).changes(fingerprint(moved)) == []
    changed = load_pairs(in_zip(tmp_path / "changed.zip", files() | {"b/dog/1.png": flat(99, size=(6, 4))}))
    told = {name: fingerprint(first[name]).changes(fingerprint(changed[name])) for name in first}
    assert told == {"a": [], "b": ["1 image is another"]}
    broken = load_pairs(in_zip(tmp_path / "broken.zip", files() | {"b/dog/1.png": b"x"}), skip_broken=True)
    told = {name: fingerprint(first[name]).changes(fingerprint(broken[name])) for name in first}
    assert told == {name: ["1 image cannot be read any more"] for name in "ab"}


def test_two_sets_of_any_numbers(tmp_path):
    pairs = files()
    del pairs["b/cat/1.png"]
    source = made(tmp_path, "zip", pairs)
    apart = in_folder(tmp_path / "apart", pairs)
    for sets in (load_two_sets(source), load_two_sets(apart / "a", apart / "b"), load_two_sets(apart, stream=True)):
        assert values(sets["a"]) == [10, 20, 30, 40, 50] and values(sets["b"]) == [21, 31, 41, 51]
        assert sets["b"].labels.tolist() == [0, 1, 1, 1]
    other = in_folder(tmp_path / "other", {"1.png": flat(3, size=(8, 8))})
    with pytest.raises(
        ValueError, match=r"a has images of 6x4 \(WxH\), 3 channels; .*other of 8x8 \(WxH\), 3 channels"
    ):
        load_two_sets(apart / "a", other)
    with pytest.raises(ValueError, match=r"no such file or folder"):
        load_two_sets(apart / "a", tmp_path / "none")


def test_a_side_is_the_set_that_its_folder_is(tmp_path):
    source = made(tmp_path, "folder", files())
    alone, side = in_memory(source / "b"), pairs_in_memory(source)["b"]
    assert torch.equal(alone.images, side.images) and alone.labels.tolist() == side.labels.tolist()
    assert alone.checksums.tolist() == side.checksums.tolist() and alone.class_names == side.class_names


def test_wrong_options_are_named(tmp_path):
    source = made(tmp_path, "zip", files())
    with pytest.raises(ValueError, match="channels must be 3"):
        load_pairs(source, channels=2)
    with pytest.raises(TypeError, match="colour"):
        load_pairs(source, colour=True)
    with pytest.raises(ValueError, match="no class is named 'bird'"):
        load_pairs(source, classes=["bird"])
