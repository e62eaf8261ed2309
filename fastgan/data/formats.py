"""Image formats: how files of each begin and end, and what decodes them."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os.path
import re
import threading

from PIL import Image

# Bytes from a file's start that are enough for `image_format`.
HEAD = 32
# Endings of images, which need no look inside; the decoders go by content.
IMAGE_SUFFIXES = frozenset({
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe",
    ".jpeg", ".jpf", ".jpg", ".jpx", ".jxl", ".pbm", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif",
    ".tiff", ".webp",
})  # fmt: skip
# Endings of what lies beside images and is none, which need no look inside either. Raw photographs are among them:
# they begin like a TIFF, and would be read as their thumbnails.
OTHER_SUFFIXES = frozenset({
    ".arw", ".caption", ".cls", ".cr2", ".cr3", ".csv", ".db", ".dng", ".doc", ".docx", ".gz", ".html", ".ini",
    ".ipynb", ".json", ".jsonl", ".lnk", ".log", ".m4a", ".md", ".mov", ".mp3", ".mp4", ".nef", ".npy", ".npz",
    ".orf", ".parquet", ".pdf", ".pkl", ".pt", ".pth", ".py", ".raf", ".rar", ".rw2", ".safetensors", ".svg",
    ".tar", ".toml", ".tsv", ".txt", ".url", ".wav", ".xlsx", ".xml", ".xmp", ".yaml", ".yml", ".zip",
})  # fmt: skip

_BEGINNINGS = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "GIF": rb"GIF8[79]a",
    "WebP": rb"RIFF....WEBP",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "BMP": rb"BM....\0\0\0\0",
    "PNM": rb"P[1-6]\s+[#\d]|Pf\s+\d",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "AVIF": rb"....ftypavi[fs]",
    "HEIC": rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)",
    "JPEG XL": rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a",
    "QOI": rb"qoif",
    "PSD": rb"8BPS\0\x01",
    "DDS": rb"DDS \x7c\0\0\0",
}
_BEGINNING = re.compile(
    b"|".join(b"(?P<%s>%s)" % (name.replace(" ", "_").encode(), start) for name, start in _BEGINNINGS.items()),
    re.DOTALL,
)
# Pillow's decoders of pixels, those without a clear beginning last; never those that run programs (EPS) or draw (WMF).
_DECODERS = (
    "PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF", "JXL", "QOI", "PSD", "DDS", "ICO",
    "TGA",
)  # fmt: skip
# Format -> Pillow's name, the module that registers its decoder, and what installs that.
_EXTRA = {
    "HEIC": ("HEIF", "pillow_heif.HeifImagePlugin", "pip install pillow-heif"),
    "JPEG XL": ("JXL", "pillow_jxl", "pip install pillow-jxl-plugin"),
    "AVIF": ("AVIF", "PIL.AvifImagePlugin", "pip install --upgrade pillow"),
}
_BY_SUFFIX = {".heic": "HEIC", ".heif": "HEIC", ".hif": "HEIC", ".jxl": "JPEG XL", ".avif": "AVIF"}
_registering = threading.Lock()


def suffix_of(name: str) -> str:
    """`.jpg` of `a/7.JPG`; empty without an ending."""
    return os.path.splitext(name)[1].lower()


def image_format(head: bytes) -> str | None:
    """The image format whose files begin like this, e.g. `"PNG"`; None of others, and of ICO and TGA.

    Args:
        head: a file's first bytes, at least `HEAD` of them if it has so many.
    """
    found = _BEGINNING.match(head)
    return found.lastgroup.replace("_", " ") if found and found.lastgroup else None


def decoders(head: bytes) -> tuple[str, ...]:
    """Pillow's names of the decoders to try on a file that begins like this."""
    extra = _EXTRA.get(image_format(head) or "")
    if extra is not None:
        _register(*extra[:2])
    return tuple(name for name in _registered() if name in Image.OPEN)


def missing_decoder(head: bytes, name: str) -> str | None:
    """What to install for a file that no decoder knew, by its beginning or its name's ending; None: nothing helps."""
    form = image_format(head) or _BY_SUFFIX.get(suffix_of(name))
    return f"{form}, which this Pillow cannot read: {_EXTRA[form][2]}" if form in _EXTRA else None


@functools.cache
def _registered() -> tuple[str, ...]:
    Image.init()
    return _DECODERS


def _register(name: str, module: str) -> None:
    """Load the module that adds the decoder `name` to Pillow, where it is installed."""
    _registered()
    with _registering, contextlib.suppress(ImportError):
        if name not in Image.OPEN:
            importlib.import_module(module)
