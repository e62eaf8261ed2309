"""Command lines and configuration files, right and wrong: a configuration, or an error in one line that names it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan.cli.arguments import _written
from fastgan.cli.families import options_of
from fastgan.cli.main import main
from fastgan.config.data import DataOptions
from fastgan.models.registry import MODELS, configure, family, layout
from fastgan.report import save_image
from fastgan.train.config import RunConfig
from tests.fuzz.documents import changed, documents, texts
from tests.fuzz.limits import bounded

# What the smallest images need beside their resolution.
SMALL = {"images": {"num_classes": 2}, "pairs": {"receptive_field": 34}, "two-sets": {"receptive_field": 34}}
VALID = [
    RunConfig(
        name,
        dataclasses.asdict(configure(name, resolution=(16, 16), **SMALL[family(name).data])),
        DataOptions(classes=("food",), resolution=(16, 16), max_images=4),
        family(name).options(),
    )
    for name in MODELS
]
TREES = [json.loads(json.dumps(config.to_json())) for config in VALID]


@settings.get_profile("fuzz")
@given(st.one_of(*(changed(tree) for tree in TREES), documents))
def test_trees(tree: object) -> None:
    with bounded():
        try:
            config = RunConfig.from_json(tree, "my.json")
        except ValueError as error:
            assert str(error).startswith("my.json: ") and len(str(error)) < 1500
            return
        written = json.dumps(config.to_json(), allow_nan=False)
        assert RunConfig.from_json(json.loads(written), "my.json") == config
        architecture = configure(config.model, **config.architecture)
        for network in family(config.model).networks.values():
            with contextlib.suppress(ValueError):  # too large, by name
                layout(network, architecture)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    for i in range(3):
        save_image(torch.rand(3, 16, 16) * 2 - 1, path / f"{i}.png")
    (path / "dataset.json").write_text(json.dumps({"labels": [["0.png", 0], ["1.png", 1], ["2.png", 0]]}))
    return path


def run(arguments: list[str]) -> tuple[int, str]:
    """Status of the command line and what it said on the error stream."""
    said = io.StringIO()
    with bounded(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        status = main(arguments)
    return status, said.getvalue()


values = st.one_of(
    st.sampled_from(["1", "0", "-1", "16", "0.5", "nan", "inf", "1e400", "1e9", str(10**30), "9" * 5000, "", "true"]),
    st.sampled_from(
        ["stylegan2", "dcgan", "hinge", "swd", "16x16", "32x", "32768", "99999x99999", "[1,2]", "{", "None"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
)
FIELDS = sorted({name for tree in TREES for part in ("architecture", "training") for name in tree[part]})
options = st.one_of(
    st.tuples(
        st.sampled_from(
            sorted({flag for name in MODELS for flag in _written(options_of(family(name)))[0]} - {"-n", "--dry-run"})
        ),
        values,
    ),
    st.tuples(st.just("--set"), st.tuples(st.one_of(st.sampled_from(FIELDS), values), values).map("=".join)),
    st.sampled_from([("--cond",), ("--mirror",), ("--help",), ("-n",)]),
)


@settings.get_profile("fuzz")
@given(lists=st.lists(options, max_size=4))
def test_command_lines(folder: Path, tmp_path_factory: pytest.TempPathFactory, lists: list[tuple[str, ...]]) -> None:
    outdir = tmp_path_factory.getbasetemp() / "absent"
    given_ = [word for option in lists for word in option]
    status, said = run(["train", "--data", str(folder), "--outdir", str(outdir), *given_, "-n"])
    assert status in (0, 2) and "Traceback" not in said
    if said.startswith("fastgan: error: "):
        assert status == 2 and said.count("\n") == 1, said
    assert not outdir.exists()


@settings.get_profile("fuzz")
@given(text=st.one_of(*(texts(tree) for tree in TREES)))
def test_files(folder: Path, tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "my.json"
    path.write_text(text, errors="surrogatepass")
    common = ["--outdir", str(path.parent / "absent"), "--data", str(folder), "--classes", "0", "-n"]
    status, said = run(["train", "--config", str(path), *common])
    assert status in (0, 2) and "Traceback" not in said
    if status == 2:
        assert said.startswith("fastgan: error: ") and said.count("\n") == 1, said
