"""Flags made of the fields of a dataclass; their text is what its docstrings say of them, along the inheritance."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import docstring_parser
import tyro

from fastgan import choices
from fastgan.config.options import told

# field -> an older, shorter name of its flag
ALIASES = {
    "g_lr": "glr",
    "d_lr": "dlr",
    "channel_base": "cbase",
    "channel_max": "cmax",
    "mapping_layers": "map-depth",
    "half_resolutions": "num-fp16-res",
    "r1_gamma": "gamma",
    "augment": "aug",
    "augment_p": "p",
    "ada_target": "target",
}
_TABLE = re.compile(r"\b(a name|names) of `choices\.(\w+)`")
_PLAIN = (bool, int, float, str, Path)


def descriptions(kind: type) -> dict[str, str]:
    """Field -> what the "Args:" of a dataclass and of those that it inherits from say of it, in one line."""
    texts: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        for parameter in docstring_parser.parse(vars(each).get("__doc__") or "").params:
            for name in parameter.arg_name.split(","):
                texts[name.strip()] = " ".join((parameter.description or "").split())
    return texts


def fields_of(kind: type) -> dict[str, Any]:
    """Field -> its type.

    Raises:
        ValueError: a type that cannot be found by its name.
    """
    try:
        hints = get_type_hints(kind)
    except NameError as error:
        raise ValueError(
            f"types of the fields of {kind.__name__} must be found when the program runs: {error}; import it outside "
            "of `if TYPE_CHECKING`"
        ) from error
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def section(
    title: str,
    kind: type,
    without: Collection[str] = (),
    *,
    written: Mapping[str, str] | None = None,
    more: Mapping[str, tuple[Any, str]] | None = None,
    defaults: bool = True,
) -> Any:
    """A part of a verb's options, whose fields are those of a dataclass, None unless they are given.

    Fields of types that no words can write, such as other dataclasses, are left out.

    Args:
        title: of their group in the help text.
        kind: the dataclass.
        without: fields that are left out.
        written: field that is given as one text -> how it is written.
        more: further flags, with their type and text.
        defaults: whether the defaults of `kind` are told.

    Returns:
        the type of a field of the verb's options, to be made without arguments.
    """
    texts, written = descriptions(kind), written or {}
    known = {field.name: field for field in dataclasses.fields(kind)}
    flags: list[tuple[str, Any, None]] = []
    for name, hint in fields_of(kind).items():
        given = str if name in written else _given(hint)
        if name in without or given is None:
            continue
        text, hint = _text(texts.get(name, ""), written.get(name), _default(known[name]), defaults)
        flags.append((name, _flag(name, given, text, hint, known[name].default is False), None))
    for name, (given, text) in (more or {}).items():
        flags.append((name, _flag(name, given, text), None))
    made = dataclasses.make_dataclass(kind.__name__, flags, frozen=True, namespace={"__doc__": ""})
    return Annotated[made, tyro.conf.arg(name=title)]


def _given(hint: Any) -> Any:
    """The type of what is written after a flag; None where nothing can be."""
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [each for each in get_args(hint) if each is not type(None)]
        return _given(kinds[0]) if len(kinds) == 1 else None
    if isinstance(get_origin(hint), type) and issubclass(get_origin(hint), Mapping):
        return tuple[str, ...]
    parts = [each for each in get_args(hint) if each is not Ellipsis]
    if get_origin(hint) is tuple and all(each in _PLAIN for each in parts):
        return hint
    return hint if hint in _PLAIN or get_origin(hint) is Literal else None


def _flag(name: str, given: Any, text: str, hint: str = "", switch: bool = False) -> Any:
    marks: list[Any] = [tyro.conf.arg(help=text or " ", help_behavior_hint=hint, aliases=_aliases(name))]
    if given is bool and not switch:
        marks.append(tyro.conf.FlagConversionOff)
    return Annotated[(given | None, *marks)]


def _aliases(name: str) -> list[str]:
    return [f"--{ALIASES[name]}"] if name in ALIASES else []


def _default(field: Any) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def _text(text: str, written: str | None, default: Any, shows: bool) -> tuple[str, str]:
    """(what is said of a field, what is said of its default)."""
    text = _TABLE.sub(lambda match: ("one of " if match[1] == "a name" else "any of ") + _names(match[2]), text)
    text = text.replace("`", "").removesuffix(".")
    empty = f"{default!r}: "
    said = text.replace(empty, "default: ", 1)
    if isinstance(default, Mapping):
        said = f"{said}. Written NAME=WEIGHT or NAME=WEIGHT/INTERVAL, with auto for None"
    if written:
        said = f"{said} ({written})"
    if written or not shows or default is False or default is dataclasses.MISSING or (said != text and empty in text):
        return said, ""
    if isinstance(default, tuple):
        return said, f"(default: {' '.join(map(str, default)) or 'none'})"
    return said, f"(default: {f'{default:g}' if isinstance(default, float) else told(default)})"


def _names(table: str) -> str:
    return ", ".join(getattr(choices, table))
