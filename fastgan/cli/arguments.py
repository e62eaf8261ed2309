"""What a user wrote after a verb, looked through before tyro reads it: a slip is told in one sentence."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import types
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from fastgan.config.fields import near

_SWITCHED = ("true", "false", "yes", "no", "on", "off", "0", "1")
_NEGATIVE = re.compile(r"-\.?\d")
_IN_WORDS: dict[Any, str] = {int: "an integer", float: "a number"}


@dataclass(frozen=True)
class _Option:
    """How one field of a verb's options is written.

    Attributes:
        name: "--batch", or "RUN" of a positional argument.
        kind: str, int, float or Path; or the texts to choose from.
        many: whether any number of values follows.
        count: how many follow; 0 for any number, or one.
        switch: whether none does.
        required: whether it must be given.
    """

    name: str
    kind: Any
    many: bool = False
    count: int = 0
    switch: bool = False
    required: bool = False

    def wrong(self, value: str) -> str | None:
        """What is wrong with one value of it."""
        if isinstance(self.kind, tuple):
            if value not in self.kind:
                return f"{self.name} must be one of {', '.join(self.kind)}; got {value!r}{near(value, self.kind)}"
        elif self.kind in _IN_WORDS:
            try:
                self.kind(value)
            except ValueError:
                return f"{self.name} must be {_IN_WORDS[self.kind]}, got {value!r}"
        return None


def read_arguments(options: type, verb: str, arguments: Sequence[str]) -> Any:
    """An instance of `options`, which the arguments of a verb describe; where they ask for help, it is shown instead.

    A field that is None unless given is described by its own text alone. A field that is a dataclass is a group of
    options. Options that `options.verbatim` names take the next word whatever it begins with.

    Raises:
        ValueError: a slip, in one sentence.
        SystemExit: help was shown.
    """
    hints = get_type_hints(options, include_extras=True)
    arguments = _joined(arguments, getattr(options, "verbatim", ()))
    if not {"-h", "--help"}.isdisjoint(arguments):
        arguments = ["--help"]
    elif wrong := _slip(*_written(options), arguments, getattr(options, "elsewhere", lambda flag: None)):
        raise ValueError(f"{wrong}; `{getattr(options, 'help_command', f'fastgan {verb} --help')}` shows all options")
    unset = {field.name for field in dataclasses.fields(options) if field.default is None}
    plain = {name: hints[name] for name in unset if get_origin(hints[name]) is not Annotated}
    no_default = tyro.conf.arg(help_behavior_hint="")
    shown = {name: Annotated[hint, no_default] for name, hint in plain.items()}
    described = type(options.__name__, (options,), {"__annotations__": shown, "__doc__": options.__doc__})
    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone, tyro.conf.OmitArgPrefixes)
    return tyro.cli(described, prog=f"fastgan {verb}", args=arguments, config=config)


def _joined(arguments: Sequence[str], verbatim: Collection[str]) -> list[str]:
    """The arguments, with --a --mirror as the one word --a=--mirror where --a is among `verbatim`."""
    words = iter(arguments)
    return ["=".join([word, *itertools.islice(words, int(word in verbatim))]) for word in words]


def _written(options: type) -> tuple[dict[str, _Option], list[_Option]]:
    """The options by every name that they have, and the positional arguments in order."""
    hints = get_type_hints(options, include_extras=True)
    named: dict[str, _Option] = {}
    positional: list[_Option] = []
    for field in dataclasses.fields(options):
        hint = hints[field.name]
        kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if get_origin(kind) in (Union, types.UnionType):  # with None
            kind = get_args(kind)[0]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            named |= _written(kind)[0]
            continue
        many = get_origin(kind) is tuple
        count = len(get_args(kind)) if many and Ellipsis not in get_args(kind) else 0
        while get_origin(kind) is tuple:
            kind = get_args(kind)[0]
        switch = kind is bool and tyro.conf.FlagConversionOff not in marks
        if get_origin(kind) is Literal or kind is bool:
            kind = ("True", "False") if kind is bool else tuple(map(str, get_args(kind)))
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if tyro.conf.Positional in marks:
            positional.append(_Option(field.name.upper(), kind, required=required))
            continue
        renamed = next(filter(None, (getattr(mark, "name", None) for mark in marks)), field.name)
        option = _Option(f"--{renamed.replace('_', '-')}", kind, many, count, switch, required)
        others = [other for mark in marks for other in getattr(mark, "aliases", None) or ()]
        named |= dict.fromkeys([option.name, *others], option)
    return named, positional


def _slip(
    named: dict[str, _Option],
    positional: list[_Option],
    arguments: Sequence[str],
    elsewhere: Callable[[str], str | None],
) -> str | None:
    """What is wrong with the form of the arguments; None if nothing is.

    Args:
        named, positional: what `_written` gives.
        arguments: what is looked through.
        elsewhere: what to say of an option that is none of `named`, if anything is known of it.
    """
    needed = dict.fromkeys(each for each in (*named.values(), *positional) if each.required)
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not _is_option(word):
            if not positional:
                alone = next((each.name for each in needed if each.name.startswith("--")), None)
                return f"{word!r} belongs to no option" + (f"; did you mean {alone} {word}?" if alone else "")
            option, values = positional.pop(0), [word]
        else:
            name, sign, value = word.partition("=")
            dashed = name.replace("_", "-")
            if dashed not in named:
                return elsewhere(dashed) or f"there is no option {name!r}{near(dashed, named)}"
            option = named[dashed]
            values = [value] if sign else _take(option, rest)
        wrong = _miscounted(option, values, [] if positional else rest)
        wrong = wrong or next(filter(None, map(option.wrong, values)), None)
        if wrong:
            return wrong
        needed.pop(option, None)
    missing = [f"{o.name} ({', '.join(o.kind)})" if isinstance(o.kind, tuple) else o.name for o in needed]
    return f"{' and '.join(missing)} must be given" if missing else None


def _take(option: _Option, rest: list[str]) -> list[str]:
    """The values of an option, taken from what follows it."""
    values: list[str] = []
    while rest and not option.switch and (option.many or not values) and not _is_option(rest[0]):
        values.append(rest.pop(0))
    return values


def _miscounted(option: _Option, values: list[str], rest: list[str]) -> str | None:
    """What is wrong with how many values there are; `rest` is what follows them and can belong to nothing else."""
    if option.switch:
        given = [*values, *(word for word in rest[:1] if word.lower() in _SWITCHED)]
        return f"{option.name} is a switch: give it without {given[0]!r}, or leave it out" if given else None
    if not values and not option.many:
        return f"{option.name}: a value is missing"
    if option.count and len(values) != option.count:
        return f"{option.name} takes {option.count} values, got {len(values)}"
    if rest and not option.many and not _is_option(rest[0]):
        files = all(map(os.path.exists, (*values, rest[0])))
        hint = "; if the shell made several of a pattern such as *.png, give the folder instead" if files else ""
        return f"{option.name} takes one value, but after {values[0]!r} comes {rest[0]!r}{hint}"
    return None


def _is_option(word: str) -> bool:
    return len(word) > 1 and word.startswith("-") and not _NEGATIVE.match(word)
