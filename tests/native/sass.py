"""Reads machine code that cuobjdump prints: finds loads that wait for one another, and operands rounded at each use.

A load's result is waited for where it is first used. Loads of one chunk of work that are issued back to back wait
once, together; a use between two of them adds the memory's latency to every chunk.
"""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastgan.ops import native
from tests.native.cuda_resources import cuobjdump, demangler, short

# What ends a chunk's loads: a barrier, the end of a group of asynchronous copies, products of matrices, the end.
_ENDS_OF_CHUNK = ("BAR", "LDGDEPBAR", "HMMA", "HGMMA", "EXIT", "RET")
_NO_RESULT = ("ST", "LDGSTS", "RED", "BAR", "BRA", "BSYNC", "EXIT", "RET", "CALL", "DEPBAR", "WARP")


# The heading of a target or of a kernel, or: address, predicate, opcode, operands.
_LINE = re.compile(
    r"^\s*(?:(code for \S+|Function : \S+)|/\*([0-9a-f]{4,})\*/\s+(?:(@!?U?P\w+)\s+)?([A-Z]\S*) *([^;\n]*?)\s*;)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Instruction:
    """One line: `@!P0 LDG.E.128 R4, desc[UR4][R2.64]` at its address."""

    address: int
    predicate: str
    opcode: str
    operands: tuple[str, ...]

    @property
    def is_wide_load(self) -> bool:
        """Whether it loads 16 bytes from global memory into registers."""
        return self.opcode.startswith("LDG.") and ".128" in self.opcode

    @property
    def target(self) -> int:
        """The address that a branch, or what opens a region, names."""
        return int(self.operands[-1].split()[-1], 16)

    def written(self) -> range:
        """Numbers of the registers that get its result."""
        found = re.fullmatch(r"R(\d+)(?:\.\w+)*", self.operands[0]) if self.operands else None
        if found is None or self.opcode.startswith(_NO_RESULT):
            return range(0)
        bits = re.search(r"\.(64|128)\b", self.opcode) if self.opcode.startswith("LD") else None
        return range(int(found.group(1)), int(found.group(1)) + (int(bits.group(1)) // 32 if bits else 1))

    def read(self) -> set[int]:
        """Numbers of the registers that it names as operands."""
        own = self.operands[bool(self.written()) :]
        return {int(number) for operand in own for number in re.findall(r"\bR(\d+)", operand)}


def parse(text: str) -> dict[tuple[str, str], list[Instruction]]:
    """(target, name as the compiler writes it) -> instructions, of what `cuobjdump -sass` prints."""
    kernels: dict[tuple[str, str], list[Instruction]] = {}
    target, current = "", list[Instruction]()
    for found in _LINE.finditer(text):
        heading, address, predicate, opcode, operands = found.groups()
        if heading is None:
            split = tuple(part.strip() for part in operands.split(",")) if operands else ()
            current.append(Instruction(int(address, 16), predicate or "", opcode, split))
        elif heading.startswith("code"):
            target = heading.split()[-1]
        else:
            current = kernels.setdefault((target, heading.split()[-1]), [])
    return kernels


class Flow:
    """Where a kernel's instructions lead within a chunk: neither back to an earlier address nor into a loop."""

    def __init__(self, instructions: Sequence[Instruction]):
        self.code = {each.address: each for each in instructions}
        self.next = {a.address: b.address for a, b in zip(instructions, instructions[1:], strict=False)}
        self.loops = {b.target for b in instructions if b.opcode.startswith("BRA") and b.target <= b.address}
        self.joins: dict[int, int] = {}  # address of a BSYNC -> where the region goes on
        opened: dict[str, int] = {}
        for each in instructions:
            if each.opcode.startswith("BSSY"):
                opened[each.operands[0]] = each.target
            elif each.opcode.startswith("BSYNC"):
                self.joins[each.address] = opened[each.operands[0]]

    def after(self, each: Instruction) -> list[int]:
        """Addresses that may follow."""
        found = [self.next[each.address]] if each.address in self.next else []
        if each.opcode.startswith(_ENDS_OF_CHUNK) and not each.predicate:
            return []
        if each.opcode.startswith("BSYNC"):
            found = [self.joins[each.address]]
        elif each.opcode.startswith("BRA"):
            conditional = each.predicate or len(each.operands) > 1
            found = [each.target, *(found if conditional else [])]
        return [address for address in found if address > each.address and address not in self.loops]

    def reaches_load(self, start: Instruction) -> Instruction | None:
        """The first wide load after this instruction in its chunk, if there is one."""
        seen, left = set[int](), self.after(start)
        found: list[Instruction] = []
        while left:
            each = self.code[left.pop()]
            if each.address in seen:
                continue
            seen.add(each.address)
            if each.is_wide_load:
                found.append(each)
            else:
                left += self.after(each)
        return min(found, key=lambda load: load.address, default=None)

    def uses(self, load: Instruction) -> Iterator[Instruction]:
        """Instructions of the load's chunk that may be the first to read its result."""
        seen, left = set[tuple[int, frozenset[int]]](), [(a, frozenset(load.written())) for a in self.after(load)]
        while left:
            address, alive = left.pop()
            if (address, alive) in seen:
                continue
            seen.add((address, alive))
            each = self.code[address]
            if each.read() & alive:
                yield each
                continue
            if not each.predicate:
                alive = alive - set(each.written())
            if alive:
                left += [(onward, alive) for onward in self.after(each)]


def waits(instructions: Sequence[Instruction]) -> list[tuple[Instruction, Instruction, Instruction]]:
    """(a load of 16 bytes, what waits for it, a later load of the same chunk that is issued only then) of a kernel."""
    flow = Flow(instructions)
    found = []
    for load in filter(lambda each: each.is_wide_load, instructions):
        for use in sorted(flow.uses(load), key=lambda each: each.address):
            if later := flow.reaches_load(use):
                found.append((load, use, later))
                break
    return found


def rounded_operands(instructions: Sequence[Instruction]) -> list[tuple[Instruction, Instruction]]:
    """(a float that is tested for being finite, as rounding to TF32 does, a product that takes what became of it).

    Of a kernel that rounds on the way into shared memory there are none: there its products take what they load.
    """
    found = []
    for place, each in enumerate(instructions):
        if not (each.opcode.startswith("FSETP") and any(operand.strip("-+") == "INF" for operand in each.operands)):
            continue
        alive = each.read()
        for later in instructions[place + 1 :]:
            if not alive or later.opcode.startswith(("BAR", "BRA", "EXIT")):
                break
            if later.opcode.startswith("HMMA") and later.read() & alive:
                found.append((each, later))
                break
            if later.read() & alive:
                alive |= set(later.written())
            elif not later.predicate:
                alive -= set(later.written())
    return found


@functools.cache
def of_library() -> dict[str, list[Instruction]]:
    """ "kernel target" -> instructions of every CUDA kernel of the built library, named as in cuda_resources."""
    command = [str(cuobjdump()), "-sass", str(native.PACKAGE / "_native.so")]
    found = parse(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return named(found)


def named(kernels: dict[tuple[str, str], list[Instruction]]) -> dict[str, list[Instruction]]:
    """The same by "kernel target", without namespaces and arguments."""
    mangled = "\n".join(name for _, name in kernels)
    plain = subprocess.run([str(demangler())], input=mangled, capture_output=True, text=True, check=True).stdout
    rows = zip(plain.splitlines(), kernels.items(), strict=True)
    return {f"{short(name)} {target}": code for name, ((target, _), code) in rows}
