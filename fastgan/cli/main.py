"""`fastgan VERB ...`: finds the verb's file, reads its options, runs it, and words what goes wrong."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from fastgan.cli.output import Output, drain, open_missing
from fastgan.cli.terminal import insist_on_utf8, prepare_terminal
from fastgan.config.fields import near
from fastgan.literal import literal

# verb -> what it does. fastgan/cli/options/<verb>.py has a dataclass <Verb>Options, or options_for(arguments) -> one,
# and fastgan/cli/<verb>.py run(options) -> exit status.
VERBS: dict[str, str] = {
    "train": "Train a GAN, or go on with a run.",
    "generate": "Make images from a checkpoint.",
    "video": "Make a video from a checkpoint: walks between images, pictures that move.",
    "metrics": "Measure the images of a checkpoint beside real ones.",
    "compare": "Train two configurations, and tell whether a figure differs beyond chance.",
    "translate": "Translate images with a checkpoint.",
    "export": "Write a generator as a file that runs without fastgan: ONNX or torch's.",
    "dataset": "Make a training set, a folder or a zip, from images.",
    "report": "Write the HTML report of a run: curves, images through time, configuration.",
    "bench": "Time the operators beside plain torch on this machine.",
    "calibrate": "Prove and time the kernels on this machine's device; the best then serve.",
    "doctor": "Tell what of fastgan works on this machine, and why the rest does not.",
}

_FLAGS = {
    "--help, -h": "Show this text; after a verb, its options.",
    "--version": "Show the version.",
    "--traceback": "Show where an error came from.",
}


def _overview() -> str:
    width = max(map(len, [*VERBS, *_FLAGS])) + 2
    lines = ["usage: fastgan VERB [options]", "", "GANs on PyTorch with hand-written kernels.", "", "verbs:"]
    lines += [f"  {verb:{width}}{text}" for verb, text in VERBS.items()]
    lines += ["", "options:"]
    lines += [f"  {flag:{width}}{text}" for flag, text in _FLAGS.items()]
    return "\n".join([*lines, "", "`fastgan VERB --help` shows the options of a verb, with units and defaults."])


def _version() -> str:
    try:
        return version("fastgan")
    except PackageNotFoundError:
        return "(not installed)"


def _fail(message: str) -> int:
    print(f"fastgan: error: {literal(message)}", file=sys.stderr)
    return 2


def _wording(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'standard output'}: {error.strerror}"
    return str(error) or type(error).__name__


def _expand_home(argument: str) -> str:
    """`--outdir=~/runs` and a quoted ~ as the shell would have written them; it does so only where ~ begins a word."""
    match = re.match(r"(--[\w-]+=)?(~(?:/.*)?)$", argument, re.DOTALL)
    return (match[1] or "") + os.path.expanduser(match[2]) if match else argument


def _run(verb: str, arguments: list[str]) -> int:
    try:
        os.getcwd()
    except FileNotFoundError:  # torch, when it is loaded, would end the process
        raise ValueError("the current folder does not exist any more; change to another, or to its path anew") from None
    module = importlib.import_module(f"fastgan.cli.options.{verb}")
    kind = getattr(module, f"{verb.capitalize()}Options")
    if hasattr(module, "options_for"):
        kind = module.options_for(arguments)
    options = importlib.import_module("fastgan.cli.arguments").read_arguments(kind, verb, arguments)
    return importlib.import_module(f"fastgan.cli.{verb}").run(options)  # and torch, which help and slips do without


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Standard error may break without consequence.

    Args:
        arguments: what follows the program's name; None takes the process's own.

    Returns:
        the exit status: the verb's; 2 for an error the user can mend, printed in one line; 130 when interrupted; 141
        when the reader of standard output has gone before all was said.
    """
    if arguments is None:
        insist_on_utf8()
    open_missing()
    prepare_terminal()
    with contextlib.redirect_stderr(Output(sys.stderr)):  # type: ignore[type-var]
        status = 0
        try:
            status = _command(arguments)
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError as error:
            drain(sys.stdout)  # as in `fastgan doctor | head`
            gone = isinstance(error, BrokenPipeError)
            return status or (141 if gone else _fail(_wording(error)))
    return status


def _command(arguments: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    show_traceback = "--traceback" in given
    given = [_expand_home(argument) for argument in given if argument != "--traceback"]
    if given[:1] == ["help"] and len(given) > 1:  # as in `fastgan help train`
        given = [*given[1:], "--help"]
    if not given or given[0] in ("--help", "-h", "help"):
        print(_overview())
        return 0
    if given[0] in ("--version", "-V", "-v", "version"):
        print(f"fastgan {_version()}")
        return 0
    verb, *rest = given
    if verb not in VERBS:
        return _fail(f"verb must be one of {', '.join(VERBS)}; got {verb!r}{near(verb, VERBS)}")
    try:
        return _run(verb, rest)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # rich ends so when the reader of our output has gone
            return 141
        # tyro ends --help with 0 and a bad option with 2, both already printed.
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        print("fastgan: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except ImportError as error:
        library = (error.name or "fastgan").split(".")[0]
        if library == "fastgan":
            raise
        if isinstance(error, ModuleNotFoundError):
            return _fail(f"the library {error.name} is not installed: pip install {error.name}")
        return _fail(f"the library {library} does not load ({error}): pip install --force-reinstall {library}")
    except (ValueError, TypeError, OSError, MemoryError) as error:
        if show_traceback:
            traceback.print_exc()
        return _fail(_wording(error))
