from __future__ import annotations

import pytest

from fastgan.generate.seeds import parse_seeds


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0", [0]),
        ("0-3,40", [0, 1, 2, 3, 40]),
        ("7, 2-3", [7, 2, 3]),
        ("3-5,4,3", [3, 4, 5]),
        ("4294967295", [2**32 - 1]),
    ],
)
def test_lists_are_read(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "like 0-31,40, got '' in ''"),
        ("a", "got 'a' in 'a'"),
        ("1,,2", "got '' in '1,,2'"),
        ("-3", "got '-3'"),
        ("1.5", "got '1.5'"),
        ("5-3", "the range '5-3' runs backwards; write 3-5"),
        ("0-10000000", "more than 10,000,000"),
        ("0-9999999,10000000", "more than 10,000,000"),
        ("4294967296", "at most 4294967295, got 4294967296"),
    ],
)
def test_what_is_no_list_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_seeds(text)
