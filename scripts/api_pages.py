"""Makes the pages of the Python interface from its docstrings: `make docs`, into build/docs/index.html.

First it looks at what is public, the names in every `__all__` of the package: what a docstring leaves out of its
signature is printed, a line each, and no page is made. Warnings, of an import or of pdoc, are errors.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import pkgutil
import re
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import fastgan
from fastgan import ops

# Commands and kernels are no interface for Python.
LEFT_OUT = {"fastgan.bench", "fastgan.cli", "fastgan.kernels"}
# What a docstring tells in a line becomes a section of the page.
FACTS = ("Gradients", "Keeps for backward", "Source")


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """The package and all modules below it, but for LEFT_OUT and names with an underscore in front."""
    yield package
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if found.name in LEFT_OUT or "._" in found.name:
            continue
        module = importlib.import_module(found.name)
        if found.ispkg:
            yield from modules(module)
        else:
            yield module


def section(docstring: str, title: str) -> str:
    """The indented lines under `title:`, dedented; empty if there is no such section."""
    found = re.search(rf"^{title}:\n((?:[ \t]+.+\n?|\n)+)", docstring, re.MULTILINE)
    return textwrap.dedent(found[1]) if found else ""


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def raised(function: Callable) -> set[str]:
    """Names of the exceptions that the function's own lines raise."""
    try:
        nodes: list[ast.AST] = [*ast.parse(textwrap.dedent(inspect.getsource(function))).body[0].body]  # type: ignore
    except OSError:  # written by a dataclass
        return set()
    names = set()
    while nodes:
        node = nodes.pop()
        if isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        nodes.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            names.add(node.exc.func.id)
    return {name for name in names if name[0].isupper()}  # others make an exception


def untold(docstring: str | None, signature: inspect.Signature | None, raises: set[str]) -> Iterator[str]:
    """What a docstring does not tell.

    Args:
        docstring: without its indentation. An operator in it, "as in `name`" or ": `name`", tells of its own arguments.
        signature: whose arguments it must name: as entries under Args, or anywhere where there is no such section. With
            Args it must have Returns too, unless nothing comes back. None: nothing to tell.
        raises: names that must stand under Raises.
    """
    if not docstring:
        yield "has no docstring"
        return
    args = section(docstring, "Args")
    named = words(" ".join(re.findall(r"^[*\w][^:\n]*:", args, re.MULTILINE)) if args else docstring)
    elsewhere = [
        name for name in re.findall(r"(?:as in|:) `(?:fastgan\.ops\.)?(\w+)`", docstring) if name in ops.__all__
    ]
    for name in elsewhere:
        named |= set(inspect.signature(getattr(ops, name)).parameters)
    for name in signature.parameters if signature else ():
        if name not in named and not name.startswith("_"):
            yield f"does not tell of its argument {name}"
    result = signature.return_annotation if signature else None
    returns = section(docstring, "Returns") or section(docstring, "Yields") or elsewhere
    if args and result not in (None, "None", inspect.Signature.empty) and not returns:
        yield "has Args but no Returns"
    told = words(section(docstring, "Raises")) | set(re.findall(r"Raises (\w+)", docstring))
    for name in sorted(raises - told):
        yield f"does not tell that it raises {name}"


def untold_by_function(function: Callable, method: bool = False) -> Iterator[str]:
    """What the docstring of a function or, with `self` or `cls` in front, of a method does not tell."""
    signature = inspect.signature(function)
    if inspect.isgeneratorfunction(inspect.unwrap(function)):  # most are context managers
        signature = signature.replace(return_annotation=None)
    if method:
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    return untold(inspect.getdoc(function), signature, raised(inspect.unwrap(function)))


def untold_by_class(kind: type) -> Iterator[tuple[str, str]]:
    """(name of the member or "", what is not told) of a class, its __init__, and what it defines in public."""
    own = None if getattr(kind, "_is_protocol", False) else vars(kind).get("__init__")
    signature = inspect.signature(kind).replace(return_annotation=None) if own else None
    docstring = inspect.cleandoc(kind.__doc__ or "")
    if docstring.startswith(f"{kind.__name__}("):  # a dataclass without a docstring gets its signature
        docstring = None
    for fault in untold(docstring, signature, raised(own) if own else set()):
        yield "", fault
    fields = getattr(kind, "__dataclass_fields__", {})  # whose defaults may be functions
    for name, member in vars(kind).items():
        if name.startswith("_") or name in fields:
            continue
        faults: Iterator[str] = iter(())
        if isinstance(member, property):
            faults = untold(inspect.getdoc(member), None, set())
        elif isinstance(member, staticmethod):
            faults = untold_by_function(member.__func__)
        elif isinstance(member, classmethod):
            faults = untold_by_function(member.__func__, method=True)
        elif inspect.isfunction(member):
            faults = untold_by_function(member, method=True)
        for fault in faults:
            yield f".{name}", fault


def findings(found: list[ModuleType]) -> list[str]:
    """A line for all that the docstring of a public function or class leaves out."""
    lines = {}  # a name can be public in several modules
    for module in found:
        for name in getattr(module, "__all__", ()):
            value: Any = getattr(module, name)
            place = f"{getattr(value, '__module__', '')}.{name}"
            if not place.startswith("fastgan."):
                continue
            if inspect.isclass(value):
                lines |= {f"{place}{member} {fault}": None for member, fault in untold_by_class(value)}
            elif inspect.isfunction(value):
                lines |= {f"{place} {fault}": None for fault in untold_by_function(value)}
    return list(lines)


def write_pages(found: list[ModuleType], folder: Path) -> None:
    """One page a module, index.html, and a search over all."""
    import pdoc.doc
    import pdoc.docstrings
    import pdoc.render

    google, facts = pdoc.docstrings.google, re.compile(rf"^({'|'.join(FACTS)}): ", re.MULTILINE)
    pdoc.docstrings.google = lambda docstring: google(facts.sub(r"\n###### \1\n\n", docstring))
    pdoc.render.configure(docformat="google", footer_text=f"fastgan {fastgan.__version__}")
    # pdoc looks for the names in a dataclass's annotations in the wrong module, and then shows them as written.
    warnings.filterwarnings("ignore", "Error parsing type annotation")
    warnings.filterwarnings("ignore", "Cannot determine where .*_is_param is taken from")  # of torch's own tensors
    pages = {module.__name__: pdoc.doc.Module(module) for module in found}
    for name, page in pages.items():  # pdoc lists those alone that `__all__` names
        page.submodules = [pages[each] for each in pages if each.rpartition(".")[0] == name]
    for name, page in pages.items():
        path = folder / f"{name.replace('.', '/')}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pdoc.render.html_module(page, pages), encoding="utf-8")
    (folder / "index.html").write_text(pdoc.render.html_index(pages), encoding="utf-8")
    (folder / "search.js").write_text(pdoc.render.search_index(pages), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the pages of the Python interface.")
    parser.add_argument("--outdir", type=Path, default=Path("build/docs"), help="made anew (default: %(default)s)")
    outdir = parser.parse_args().outdir
    warnings.simplefilter("error")
    for name in fastgan.__all__:  # imported when first asked for, which pdoc does not
        setattr(fastgan, name, getattr(fastgan, name))
    found = list(modules(fastgan))
    if faults := findings(found):
        print("\n".join(faults))
        return 1
    shutil.rmtree(outdir, ignore_errors=True)
    write_pages(found, outdir)
    print(f"docs: {len(found)} modules, {outdir / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
