"""Which images belong together: codepoints that names spell, partners, sides of a pair, what is held out."""

from __future__ import annotations

import pytest

from fastgan.data.opening import open_store
from fastgan.data.pairing import codepoints, held_out, partners, sides_of
from tests.data.making import flat, in_folder


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        ("1f600.png", (0x1F600,)),
        ("smileys/1F600.webp", (0x1F600,)),
        ("emoji_u1f600.png", (0x1F600,)),
        ("U+1F600.png", (0x1F600,)),
        ("1F600-FE0F.svg", (0x1F600,)),
        ("0023-fe0f-20e3.png", (0x23, 0x20E3)),
        ("23-20e3.png", (0x23, 0x20E3)),
        ("emoji_u1f468_200d_2695.png", (0x1F468, 0x200D, 0x2695)),
        ("1f468-1f3fd-200d-2695-fe0f.png", (0x1F468, 0x1F3FD, 0x200D, 0x2695)),
        ("u+1f1e6 u+1f1e8.png", (0x1F1E6, 0x1F1E8)),
        ("grinning-face.png", ()),
        ("1f600 copy.png", ()),
        ("1f600-.png", ()),
        ("7.png", ()),
        ("12345678.png", ()),
    ],
)
def test_codepoints_of_a_name(name, spelt):
    assert codepoints(name) == spelt


def test_partners_by_codepoint_and_by_name(tmp_path):
    fluent = in_folder(tmp_path / "fluent", {f"x/{name}": flat(1) for name in ("1f600.png", "1F602-fe0f.png", "a.png")})
    noto = ("emoji_u1f600.png", "emoji_u1f602.png", "emoji_u1f603.png", "x/a.jpg", "zz-1f600.png")
    noto = in_folder(tmp_path / "noto", {name: flat(2) for name in noto})
    one, two = open_store(fluent), open_store(noto)
    found = partners(one, one.names, two, "codepoint")
    assert found == {"x/1f600.png": "emoji_u1f600.png", "x/1F602-fe0f.png": "emoji_u1f602.png"}
    assert partners(one, one.names, two, "name") == {"x/a.png": "x/a.jpg"}
    other = open_store(in_folder(tmp_path / "other", {"b.png": flat(3)}))
    with pytest.raises(
        ValueError, match=r"no image of .*fluent spells the codepoints of one of .*other: there are x/1F"
    ):
        partners(one, one.names, other, "codepoint")
    with pytest.raises(ValueError, match=r"no image of .*fluent has, but for its ending, the path of one of .*other"):
        partners(one, one.names, other, "name")


def test_the_first_of_two_spellings_is_taken(tmp_path):
    one = open_store(in_folder(tmp_path / "one", {"1f600-fe0f.png": flat(1), "1f600.png": flat(2)}))
    two = open_store(in_folder(tmp_path / "two", {"1f600.png": flat(1), "emoji_u1f600.png": flat(2)}))
    assert partners(one, one.names, two, "codepoint") == {"1f600-fe0f.png": "1f600.png"}


def test_sides_of_a_set_of_pairs_and_of_others():
    assert sides_of(["a/x.png", "a/y/z.png", "b/x.jpg", "b/y/z.png"]) == {
        "x": {"a": "a/x.png", "b": "b/x.jpg"},
        "y/z": {"a": "a/y/z.png", "b": "b/y/z.png"},
    }
    for names in (
        ["a/x.png"],
        ["a/x.png", "b/y.png"],
        ["a/x.png", "b/x.png", "c/x.png"],
        ["a.png", "b.png"],
        ["a/x.png", "a/x.jpg", "b/x.png"],
    ):
        assert sides_of(names) is None


def test_held_out_is_a_share_that_names_alone_decide():
    keys = [f"photos/{i:04d}x" for i in range(400)]
    chosen = held_out(keys, 0.05)
    assert len(chosen) == 20 and chosen == sorted(chosen)
    assert held_out(keys[::-1], 0.05) == chosen[::-1]
    assert held_out([f"{key}.webp" for key in keys], 0.05) == [f"{key}.webp" for key in chosen]
    assert set(held_out(keys, 0.02)) < set(chosen)  # a larger share holds out more, not others
    assert len(held_out(keys, 1e-9)) == 1
    spread = [keys.index(key) for key in held_out(keys, 0.25)]
    assert len(spread) == 100 and all(10 <= sum(i // 100 == part for i in spread) <= 40 for part in range(4))


def test_variants_of_an_emoji_are_held_out_together():
    bases = [f"1f{i:03x}" for i in range(0x400, 0x440)]
    variants = ("", "-fe0f", "-1f3fb", "-1f3ff-200d-2640-fe0f", "-200d-2642")
    keys = [f"people/{base}{variant}" for base in bases for variant in variants]
    chosen = held_out(keys, 0.1)
    held = {key.split("/")[1][:5] for key in chosen}
    assert len(chosen) == len(held) * len(variants) and 32 <= len(chosen) <= 36  # a tenth, and the rest of a group


def test_nothing_left_is_an_error():
    with pytest.raises(ValueError, match="hold-out of 0.9 leaves none of 2 images"):
        held_out(["x", "y"], 0.9)
    with pytest.raises(ValueError, match="leaves none of 1 images"):
        held_out(["x"], 0.1)
