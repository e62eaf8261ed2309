"""The command line in odd locales, on narrow terminals, with names of files that hold anything."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from fastgan.cli.main import main
from fastgan.cli.terminal import prepare_terminal
from fastgan.literal import literal
from fastgan.report import TrainingDisplay

# Variables of the surroundings that would hide what a test sets.
_SURROUNDINGS = ("LC_ALL", "LC_CTYPE", "LANG", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONCOERCECLOCALE", "COLUMNS")


def fastgan(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in _SURROUNDINGS}
    command = [sys.executable, "-m", "fastgan", *arguments]
    root = str(Path(__file__).resolve().parents[2])
    environment |= {"PYTHONPATH": root, **variables}
    return subprocess.run(command, capture_output=True, cwd=folder, env=environment, timeout=120)


def print_in_ascii(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """What is printed from now on, on a standard output that takes ASCII alone."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    return written


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({"LC_ALL": "C"}, "sätze".encode()),
        ({"LC_ALL": "POSIX", "PYTHONUTF8": "0"}, "sätze".encode()),
        ({"LC_ALL": "xx_YY.UTF-8", "PYTHONUTF8": "0"}, "sätze".encode()),
        ({"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"}, b"s\\xe4tze"),
        ({"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "cp1252"}, b"s\xe4tze"),
    ],
    ids=["C", "POSIX without UTF-8 mode", "locale that is not installed", "ascii output", "cp1252 output"],
)
def test_names_in_utf8_are_read_and_shown_in_any_locale(tmp_path: Path, variables: dict, shown: bytes) -> None:
    folder = tmp_path / "sätze" / "kätzchen"
    folder.mkdir(parents=True)
    Image.new("RGB", (4, 4), "red").save(folder / "é.png")
    done = fastgan("dataset", "--source", "sätze", folder=tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(shown + b": 1 images") and b"codec" not in done.stderr


def test_an_error_in_a_locale_that_cannot_show_it_stays_one_line(tmp_path: Path) -> None:
    done = fastgan("trän", folder=tmp_path, LC_ALL="C.UTF-8", PYTHONIOENCODING="ascii")
    assert done.returncode == 2 and b"got 'tr\\xe4n'" in done.stderr and done.stderr.count(b"\n") == 1


def test_a_plan_is_printed_on_a_terminal_that_knows_ascii_alone(tmp_path: Path, monkeypatch) -> None:
    written = print_in_ascii(monkeypatch)
    (tmp_path / "é").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "é" / "中.png")
    given = ["--data", str(tmp_path / "é"), "--cbase", "64", "--cmax", "8", "--device", "cpu"]
    assert main(["train", "-n", "--outdir", str(tmp_path / "run"), *given]) == 0
    text = written.getvalue().decode("ascii")
    assert "1 images, 16x16, 3 channels" in text and "\\xe9" in text


def test_the_display_is_drawn_on_a_terminal_that_knows_ascii_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    written = print_in_ascii(monkeypatch)
    prepare_terminal()
    console = Console(force_terminal=True, width=80, legacy_windows=False, _environ={"TERM": "xterm"})
    with TrainingDisplay(1.0, "stylegan2 · 12 images of é at 16×16", console=console) as display:
        display.update(kimg=0.5, stats={"loss": {"G": 0.5}})
    text = written.getvalue().decode("ascii")
    assert "stylegan2 - 12 images of \\xe9 at 16x16" in text and "/1 kimg" in text


def test_likenesses_and_escapes_stand_for_what_cannot_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    written = print_in_ascii(monkeypatch)
    prepare_terminal()
    print("64×64 · é 中 😀 \udcff \ud800")
    assert written.getvalue() == b"64x64 - \\xe9 \\u4e2d \\U0001f600 \\xff \\ud800\n"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("[red]cat[/red].png", "[red]cat[/red].png"),
        ("a\nb.png", "a\\nb.png"),
        ("\x1b[31mred.png", "\\x1b[31mred.png"),
        ("gpj.\u202e.png", "gpj.\\u202e.png"),
        ("\udcff.png", "\\xff.png"),
        ("naïve 中文 👩\u200d🚀.png", "naïve 中文 👩\u200d🚀.png"),
    ],
)
def test_what_a_name_holds_is_shown_and_does_nothing(name: str, shown: str) -> None:
    assert literal(name) == shown


def test_names_with_markup_and_control_characters_are_printed_literally(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("[red]a.png", "b\nc.png", "\x1b[31md.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "broken[bold]\n.png").write_bytes(b"x")
    assert main(["dataset", "--source", str(tmp_path), "--preview", str(tmp_path / "[green]\n.png")]) == 0
    out = capsys.readouterr().out
    assert "  [red]a.png is the same as \\x1b[31md.png\n" in out
    assert "  b\\nc.png is the same as \\x1b[31md.png\n" in out
    assert "broken[bold]\\n.png: cannot be read as an image" in out
    assert out.endswith("/[green]\\n.png\n") and "\x1b" not in out
    assert main(["train", "-n", "--data", str(tmp_path), "--outdir", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert "/broken[bold]\\n.png: cannot be read" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "variables",
    [{"COLUMNS": columns} for columns in ("", "0", "1", "5", "10", "20", "-3", "99999", "abc")]
    + [{"TERM": "dumb"}, {"TERM": ""}, {"NO_COLOR": "1"}, {"PYTHONIOENCODING": "ascii"}],
    ids=lambda variables: " ".join(f"{name}={value}" for name, value in variables.items()),
)
def test_help_ends_and_can_be_read_on_any_terminal(tmp_path: Path, variables: dict[str, str]) -> None:
    done = fastgan("train", "--help", folder=tmp_path, **variables)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    words = " ".join("\n".join(lines).replace("│", " ").split())
    assert "--kimg FLOAT" in words and "length of the run, thousands of real images" in words.replace("  ", " ")
    assert max(map(len, lines[4:])) <= 500 and b"\x1b" not in done.stdout


def terminal_of(columns: int, *arguments: str, folder: Path, **variables: str) -> str:
    """What a command writes to a terminal of this width."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in (*_SURROUNDINGS, "NO_COLOR")}
    environment |= {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "TERM": "xterm", **variables}
    command = [sys.executable, "-m", "fastgan", *arguments]
    process = subprocess.Popen(command, stdout=end, stderr=end, stdin=end, cwd=folder, env=environment)
    os.close(end)
    written = b""
    with contextlib.suppress(OSError):  # what Linux says when the other side has closed
        while piece := os.read(terminal, 65536):
            written += piece
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    return written.decode()


def test_help_on_a_terminal_of_five_columns_ends(tmp_path: Path) -> None:
    for columns in (5, 0):
        assert "report.html" in terminal_of(columns, "report", "--help", folder=tmp_path)


def test_no_color_is_obeyed(tmp_path: Path) -> None:
    assert "\x1b[" in terminal_of(80, "report", "--help", folder=tmp_path)
    assert "\x1b[" not in terminal_of(80, "report", "--help", folder=tmp_path, NO_COLOR="1")


def test_a_report_of_a_set_ends_on_a_terminal_of_five_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for columns in ("5", "0", "99999"):
        monkeypatch.setenv("COLUMNS", columns)
        assert main(["dataset", "--source", str(tmp_path)]) == 0
        assert "size 4x4" in capsys.readouterr().out
