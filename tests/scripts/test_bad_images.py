"""Every kind of broken image or set gives one line that names the file."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bad_images.py"


@pytest.fixture(scope="module")
def messages() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("bad_images", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.image_cases()


def test_each_is_refused_in_one_line(messages):
    assert len(messages) >= 30
    for name, message in messages.items():
        assert message.startswith("fastgan: error: ") and "\n" not in message, f"{name}: {message}"
        assert "object at 0x" not in message and "Traceback" not in message, f"{name}: {message}"


def test_the_file_is_named(messages):
    assert "set/bad.png: cannot be read as an image" in messages["PNG cut off"]
    assert "set.zip/b.png: cannot be read" in messages["zip with a damaged entry"]
    assert "x-labels-idx1-ubyte: has 2 labels" in messages["idx with too few labels"]
    assert "set/dataset.json: 0 of 2 labels match the images" in messages["dataset.json for other images"]
