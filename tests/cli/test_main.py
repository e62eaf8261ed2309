from __future__ import annotations

import io
import os
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastgan.cli import main as command
from fastgan.cli.main import VERBS, main


@dataclass
class ProbeOptions:
    """Does something."""

    size: int = 4
    """edge, pixels"""
    gamma: float | None = None
    """weight; default: by resolution"""
    error: str = ""
    """what goes wrong"""
    flag: bool = False
    """a switch"""


ERRORS = {
    "value": ValueError("size must be even, got 3"),
    "type": TypeError("size must be an int, got str"),
    "file": FileNotFoundError(2, "No such file or directory", "images/a.png"),
    "words": FileNotFoundError("checkpoint a.safetensors does not exist"),
    "stop": KeyboardInterrupt(),
    "library": ModuleNotFoundError("No module named 'safetensors'", name="safetensors"),
    "loading": ImportError("libtorch.so: cannot open shared object file", name="torch._C"),
    "pipe": BrokenPipeError(32, "Broken pipe"),
    "bug": ZeroDivisionError("division by zero"),
}


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> list[ProbeOptions]:
    """A verb `probe` that records its options, and raises what they ask for."""
    seen: list[ProbeOptions] = []

    def run(options: ProbeOptions) -> int:
        seen.append(options)
        if options.error:
            raise ERRORS[options.error]
        return 7

    for name, holds in (("options.probe", {"ProbeOptions": ProbeOptions}), ("probe", {"run": run})):
        module = types.ModuleType(f"fastgan.cli.{name}")
        module.__dict__.update(holds)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(VERBS, "probe", "Does something.")
    return seen


def test_a_verb_gets_its_options_and_gives_the_status(probe: list[ProbeOptions]) -> None:
    assert main(["probe", "--size", "8", "--gamma", "0.5", "--flag"]) == 7
    assert main(["probe"]) == 7
    assert [(o.size, o.gamma, o.flag) for o in probe] == [(8, 0.5, True), (4, None, False)]
    assert all(isinstance(options, ProbeOptions) for options in probe)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("value", "fastgan: error: size must be even, got 3"),
        ("type", "fastgan: error: size must be an int, got str"),
        ("file", "fastgan: error: images/a.png: No such file or directory"),
        ("words", "fastgan: error: checkpoint a.safetensors does not exist"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    probe: list[ProbeOptions], capsys: pytest.CaptureFixture[str], error: str, line: str
) -> None:
    assert main(["probe", "--error", error]) == 2
    assert capsys.readouterr().err == line + "\n"
    assert main(["--traceback", "probe", "--error", error]) == 2
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown and shown.endswith(line + "\n")


def test_a_library_that_is_missing_or_broken_is_named(
    probe: list[ProbeOptions], capsys: pytest.CaptureFixture[str]
) -> None:
    for error, line in (
        ("library", "the library safetensors is not installed: pip install safetensors"),
        (
            "loading",
            "the library torch does not load (libtorch.so: cannot open shared object file): "
            "pip install --force-reinstall torch",
        ),
    ):
        assert main(["probe", "--error", error]) == 2
        assert capsys.readouterr().err == f"fastgan: error: {line}\n"


def test_a_current_folder_that_was_deleted_is_told(tmp_path: Path) -> None:
    code = "import os, sys; from fastgan.cli.main import main; os.chdir(sys.argv[1]); os.rmdir(sys.argv[1])\n"
    code += "sys.exit(main(['report', 'run']))"
    (tmp_path / "gone").mkdir()
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "gone"], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("fastgan: error: the current folder does not exist any more; ")


def test_a_mistake_of_ours_keeps_its_traceback(probe: list[ProbeOptions]) -> None:
    with pytest.raises(ZeroDivisionError):
        main(["probe", "--error", "bug"])


def test_interrupts_and_closed_pipes_end_quietly(
    probe: list[ProbeOptions], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["probe", "--error", "stop"]) == 130
    assert capsys.readouterr().err == "fastgan: interrupted\n"
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert main(["probe", "--error", "pipe"]) == 141
    assert capsys.readouterr().err == ""


def test_bad_options_end_with_two_and_advice(probe: list[ProbeOptions], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "--szie", "8"]) == 2
    assert "--size" in capsys.readouterr().err
    assert main(["probe", "--size", "wide"]) == 2
    assert probe == []


def test_the_help_of_a_verb_shows_units_and_defaults(
    probe: list[ProbeOptions], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--size INT edge, pixels (default: 4)" in text
    assert "--gamma FLOAT weight; default: by resolution" in text
    assert "None" not in text


def test_the_overview_has_a_line_for_each_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        assert main(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        for verb, text in VERBS.items():
            assert sum(line.split()[:1] == [verb] and line.endswith(text) for line in lines) == 1
        assert max(map(len, lines)) <= 90


def test_an_unknown_verb_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == (
        f"fastgan: error: verb must be one of {', '.join(VERBS)}; got 'trian' (did you mean 'train'?)\n"
    )


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "version", lambda name: "1.2.3" if name == "fastgan" else "?")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "fastgan 1.2.3\n"


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"usage: fastgan {verb}" in capsys.readouterr().out


def test_the_overview_imports_no_verb() -> None:
    code = "import sys; from fastgan.cli.main import main; main(['--help']); print(sorted(sys.modules))"
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    ).stdout
    modules = out.splitlines()[-1]
    assert not [name for name in ("tyro", "rich", "fastgan.cli.doctor", "fastgan.train") if f"'{name}'" in modules]


@pytest.mark.parametrize("verb", list(VERBS))
def test_the_help_of_a_verb_and_a_slip_are_told_without_torch(verb: str) -> None:
    slip = ["dataset" if verb == "train" else verb, "--no-such-option"]  # a family's options are where its networks are
    code = (
        "import sys; from fastgan.cli.main import main\n"
        f"statuses = [main([{verb!r}, '--help']), main({slip!r})]\n"
        "print(statuses, [name for name in ('torch', 'numpy', 'PIL', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, 2] []"


def test_help_names_what_can_be_chosen_and_a_new_choice_by_itself() -> None:
    code = (
        "import sys; from fastgan import choices; from fastgan.cli.main import main\n"
        "for table in ('MODELS', 'ADVERSARIAL', 'METRICS', 'TRANSFORMS'):\n"
        "    getattr(choices, table)[f'my-{table}'] = 'nowhere:nothing'\n"
        "sys.exit(main(['train', '--cfg', 'dcgan', '--help']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    words = done.stdout.replace(",", " ").split()
    assert {"stylegan2", "hinge", "swd", "center-crop-wide"} <= set(words)
    assert {"my-MODELS", "my-ADVERSARIAL", "my-METRICS", "my-TRANSFORMS"} <= set(words)


def test_python_dash_m_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "fastgan", "nothing"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("fastgan: error: verb must be one of")
