"""Where one case of packaging_matrix.py happens: a copy of the sources, an environment, and a folder to stand in."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import wheel_audit

ROOT = Path(__file__).resolve().parent.parent

# Run from another folder than the sources: known values, two steps of training, two pictures, and what doctor says.
PROBE = """
import contextlib, io, json, pathlib, zipfile
import fastgan
import torch
from fastgan.cli.main import main
from fastgan.data.opening import PACKAGED

y = fastgan.bias_act(torch.tensor([[-1.0, 2.0]]), torch.tensor([0.0, 1.0]), act="lrelu", gain=1.0)
assert torch.allclose(y, torch.tensor([[-0.2, 3.0]])), y
up = fastgan.upfirdn2d(torch.ones(1, 1, 2, 2), torch.tensor([1.0, 1.0]), up=2, padding=[1, 0, 1, 0])
assert torch.equal(up, torch.ones(1, 1, 4, 4)), up
images = len(zipfile.ZipFile(PACKAGED["emoji64"]).namelist())
assert images > 1800, images

def command(line):
    assert main([*line.split(), "--device", "cpu"]) == 0, line

command("train --cfg dcgan --resolution 16 --cbase 64 --batch 4 --kimg 0.008 --threads 1 --outdir run "
        "--data emoji64 --classes smileys/faces")
command("generate --network run --seeds 0-1 --grid --outdir pictures")
pictures = sorted(path.name for path in pathlib.Path("pictures").glob("*.png"))
assert pictures == ["grid.png", "seed0000.png", "seed0001.png"], pictures
"""
DOCTOR = """
import contextlib, io, json, pathlib
import fastgan
from fastgan.cli.main import main

told = io.StringIO()
with contextlib.redirect_stdout(told):
    main(["doctor", "--json"])
print(json.dumps({"package": str(pathlib.Path(fastgan.__file__).parent), **json.loads(told.getvalue())}))
"""


class Wrong(Exception):
    """What a case found that should not be so."""


class NotHere(Exception):
    """Why this machine cannot run a case."""


def check(holds: bool, message: str) -> None:
    if not holds:
        raise Wrong(message)


def python_of(version: str) -> str:
    """An interpreter of that version, from PATH or pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [
        sys.executable,
        shutil.which(f"python{version}"),
        *map(str, pyenv.glob(f"versions/{version}.*/bin/python")),
    ]
    for candidate in filter(None, found):
        code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
        told = subprocess.run([candidate, "-c", code], capture_output=True, text=True)
        if told.stdout.strip() == version:
            return candidate
    raise NotHere(f"Python {version} is not on this machine")


@dataclass
class Bases:
    """Environments with the packages that fastgan depends on, made once and copied into each case's own."""

    folder: Path
    given: dict[str, Path] = field(default_factory=dict)

    def site_packages(self, version: str) -> Path:
        base = self.given.get(version) or self.folder / f"base-{version}"
        if not base.exists():
            subprocess.run([python_of(version), "-m", "venv", base], check=True)
            wanted = re.search(r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S)
            names = re.findall(r'"(.+?)"', wanted[1]) if wanted else []
            constraint = ["-c", str(ROOT / "constraints.txt")]
            subprocess.run(
                [base / "bin/python", "-m", "pip", "install", "-q", *constraint, *names],
                capture_output=True,
                check=True,
            )
        return base / f"lib/python{version}/site-packages"


@dataclass
class Place:
    """One case's folder: `sources`, an environment `env`, `elsewhere` to stand in, and `log`."""

    folder: Path
    bases: Bases
    python_version: str = "3.11"
    wheel: Path | None = None
    word: str = ""
    path: str | None = None
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.elsewhere.mkdir(parents=True)
        self.copy_sources(self.sources)

    @property
    def sources(self) -> Path:
        return self.folder / "the sources"  # a space, as on many desktops

    @property
    def elsewhere(self) -> Path:
        return self.folder / "elsewhere"

    @property
    def python(self) -> Path:
        return self.folder / "env/bin/python"

    @property
    def site_packages(self) -> Path:
        return self.folder / f"env/lib/python{self.python_version}/site-packages"

    @staticmethod
    def copy_sources(target: Path) -> None:
        archive = target.parent / "sources.tar"
        subprocess.run(["git", "archive", "-o", archive, "HEAD"], cwd=ROOT, check=True)
        with tarfile.open(archive) as files:
            files.extractall(target)
        archive.unlink()

    def environment(self, with_dependencies: bool = True) -> None:
        """A new environment, with all that fastgan depends on or with pip alone."""
        python = python_of(self.python_version)
        options = ["--without-pip"] if with_dependencies else []
        subprocess.run([python, "-m", "venv", "--clear", *options, self.folder / "env"], check=True)
        if with_dependencies:
            self.site_packages.rmdir()
            subprocess.run(["cp", "-al", self.bases.site_packages(self.python_version), self.site_packages], check=True)

    def run(self, *command: str | Path, cwd: Path | None = None, fails: bool = False) -> str:
        """Output of a command that must succeed, or with `fails` must not; all of it goes to the log."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FASTGAN_", "PYTHONPATH"))}
        kept |= {"PIP_CONSTRAINT": str(ROOT / "constraints.txt"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        kept["PATH"] = f"{self.python.parent}:{self.path or kept['PATH']}"
        done = subprocess.run(
            list(map(str, command)),
            cwd=cwd or self.elsewhere,
            env={**kept, **self.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with (self.folder / "log").open("a") as log:
            log.write(f"$ {' '.join(map(str, command))}\n{done.stdout}\n[{done.returncode}]\n")
        if (done.returncode != 0) is not fails:
            tail = " ".join(done.stdout.split()[-60:])
            raise Wrong(f"`{' '.join(map(str, command[-4:]))}` ended with {done.returncode}: {tail}")
        return done.stdout

    def pip(self, *arguments: str | Path, fails: bool = False) -> str:
        return self.run(self.python, "-m", "pip", *arguments, fails=fails)

    def install_wheel(self, *options: str) -> None:
        assert self.wheel is not None, "the case installs a wheel that it did not build"
        self.pip("install", *options, self.wheel)

    def build_wheel(self, *options: str) -> Path:
        self.pip("wheel", "-q", "--no-deps", *options, "-w", self.folder / "wheels", self.sources)
        (self.wheel,) = (self.folder / "wheels").glob("fastgan-*.whl")
        if found := wheel_audit.wheel_findings(self.wheel, [f"{self.folder.parent}/"]):
            raise Wrong("; ".join(found))
        return self.wheel

    def installed(self) -> set[str]:
        """Names in site-packages and of the programs, what Python compiled for itself left out."""
        listed = map(str, [*self.site_packages.rglob("*"), *self.python.parent.iterdir()])
        return {path for path in listed if "fastgan" in path.removeprefix(str(self.folder)) or ".pyc" not in path}

    def use(self, state: str, reason: str | None = None, probe: str = PROBE) -> dict:
        """Uses what was installed, and compares what doctor says of it.

        Args:
            state: of the native library, in doctor's word.
            reason: words that doctor's reason must hold; None for any.
            probe: what to do before; "" asks doctor alone.

        Returns:
            doctor's findings.
        """
        told = self.run(self.python, "-c", probe + DOCTOR)
        found = json.loads(told.splitlines()[-1])
        self.word = found["native"]["state"]
        check(found["package"].startswith(str(self.folder)), f"{found['package']} was imported")
        check(self.word == state, f"doctor says {self.word}: {found['native']['reason']}")
        check((reason or "") in (found["native"]["reason"] or ""), f"doctor's reason is {found['native']['reason']!r}")
        check(found["healthy"], f"doctor finds broken: {found['problems']}")
        check("fastgan 0." in self.run(self.python.parent / "fastgan", "--version"), "the program has no version")
        for name in ("run", "pictures"):
            shutil.rmtree(self.elsewhere / name, ignore_errors=True)
        return found

    def follow_doctor(self, found: dict) -> None:
        """Runs the command that doctor's advice about the native library ends with."""
        command = found["native"]["remedy"].rpartition("then: ")[2]
        check(command.startswith(f"{self.python} -m pip install "), f"doctor's advice is {command!r}")
        self.run("sh", "-c", command)
