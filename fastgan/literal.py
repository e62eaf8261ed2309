"""Text that others chose, such as names of files, as it may be shown."""

from __future__ import annotations

import re

# Control characters, ends of lines and paragraphs, marks that turn the direction of writing, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def literal(text: str) -> str:
    """The text in one line, with what would break the line or act on a terminal as escapes.

    Bytes of a file's name that are no UTF-8, which Python keeps as surrogates, are shown as bytes.

    >>> literal("a\\nb\\x1b[31m\\udcff.png")
    'a\\\\nb\\\\x1b[31m\\\\xff.png'
    """
    return _UNSAFE.sub(lambda match: escaped(match[0]), text)


def escaped(character: str) -> str:
    """The character as Python writes it in ASCII; a byte that was no UTF-8 as \\xff."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
