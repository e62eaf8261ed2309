"""What `fastgan calibrate` found of the devices of this machine, read from one file in the user's cache.

The file holds a record for each device, thread count and build that was calibrated. A record counts where its identity
is that of the running process; a file that is damaged is told of once and else ignored.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from fastgan.ops.identity import Identity, identity

FORMAT = 1
Size = tuple[int, ...]


@dataclass(frozen=True)
class Measured:
    """What a call is, where its forms are compared: equal but for size means compared together.

    Attributes:
        subject: an operator, or "operator/provider" where a provider has several ways to compute a part of it.
        dtype: of the images.
        layout: "nchw" or "channels_last".
        kind: what else sets calls apart.
        size: numbers above 0; of another size, that verdict counts whose size is the nearest in proportion.
    """

    subject: str
    dtype: str
    layout: str
    kind: str
    size: Size


@dataclass(frozen=True)
class Verdict:
    """Forms of one call, the first of which serves.

    Attributes:
        of: the call.
        ranking: names of forms that are right, from the one that should serve to the slowest.
        milliseconds: form -> [median, 20th percentile, 80th percentile]; "torch" also where it is no form but the best
            that plain torch can do.
        case: what was measured, in words.
    """

    of: Measured
    ranking: tuple[str, ...]
    milliseconds: Mapping[str, Sequence[float]]
    case: str = ""


@dataclass(frozen=True)
class Loss:
    """A form that lost its place.

    Attributes:
        subject: as in `Measured`.
        form: its name.
        dtype: that it may not serve.
        reason: in words.
    """

    subject: str
    form: str
    dtype: str
    reason: str


@dataclass
class Record:
    """All that is known of one device under one build.

    Attributes:
        identity: see `fastgan.ops.identity`.
        date: ISO 8601, UTC.
        noise: how far apart two timings of the same call were at most, as a share of it.
        left: what there was no time for.
        verdicts, losses: what was found.
    """

    identity: Identity
    date: str = ""
    noise: float = 0.0
    left: int = 0
    verdicts: list[Verdict] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def of_json(data: Mapping[str, Any]) -> Record:
        """Raises KeyError, TypeError or ValueError where it is no record."""
        verdicts = [
            Verdict(
                Measured(**{**each["of"], "size": tuple(map(int, each["of"]["size"]))}),
                tuple(map(str, each["ranking"])),
                {str(form): tuple(float(t) for t in times) for form, times in each["milliseconds"].items()},
                str(each["case"]),
            )
            for each in data["verdicts"]
        ]
        if not all(v.ranking and all(n > 0 for n in v.of.size) for v in verdicts):
            raise ValueError("a verdict names no form, or a size below 1")
        losses = [Loss(**each) for each in data["losses"]]
        about = {str(name): str(value) for name, value in data["identity"].items()}
        return Record(about, str(data["date"]), float(data["noise"]), int(data["left"]), verdicts, losses)


class Table:
    """A record, made to be asked."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.lost = {(loss.subject, loss.form, loss.dtype): loss.reason for loss in record.losses}
        self._sizes: dict[tuple[str, str, str, str], list[tuple[Size, tuple[str, ...]]]] = {}
        for verdict in record.verdicts:
            of = verdict.of
            self._sizes.setdefault((of.subject, of.dtype, of.layout, of.kind), []).append((of.size, verdict.ranking))
        self._found: dict[tuple[Measured, float], tuple[str, ...]] = {}

    def ranking(self, of: Measured, within: float = math.inf) -> tuple[str, ...]:
        """The forms measured of such a call at the nearest size, of several as near the larger; () if none was.

        Args:
            of: the call; one of no size is taken for the largest.
            within: the factor by which each number of the size may differ from what was measured.
        """
        if (of, within) not in self._found:
            known = self._sizes.get((of.subject, of.dtype, of.layout, of.kind), [])
            near = [each for each in known if _apart(each[0], of.size) <= within * (1 + 1e-9)]
            self._found[of, within] = min(near, key=lambda each: _order(each[0], of.size), default=((), ()))[1]
        return self._found[of, within]

    def loss(self, subject: str, form: str, dtype: str) -> str | None:
        """Why a form lost its place; None if it did not."""
        return self.lost.get((subject, form, dtype))


def _apart(size: Size, wanted: Size) -> float:
    """The largest factor between two numbers."""
    return max((max(have / max(want, 1), want / have) for want, have in zip(wanted, size, strict=False)), default=1.0)


def _order(size: Size, wanted: Size) -> tuple[float, float]:
    volume = sum(map(math.log, size))
    apart = sum(abs(math.log(max(want, 1) / have)) for want, have in zip(wanted, size, strict=False))
    return round(apart, 6), -volume


def path() -> Path:
    """The file; its folder may not exist yet."""
    import platformdirs  # which nothing else needs, nor whoever names a provider

    return platformdirs.user_cache_path("fastgan", appauthor=False) / "calibration.json"


def read_records() -> list[Record]:
    """All records of the file, none if there is no file.

    Raises:
        ValueError: the file is damaged, or of another format; the message names it.
        OSError: it cannot be read.
    """
    file = path()
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is damaged: {error}") from None
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            raise ValueError(f"its format is {data['format']!r}, this fastgan reads {FORMAT}")
        return [Record.of_json(each) for each in data["records"]]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: {type(error).__name__}: {error}") from None


_tables: dict[tuple[str, int], Table | None] = {}
silent = False  # there is no file, as most users have none: nobody need ask


def table(device: torch.device) -> Table | None:
    """What counts on a device for this process; None if it was not calibrated."""
    if device.type not in ("cpu", "cuda"):
        return None
    at = _place(device)
    if at not in _tables:
        _tables[at] = _load(device)
    return _tables[at]


def _place(device: torch.device) -> tuple[str, int]:
    """A GPU by its index, a CPU by the number of threads."""
    if device.type == "cpu":
        return "cpu", torch.get_num_threads()
    return "cuda", torch.cuda.current_device() if device.index is None else device.index


def assume(device: torch.device, record: Record) -> None:
    """In this process, let a record count on a device, whatever the file has."""
    global silent
    silent = False
    _tables[_place(device)] = Table(record)


def forget() -> None:
    """Read the file anew when it is next asked, as after a calibration."""
    global silent
    silent = False
    _tables.clear()


def _load(device: torch.device) -> Table | None:
    try:
        records = read_records()
    except (ValueError, OSError) as error:
        warnings.warn(f"{error}; it is not used, and `fastgan calibrate` writes it anew", stacklevel=5)
        return None
    except ModuleNotFoundError as error:
        warnings.warn(f"the library {error.name} is not installed: what was calibrated is not found", stacklevel=5)
        return None
    if not records:  # and no digest of the build is made
        global silent
        silent = not any(_tables.values())
        return None
    own = identity(device)
    return next((Table(record) for record in records if record.identity == own), None)


def why_none(device: torch.device) -> str:
    """In words, what the file has of a device that `table` has nothing of."""
    try:
        records = read_records()
    except (ValueError, OSError) as error:
        return str(error)
    own = identity(device)
    same = [r for r in records if (r.identity.get("type"), r.identity.get("device")) == (own["type"], own["device"])]
    if not same:
        return "not calibrated: `fastgan calibrate` proves and times its kernels"
    last = max(same, key=lambda record: record.date).identity
    changed = [f"{name} {last.get(name, '')!r} -> {own[name]!r}" for name in own if last.get(name) != own[name]]
    return f"calibrated before, for another state ({', '.join(changed)}): run `fastgan calibrate` again"


_warned: set[torch.device] = set()


def warn_once(device: torch.device) -> None:
    """That faster kernels wait to be proved on a GPU."""
    if device not in _warned:
        _warned.add(device)
        warnings.warn(
            f"no kernel of fastgan has been proved on {torch.cuda.get_device_name(device)} yet, plain torch serves: "
            "`fastgan calibrate`, or fastgan.calibrate(), proves and times them, about a minute",
            stacklevel=6,
        )


def ranking_while_compiling(
    subject: str, device: str, dtype: str, layout: str, kind: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """For torch.compile, which reads no file: ranking of the largest size, and the forms that lost their place."""
    found = table(torch.device(device))
    if found is None:
        return (), ()
    lost = tuple(form for of, form, kind_ in found.lost if (of, kind_) == (subject, dtype))
    return found.ranking(Measured(subject, dtype, layout, kind, ())), lost


# As torch.compiler.assume_constant_result, which would import torch's compiler, and Triton with it.
ranking_while_compiling._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]
