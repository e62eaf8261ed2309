from __future__ import annotations

import ast
import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "lint_tree.py"


@pytest.fixture
def lint() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lint_tree", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def found(lint: ModuleType, root: Path, files: dict[str, str]) -> list[str]:
    subprocess.run(["git", "init", "-q", root], check=True)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return list(lint.findings(root))


def test_a_tidy_tree_has_no_findings(lint: ModuleType, tmp_path: Path) -> None:
    op = {"fastgan/ops/blur/op.py": "", "fastgan/ops/blur/reference.py": "", "csrc/blur/blur.h": ""}
    tidy = {
        "fastgan/news.py": "class Renewal: ...\n",
        "csrc/common/isa.h": "",
        "tests/ops/test_blur.py": "",
        "a.cu": "x\n" * 300,
    }
    assert found(lint, tmp_path, {**op, **tidy}) == []


@pytest.mark.parametrize(
    ("name", "text", "finding"),
    [
        ("fastgan/long.py", "x = 1\n" * 351, "fastgan/long.py: 351 lines, at most 350"),
        ("csrc/long.cu", "\n" * 301, "csrc/long.cu: 301 lines, at most 300"),
        ("fastgan/image_utils.py", "", "fastgan/image_utils.py: the name 'image_utils' says nothing"),
        ("fastgan/common/a.py", "", "fastgan/common/a.py: the name 'common' says nothing"),
        ("csrc/helpers.h", "", "csrc/helpers.h: the name 'helpers' says nothing"),
        ("fastgan/v2.py", "", "fastgan/v2.py: the name 'v2' says nothing"),
        ("fastgan/a.py", "class RunManager: ...\n", "fastgan/a.py:1: the class name 'RunManager' says nothing"),
        ("fastgan/a.py", "def f():\n" + "    x = 1\n" * 61, "fastgan/a.py:1: f has 61 lines, at most 60"),
        (
            "fastgan/a.py",
            "a.read_text()\n",
            "fastgan/a.py:1: text is read or written in whatever encoding the locale has; name one",
        ),
        (
            "fastgan/ops/blur/op.py",
            "",
            "fastgan/ops/blur/reference.py is missing: the operator blur must stand in every room",
        ),
    ],
)
def test_each_fault_is_found(lint: ModuleType, tmp_path: Path, name: str, text: str, finding: str) -> None:
    assert finding in found(lint, tmp_path, {name: text})


DOCUMENTED = {
    "Makefile": "test: setup\n\tpytest\nlint-all:\n",
    ".gitignore": "*.so\n",
    "fastgan/ops/blur.py": "",
    "fastgan/bench/__main__.py": "",
    "docs/guide.md": "",
}


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`fastgan/ops/blur.py`, fastgan/ops/, **fastgan/ops**.", []),
        ("x\n\n`fastgan/ops/blurr.py`", ["3: there is no fastgan/ops/blurr.py"]),
        ("`.venv/bin/python fastgan/gone.py --write`", ["1: there is no fastgan/gone.py"]),
        ("see fastgan/gone.", ["1: there is no fastgan/gone"]),
        ("`fastgan/<package>/blur.py` and `fastgan/ops/b*.py`", []),
        ("`fastgan/<package>/sharpen.py`", ["1: there is no fastgan/*/sharpen.py"]),
        ("`fastgan/{ops,nn}/blur.py`", ["1: there is no fastgan/nn/blur.py"]),
        ("`fastgan/_native.so`, built and ignored by git", []),
        ("`python -m fastgan.ops.blur`, `python -m fastgan.bench`", []),
        ("`python -m fastgan.ops.sharpen`", ["1: there is no fastgan/ops/sharpen.py"]),
        ("[guide](docs/guide.md#top), [site](https://example.org/docs/a.md)", []),
        ("[guide](guide.md)", ["1: there is no guide.md to link to"]),
        ("`make test`, `make lint-all`; make sure", []),
        ("`make tests`", ["1: the Makefile has no target tests"]),
        ("example.org/fastgan/gone.py, my-fastgan/gone.py, other/fastgan/gone.py", []),
    ],
)
def test_what_a_document_names_must_be_there(lint: ModuleType, tmp_path: Path, text: str, missing: list[str]) -> None:
    names = DOCUMENTED | {"README.md": text, "CHANGELOG.md": "fastgan/gone.py, `make tests`"}
    assert found(lint, tmp_path, names) == [f"README.md:{each}" for each in missing]


def test_links_begin_at_their_document(lint: ModuleType, tmp_path: Path) -> None:
    text = "[guide](guide.md), [readme](../README.md), [guide](docs/guide.md)"
    expected = ["docs/more.md:1: there is no docs/guide.md to link to"]
    assert found(lint, tmp_path, DOCUMENTED | {"README.md": "", "docs/more.md": text}) == expected


def test_a_linked_folder_is_looked_at_once(lint: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "fastgan").mkdir()
    (tmp_path / "fastgan" / "kernels").symlink_to("../kernels")
    finding = "kernels/blur.py:1: the class name 'BlurHelper' says nothing"
    assert found(lint, tmp_path, {"kernels/blur.py": "class BlurHelper: ...\n"}) == [finding]


@pytest.mark.parametrize(
    ("call", "depends"),
    [
        ("path.read_text()", True),
        ("path.read_text(encoding='utf-8')", False),
        ("distribution.read_text('direct_url.json')", False),
        ("path.write_text(text)", True),
        ("path.write_text(text, encoding='utf-8')", False),
        ("open(path)", True),
        ("open(path, 'a')", True),
        ("open(path, mode='w')", True),
        ("open(path, 'rb')", False),
        ("path.open()", True),
        ("path.open('w')", True),
        ("path.open('a+', encoding='utf-8')", False),
        ("path.open('rb')", False),
        ("Image.open(path)", False),
        ("tarfile.open(path, 'r:gz')", False),
        ("os.open(path, flags)", False),
    ],
)
def test_text_in_the_encoding_of_the_locale_is_seen(lint: ModuleType, call: str, depends: bool) -> None:
    assert lint.text_in_any_encoding(ast.parse(call, mode="eval").body) is depends
