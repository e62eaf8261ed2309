"""Checks of the tree that no linter knows: sizes, names, that each operator stands in every room, that all is there
which documents name.

Prints one line a finding and exits with 1 if there are any.
"""

from __future__ import annotations

import ast
import glob
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST_FILE = {".py": 350, ".cu": 300}
LONGEST_FUNCTION = 60
# Words that say nothing, anywhere in a name; "common" is a room of csrc.
EMPTY_WORDS = {"utils", "util", "misc", "helpers", "helper", "common", "manager"}
EMPTY_NAMES = {"base2", "new", "v2"}


def tracked(root: Path) -> list[Path]:
    """Files of the repository, relative to its root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [Path(line) for line in listed.splitlines() if (root / line).is_file()]


def empty_name(name: str) -> bool:
    """Whether a file or class name says nothing: HTTPHelper, image_utils, v2."""
    spaced = "".join(f"_{letter}" if letter.isupper() else letter for letter in name).lower()
    words = [word for word in spaced.replace("-", "_").replace(".", "_").split("_") if word]
    return name.lower() in EMPTY_NAMES or any(word in EMPTY_WORDS for word in words)


def check_names(path: Path) -> Iterator[str]:
    """Findings about the folders and the file that `path` names."""
    if path.parts[:2] == ("csrc", "common"):
        path = Path(*path.parts[2:])
    for part in (*path.parts[:-1], path.stem):
        if empty_name(part):
            yield f"{path}: the name {part!r} says nothing"


def text_in_any_encoding(call: ast.Call) -> bool:
    """Whether it is read_text() or write_text(text), or opens a file as text, without an encoding."""
    name = getattr(call.func, "attr", getattr(call.func, "id", None))
    if name not in ("open", "read_text", "write_text") or any(each.arg == "encoding" for each in call.keywords):
        return False
    if name != "open":
        return len(call.args) == (name == "write_text")
    given = call.args[isinstance(call.func, ast.Name) :]  # Path.open takes the mode first
    modes = given[:1] + [each.value for each in call.keywords if each.arg == "mode"]
    if not modes:
        return True
    mode = modes[0].value if isinstance(modes[0], ast.Constant) else None
    return isinstance(mode, str) and set(mode) <= set("rwax+t")  # Image.open(path), tarfile.open(path, "r:gz") are none


def check_python(path: Path, text: str) -> Iterator[str]:
    """Findings about classes and functions of one Python file."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and empty_name(node.name):
            yield f"{path}:{node.lineno}: the class name {node.name!r} says nothing"
        if isinstance(node, ast.Call) and path.parts[0] == "fastgan" and text_in_any_encoding(node):
            yield f"{path}:{node.lineno}: text is read or written in whatever encoding the locale has; name one"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            # The docstring is not counted.
            body = node.body[1:] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f"{path}:{node.lineno}: {node.name} has {lines} lines, at most {LONGEST_FUNCTION}"


def check_operators(root: Path) -> Iterator[str]:
    """Findings about rooms in which an operator of fastgan/ops is missing."""
    for op in sorted(path.parent.name for path in root.glob("fastgan/ops/*/op.py")):
        rooms = [f"fastgan/ops/{op}/reference.py", f"csrc/{op}", f"tests/ops/test_{op}.py"]
        if (root / "fastgan/bench").is_dir():
            rooms += [f"fastgan/bench/{op}.py", f"tests/ops/cases_{op}.py", f"tests/fuzz/calls_{op}.py"]
        for room in rooms:
            if not (root / room).exists():
                yield f"{room} is missing: the operator {op} must stand in every room"


def spelled_out(path: str) -> list[str]:
    """A path of a document as patterns for glob: <op> stands for any name, {a,b} for either."""
    path = re.sub(r"(\*\*|\.)+$", "", re.sub(r"<\w+>", "*", path))  # what ends a sentence, or bold type
    parts = [part.split(",") for part in re.split(r"[{}]", path)]
    return ["".join(chosen) for chosen in itertools.product(*parts)]


def check_document(root: Path, path: Path, folders: set[str], targets: set[str]) -> Iterator[str]:
    """Findings about the files, modules, links and make targets that a document names.

    Args:
        root: of the repository.
        path: of the document, relative to it.
        folders: at the root: a word that begins with one and a slash is a path, and after -m, with a dot, a module.
        targets: of the Makefile.
    """
    within = "|".join(map(re.escape, sorted(folders)))
    for number, line in enumerate((root / path).read_text(encoding="utf-8").splitlines(), start=1):
        paths = re.findall(rf"(?<![\w/.<-])(?:{within})/(?:[\w./<>*-]|{{[^}}\s]*}})*", line)
        for module in re.findall(rf"-m ((?:{within})(?:\.\w+)+)", line):
            name = module.replace(".", "/")
            paths.append(f"{name}/__main__.py" if (root / name).is_dir() else f"{name}.py")
        for each in paths:
            for pattern in spelled_out(each):
                if not glob.glob(pattern, root_dir=root) and not ignored(root, pattern):
                    yield f"{path}:{number}: there is no {pattern}"
        for link in re.findall(r"\]\(([^)#:]+)[)#]", line):
            if not (root / path.parent / link).exists():
                yield f"{path}:{number}: there is no {link} to link to"
        for target in re.findall(r"`make ([\w-]+)", line):
            if target not in targets:
                yield f"{path}:{number}: the Makefile has no target {target}"


def ignored(root: Path, path: str) -> bool:
    """Whether git ignores the path, as it does what is built."""
    return not subprocess.run(["git", "check-ignore", "-q", path], cwd=root, check=False).returncode


def check_documents(root: Path, files: list[Path]) -> Iterator[str]:
    """Findings about what the documents name."""
    folders = {path.parts[0] for path in files if len(path.parts) > 1}
    makefile = root / "Makefile"
    rules = makefile.read_text(encoding="utf-8") if makefile.exists() else ""
    targets = set(re.findall(r"^([\w-]+):", rules, re.MULTILINE))
    for path in files:
        if path.suffix == ".md" and path.name != "CHANGELOG.md":  # which may name what has gone
            yield from check_document(root, path, folders, targets)


def findings(root: Path) -> Iterator[str]:
    """Everything to mend in the repository at `root`."""
    files = tracked(root)
    for path in files:
        yield from check_names(path)
        if path.suffix not in LONGEST_FILE:
            continue
        text = (root / path).read_text(encoding="utf-8")
        if (lines := text.count("\n")) > LONGEST_FILE[path.suffix]:
            yield f"{path}: {lines} lines, at most {LONGEST_FILE[path.suffix]}"
        if path.suffix == ".py":
            yield from check_python(path, text)
    yield from check_operators(root)
    yield from check_documents(root, files)


if __name__ == "__main__":
    found = list(findings(Path(__file__).resolve().parent.parent))
    print("\n".join(found) or "tree: nothing to mend")
    sys.exit(1 if found else 0)
