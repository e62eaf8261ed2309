from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pytest

import fastgan

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "api_pages.py"


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api_pages", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_docstring_tells_of_its_signature(pages: ModuleType) -> None:
    found = list(pages.modules(fastgan))
    public = {module.__name__ for module in found if hasattr(module, "__all__")}
    assert {"fastgan", "fastgan.nn", "fastgan.models", "fastgan.losses", "fastgan.metrics", "fastgan.data"} <= public
    assert pages.findings(found) == []


def scaled(x: int, factor: int = 2) -> int:
    """x·factor.

    Args:
        x: a number.
        factor: another.

    Returns:
        their product.

    Raises:
        ValueError: factor is 0.
    """
    if not factor:
        raise ValueError("factor must not be 0, got 0")
    return x * factor


def short(x: int, factor: int) -> int:
    """x·factor."""
    return x * factor


def by_reference(x: int, f: int, gain: int) -> int:
    """x, filtered; arguments as in `upfirdn2d`."""
    return x * f * gain


def silent(x: int) -> int:
    return x


def incomplete(x: int, y: int, z: int) -> int:
    """x + y + z.

    Args:
        x, y: numbers. z is told of here, which is not its place.
    """
    if z < 0:
        raise ValueError(z)
    if y < 0:
        raise fault("y")
    return x + y + z


def fault(name: str) -> ValueError:
    """What is raised of a bad argument called name."""

    def inner() -> None:
        raise TypeError(name)

    inner()
    return ValueError(name)


@contextmanager
def block(name: str) -> Iterator[None]:
    """A block.

    Args:
        name: of it.
    """
    yield


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (scaled, []),
        (short, []),
        (by_reference, []),
        (block, []),
        (fault, []),
        (silent, ["has no docstring"]),
        (
            incomplete,
            ["does not tell of its argument z", "has Args but no Returns", "does not tell that it raises ValueError"],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_a_function_leaves_untold_is_found(pages: ModuleType, function: object, expected: list[str]) -> None:
    assert list(pages.untold_by_function(function)) == expected


class Counter:
    """Counts.

    Args:
        start: the first number.
    """

    def __init__(self, start: int, step: int) -> None:
        if step < 1:
            raise ValueError(step)
        self.start, self.step = start, step

    @property
    def value(self) -> int:
        return self.start

    @classmethod
    def of(cls, text: str) -> Counter:
        """A counter that begins where its text says."""
        return cls(int(text), 1)

    @staticmethod
    def names() -> list[str]:
        return []

    def _private(self) -> None:
        return None


@dataclass
class Bare:
    x: int


@dataclass
class Pair:
    """Two numbers, x and y, and what `then` makes of them."""

    x: int
    y: int
    then: Callable[[int], int] = silent
    _made: int = 0


class Listener(Protocol):
    """Hears."""

    def hear(self, what: str) -> None: ...


def test_what_a_class_leaves_untold_is_found(pages: ModuleType) -> None:
    assert list(pages.untold_by_class(Counter)) == [
        ("", "does not tell of its argument step"),
        ("", "does not tell that it raises ValueError"),
        (".value", "has no docstring"),
        (".names", "has no docstring"),
    ]
    assert list(pages.untold_by_class(Bare)) == [("", "has no docstring")]
    assert list(pages.untold_by_class(Pair)) == []
    assert list(pages.untold_by_class(Listener)) == [(".hear", "has no docstring")]


def test_pages_are_made_of_what_is_given(pages: ModuleType, tmp_path: Path) -> None:
    module = importlib.import_module("fastgan.nn.pixel_norm")
    pages.write_pages([fastgan.nn, module], tmp_path)
    page = (tmp_path / "fastgan/nn/pixel_norm.html").read_text(encoding="utf-8")
    assert '<h6 id="source">Source</h6>' in page and 'id="pixel_norm"' in page
    assert "nn/pixel_norm.html" in (tmp_path / "fastgan/nn.html").read_text(encoding="utf-8")
    assert (tmp_path / "index.html").exists() and "pixel_norm" in (tmp_path / "search.js").read_text(encoding="utf-8")
