"""Thin front of the build: metadata is in pyproject.toml, the native libraries are described in CMakeLists.txt."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MODES = ("auto", "cuda", "cpu", "none")
OLDEST_TORCH = (2, 11)


class Unavailable(Exception):
    """Why the native libraries cannot be built here, and what mends that."""

    def __init__(self, reason: str, remedy: str) -> None:
        # Without the folder of the sources: the record travels with a wheel.
        super().__init__(reason.replace(f"{ROOT}{os.sep}", ""))
        self.remedy = remedy


def build_mode() -> str:
    mode = os.environ.get("FASTGAN_BUILD", "auto")
    if mode not in MODES:
        raise SystemExit(f"FASTGAN_BUILD must be one of {', '.join(MODES)}, got {mode!r}")
    return mode


MODE = build_mode()


def find_torch() -> tuple[Path, str]:
    """Folder and version of the torch whose headers are used, without importing it.

    CMAKE_ARGS=-DFASTGAN_TORCH_DIR=... names it, even that of another Python: the operators' library knows no Python.
    Else it is the target environment's: `-I` steps out of pip's build isolation (which works through PYTHONPATH).
    """
    code = "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    named = [arg.split("=", 1)[1] for arg in cmake_arguments() if re.match(r"-DFASTGAN_TORCH_DIR(:PATH)?=", arg)]
    searched = ([sys.executable, *flags, "-c", code] for flags in ([], ["-I"]))
    for found in named or (subprocess.run(each, capture_output=True, text=True).stdout.strip() for each in searched):
        if found and (Path(found) / "version.py").is_file():
            break
    else:
        where = f" in {named[-1]}" if named else ""
        raise Unavailable(f"torch was not installed{where} when fastgan was built", "pip install 'torch>=2.11'")
    version = re.search(r"__version__ = '(.+?)'", (Path(found) / "version.py").read_text())
    number = version.group(1) if version else "0.0"
    if tuple(int(part) for part in re.findall(r"\d+", number)[:2]) < OLDEST_TORCH:
        reason = f"torch {number} was installed, and 2.11 is the first with the interface that the operators use"
        raise Unavailable(reason, "pip install 'torch>=2.11'")
    return Path(found), number


def run(command: list[str | Path], step: str) -> None:
    """Run a build step, its output shown; a failure raises Unavailable with the first error line."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(result.stdout, flush=True)
    if result.returncode:
        lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
        if any("No CMAKE_CXX_COMPILER could be found" in line for line in lines):
            raise Unavailable("no C++ compiler was found", "install one (Debian and Ubuntu: apt install g++)")
        at = next((i for i, line in enumerate(lines) if re.search(r"\berror\b", line, re.IGNORECASE)), len(lines) - 1)
        count = 4 if step == "cmake" else 1  # CMake breaks its messages; after a compiler's come commands and folders
        reason = f"{step} failed: {' '.join(lines[at : at + count]) if lines else 'no output'}"
        raise Unavailable(reason, "add -v to the pip command to see all that the build prints")


class BuildNative(build_ext):
    """Builds both libraries with one CMake run, before setuptools asks for each, and records the outcome."""

    def run(self) -> None:
        self.destination = Path(self.get_ext_fullpath("fastgan._native")).parent
        self.record: dict[str, object] = {"native": False, "host": False, "mode": MODE, "cuda": None}
        self.record |= {"reason": None, "remedy": None, "cuda_reason": None, "compiler": None, "torch": None}
        for extension in self.extensions:  # build folders outlive a build: an earlier library must not be shipped
            Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
        try:
            if MODE == "none":
                raise Unavailable("FASTGAN_BUILD=none", "leave FASTGAN_BUILD unset")
            self.build_all()
        except Unavailable as unavailable:
            if MODE in ("cpu", "cuda"):
                raise SystemExit(f"FASTGAN_BUILD={MODE}: {unavailable}; {unavailable.remedy}") from None
            self.record |= {"reason": str(unavailable), "remedy": unavailable.remedy}
            print(f"fastgan: continuing without native operators: {unavailable}", flush=True)
        self.destination.mkdir(parents=True, exist_ok=True)
        (self.destination / "_build.json").write_text(json.dumps(self.record, indent=1) + "\n")

    def build_all(self) -> None:
        cmake = shutil.which("cmake")
        if not cmake:
            raise Unavailable("cmake was not installed", "pip install 'cmake>=3.24' ninja 'pybind11>=2.12'")
        configure: list[str | Path] = [f"-DPython_EXECUTABLE={sys.executable}"]
        if ninja := shutil.which("ninja"):  # named in full: build isolation moves it from build to build
            configure += ["-GNinja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        if importlib.util.find_spec("pybind11"):
            import pybind11

            configure.append(f"-Dpybind11_DIR={pybind11.get_cmake_dir()}")
        missing = None
        try:
            torch_dir, self.record["torch"] = find_torch()
            configure.append(f"-DFASTGAN_TORCH_DIR={torch_dir}")
        except Unavailable as unavailable:
            if MODE in ("cpu", "cuda"):
                raise
            missing = unavailable  # fastgan._host needs no torch
        if targets := cuda_targets():
            configure.append(f"-DCMAKE_CUDA_ARCHITECTURES={targets}")
        configure += cmake_arguments()
        build = build_folder()

        def make(cuda: str) -> None:
            run([cmake, "-S", ROOT, "-B", build, f"-DFASTGAN_CUDA={cuda}", *configure], "cmake")
            run([cmake, "--build", build, "--parallel", str(self.parallel or os.cpu_count() or 1)], "the compiler")

        try:
            make({"cpu": "OFF", "cuda": "ON"}.get(MODE, "AUTO"))
        except Unavailable as unavailable:
            if MODE != "auto":
                raise
            make("OFF")  # CUDA's compiler may be what failed; that of C++ fails once more
            self.record["cuda_reason"] = str(unavailable)
        else:
            self.record["cuda"] = compiler_of(build, "CUDA") if MODE != "cpu" else None
            if MODE == "cpu":
                self.record["cuda_reason"] = "FASTGAN_BUILD=cpu"
            elif "-DFASTGAN_CUDA=OFF" in cmake_arguments():
                self.record["cuda_reason"] = "CMAKE_ARGS=-DFASTGAN_CUDA=OFF"
            elif not self.record["cuda"]:
                self.record["cuda_reason"] = "no CUDA compiler (nvcc) was found"
        self.record["compiler"] = compiler_of(build, "CXX")
        self.record["native"] = self.install(build / "_native.so", "fastgan._native")
        self.record["host"] = any([self.install(path, "fastgan._host") for path in build.glob("_host*.so")])
        if missing:
            raise missing

    def install(self, built: Path, name: str) -> bool:
        if not built.is_file():
            return False
        target = Path(self.get_ext_fullpath(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(built, target)
        return True

    def get_ext_filename(self, fullname: str) -> str:
        if fullname.split(".")[-1] == "_native":  # loaded with torch.ops.load_library: no Python ABI in its name
            return os.path.join(*fullname.split(".")) + ".so"
        return super().get_ext_filename(fullname)

    def get_outputs(self) -> list[str]:
        built = [Path(self.get_ext_fullpath(extension.name)) for extension in self.extensions]
        return [str(path) for path in [*built, self.destination / "_build.json"] if path.is_file()]

    def get_output_mapping(self) -> dict[str, str]:
        return {}


def cmake_arguments() -> list[str]:
    return shlex.split(os.environ.get("CMAKE_ARGS", ""))


def cuda_targets() -> str:
    """torch's TORCH_CUDA_ARCH_LIST, such as "8.0;9.0a;12.0+PTX", as CMake writes it; empty where it is not set.

    9.0 is 9.0a, which alone has wgmma: no other GPU of that major version would run 9.0. Its PTX stays that of 9.0,
    which serves those after it.
    """
    named = re.split(r"[;,\s]+", os.environ.get("TORCH_CUDA_ARCH_LIST", "").strip())
    targets = []
    for name in filter(None, named):
        found = re.fullmatch(r"(\d+)\.(\d)([af]?)(\+PTX)?", name)
        if not found:
            raise SystemExit(f"TORCH_CUDA_ARCH_LIST must list targets such as 8.0, 9.0a or 12.0+PTX, got {name!r}")
        major, minor, kind, ptx = found.groups()
        if (major, minor, kind) == ("9", "0", ""):
            targets += ["90a-real", "90-virtual"] if ptx else ["90a-real"]
        else:
            targets.append(f"{major}{minor}{kind}" + ("" if ptx else "-real"))
    return ";".join(dict.fromkeys(targets))


def build_folder() -> Path:
    """Where CMake works: kept, so that a second build compiles only what changed; one for each choice of compiler."""
    names = ("CC", "CXX", "CXXFLAGS", "LDFLAGS", "CUDACXX", "CUDAFLAGS", "CMAKE_ARGS", "CMAKE_GENERATOR")
    names += ("TORCH_CUDA_ARCH_LIST",)  # CMake remembers it
    settings = [os.environ.get(name, "") for name in names]
    key = hashlib.sha256(json.dumps([sys.executable, *settings]).encode()).hexdigest()[:8]
    return ROOT / "build" / f"native-{sys.implementation.cache_tag}-{key}"


def compiler_of(build: Path, language: str) -> str:
    """Name and version of the compiler that CMake used for CXX or CUDA; empty where it found none."""
    text = "".join(path.read_text() for path in build.glob(f"CMakeFiles/*/CMake{language}Compiler.cmake"))
    parts = [re.search(rf'set\(CMAKE_{language}_COMPILER_{key} "(.*?)"\)', text) for key in ("ID", "VERSION")]
    return " ".join(part.group(1) for part in parts if part)


class BuildPython(build_py):
    """Ships what the sources hold now, and nothing that an earlier build left in `build` or beside the sources."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib) / "fastgan", ignore_errors=True)
        super().run()

    def find_data_files(self, package: str, src_dir: str) -> list[str]:
        return [path for path in super().find_data_files(package, src_dir) if Path(path).name != "_build.json"]


class Wheel(bdist_wheel):
    """A wheel that no library went into serves every Python and platform, and its name says so."""

    def get_tag(self) -> tuple[str, str, str]:
        built = self.distribution.get_command_obj("build_ext", create=False)
        record = getattr(built, "record", {"native": MODE != "none", "host": False})
        return super().get_tag() if record["native"] or record["host"] else ("py3", "none", "any")


setup(
    ext_modules=[Extension("fastgan._native", sources=[]), Extension("fastgan._host", sources=[])],
    cmdclass={"build_ext": BuildNative, "build_py": BuildPython, "bdist_wheel": Wheel},
)
