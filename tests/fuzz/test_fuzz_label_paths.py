"""Paths in dataset.json as programs of other systems write them: each label goes to its image, or there is an error."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastgan.data.finding import index_of_files
from fastgan.data.listing import clean_name
from tests.fuzz.limits import bounded

# Few words, so that folders, prefixes and names are often the same.
words = st.sampled_from(["a", "b", "A", "0", "ä", "e\u0301", "x.y"])
folders = st.lists(words, max_size=2).map("/".join)
names = st.builds(
    lambda folder, stem, ending: f"{folder}/{stem}{ending}".lstrip("/"),
    folders,
    words,
    st.sampled_from([".png", ".jpg"]),
)
ways = st.sampled_from(
    [
        lambda path: path,
        lambda path: path.replace("/", "\\"),
        lambda path: f"./{path}",
        lambda path: path.replace("/", "//"),
        lambda path: path.replace("/", "/./"),
        lambda path: f"{path} ",
        lambda path: unicodedata.normalize("NFD", path),
        lambda path: unicodedata.normalize("NFC", path),
    ]
)
prefixes = st.one_of(st.just(""), folders, folders.map("/{}".format), st.just("C:\\Users\\a"), st.just("../b"))


def joined(*parts: str) -> str:
    return "/".join(part for part in parts if part)


@settings.get_profile("fuzz")
@given(
    set_of=st.lists(names, min_size=1, max_size=5, unique_by=lambda name: unicodedata.normalize("NFC", name)),
    wrapper=folders,
    place=st.booleans(),
    prefix=prefixes,
    way=ways,
    ending=st.booleans(),
    gone=st.sampled_from(["none", "images", "labels"]),
    data=st.data(),
)
def test_label_paths(set_of, wrapper, place, prefix, way, ending, gone, data) -> None:
    image_of = {name: joined(wrapper, name.replace(".png", ".webp") if ending else name) for name in set_of}
    assume(len({name.rpartition(".")[0] for name in set_of}) == len(set_of) or not ending)
    path_of = {name: way(f"{prefix}/{name}" if prefix else name) for name in set_of}
    kept = data.draw(st.lists(st.sampled_from(set_of), min_size=1, unique=True))
    images = sorted(image_of[name] for name in (kept if gone == "images" else set_of))
    labels = {path_of[name]: number for number, name in enumerate(set_of) if gone != "labels" or name in kept}
    home = wrapper if place else ""
    file = joined(home, "dataset.json")
    form = lambda path: unicodedata.normalize("NFC", clean_name(path.rstrip()))  # noqa: E731
    known = {form(image): image for image in images}
    for name in set_of:  # what a path names as it stands is what it means
        for image in (known.get(form(joined(home, form(path_of[name])))), known.get(form(path_of[name]))):
            assume(image in (None, image_of[name]))
    with bounded():
        try:
            index = index_of_files(
                Path("set"), images, [*images, file], lambda _: json.dumps({"labels": labels}).encode()
            )
        except ValueError as error:
            assert str(error).startswith(f"set/{file}: ") and len(str(error)) < 1500
            return
    assert index is not None and index.labels is not None
    expected = {image_of[name]: number for number, name in enumerate(set_of)}
    assert index.labels.items() <= expected.items()
    simple = prefix == "" and not ending
    assert not simple or len(index.labels) == min(len(images), len(labels))
