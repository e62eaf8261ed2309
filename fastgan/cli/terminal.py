"""The terminal and the locale as they are found, made fit for what is printed: any text, in lines that hold a word."""

from __future__ import annotations

import codecs
import os
import shutil
import sys

from fastgan.literal import escaped

# What our own words use beyond ASCII, as ASCII has it; rich and tyro draw their boxes and bars in ASCII by themselves.
_PLAIN = {"×": "x", "·": "-", "…": "...", "−": "-", "√": "sqrt", "½": "1/2", "²": "^2"}
_NARROWEST, _WIDEST = 40, 500


def prepare_terminal() -> None:
    """Standard output and error take any character from now on, and COLUMNS is a width that text can be wrapped to."""
    codecs.register_error("readable", _readable)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # None where the process has no such stream
            stream.reconfigure(errors="readable")  # type: ignore[union-attr]
    if os.environ.get("NO_COLOR"):  # rich knows it, tyro has a variable of its own
        os.environ.setdefault("PYTHON_TYRO_ANSI_CODES", "False")
    columns = shutil.get_terminal_size().columns
    bounded = str(min(max(columns, _NARROWEST), _WIDEST))
    if os.environ.get("COLUMNS", str(columns)) != bounded:
        os.environ["COLUMNS"] = bounded


def insist_on_utf8() -> None:
    """Begins the process anew in Python's UTF-8 mode, where names of files could be ASCII alone.

    Python does so by itself for the locales C and POSIX and for those that are not installed, unless PYTHONUTF8=0 or
    an embedding program keeps it from it.
    """
    if sys.getfilesystemencoding() == "ascii" and sys.executable and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _readable(error: UnicodeError) -> tuple[str, int]:
    """What is printed of characters that the encoding lacks: a likeness in ASCII, or an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_PLAIN.get(each) or escaped(each) for each in lost), error.end
