"""Loading ELF objects for x86-64 without LLVM: sections are mapped, relocations applied, and the code stays for good.

LLVM's own loader takes tens of megabytes and tens of milliseconds to be there, for what is a page of work: objects that need
nothing but a few C functions have five kinds of relocations. They are those of System V Application Binary Interface,
AMD64 Architecture Processor Supplement, 4.4.1 (S: a symbol's address, A: the addend, P: the place, G: an address's entry).
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

_MACHINE, _RELOCATABLE = 62, 1
_SYMBOLS, _ADDENDS, _NO_BITS = 2, 4, 8
_WRITE, _ALLOCATE = 1, 2
_UNDEFINED, _ABSOLUTE = 0, 0xFFF1

#: Kinds of relocations.
_64, _PC32, _PLT32, _GOT = 1, 2, 4, (9, 41, 42)

#: `jmp *0(%rip)`, and behind it the address: for functions that lie too far for a call.
_JUMP = bytes([0xFF, 0x25, 0, 0, 0, 0])
_JUMP_BYTES = 16


@dataclass
class _Section:
    """A section of the file, and where it lies in the mapping (-1: nowhere)."""

    name: int
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    at: int = -1


@dataclass
class _Symbol:
    name: str
    section: int
    value: int
    is_global: bool


@dataclass
class _Image:
    """An object being loaded: its sections, its symbols, the mapping, and the entries made for addresses so far."""

    data: bytes
    sections: list[_Section]
    symbols: list[_Symbol]
    start: int = 0
    room: int = 0
    entries: dict[tuple[bool, int], int] = field(default_factory=dict)


def is_object(data: bytes) -> bool:
    """Whether these bytes begin as a relocatable ELF object for x86-64 does."""
    return data[:6] == b"\x7fELF\x02\x01" and struct.unpack_from("<HH", data, 16) == (_RELOCATABLE, _MACHINE)


def load(data: bytes) -> dict[str, int]:
    """Maps an object; the addresses of its global symbols. Raises RuntimeError for what it cannot load, MemoryError."""
    image = _Image(data, list(_sections(data)), [])
    image.symbols = list(_symbols(image))
    relocations = [found for section in image.sections for found in _relocations(image, section)]
    fixed, size = _lay_out(image, len(relocations))
    image.start = _map(size)
    for section in image.sections:
        if section.at >= 0 and section.kind != _NO_BITS:
            ctypes.memmove(image.start + section.at, data[section.offset :][: section.size], section.size)
    for section, place, kind, symbol, addend in relocations:
        _relocate(image, image.start + section.at + place, kind, symbol, addend)
    _protect(image.start, fixed)
    return {s.name: _address(image, n) for n, s in enumerate(image.symbols) if s.is_global and s.section != _UNDEFINED}


# --- reading ---------------------------------------------------------------------------------------------------------


def _sections(data: bytes) -> Iterator[_Section]:
    (start,), (size, count) = struct.unpack_from("<Q", data, 40), struct.unpack_from("<HH", data, 58)
    for n in range(count):
        name, kind, flags, _, offset, length, link, info, alignment, _ = struct.unpack_from(
            "<IIQQQQIIQQ", data, start + n * size
        )
        yield _Section(name, kind, flags, offset, length, link, info, max(alignment, 1))


def _text(data: bytes, table: _Section, at: int) -> str:
    start = table.offset + at
    return data[start : data.index(b"\0", start)].decode()


def _symbols(image: _Image) -> Iterator[_Symbol]:
    for section in image.sections:
        if section.kind == _SYMBOLS:
            names, found = image.sections[section.link], image.data[section.offset :][: section.size]
            for name, info, _, where, value, _ in struct.iter_unpack("<IBBHQQ", found):
                yield _Symbol(_text(image.data, names, name), where, value, info >> 4 != 0)


def _relocations(image: _Image, section: _Section) -> Iterator[tuple[_Section, int, int, int, int]]:
    """Section, place in it, kind, symbol and addend of each relocation of what is mapped."""
    if section.kind != _ADDENDS or not _is_mapped(image, image.sections[section.info]):
        return
    for place, info, addend in struct.iter_unpack("<QQq", image.data[section.offset :][: section.size]):
        yield image.sections[section.info], place, info & 0xFFFFFFFF, info >> 32, addend


def _is_mapped(image: _Image, section: _Section) -> bool:
    """Whether a section belongs into memory; nothing here unwinds a stack, so that its tables do not."""
    if not section.flags & _ALLOCATE:
        return False
    (names,) = struct.unpack_from("<H", image.data, 62)
    return _text(image.data, image.sections[names], section.name) != ".eh_frame"


# --- mapping ---------------------------------------------------------------------------------------------------------


def _lay_out(image: _Image, entries: int) -> tuple[int, int]:
    """Gives sections their places: code, constants and room for entries, then, on pages of its own, what is written.

    Returns the bytes of the first part and of both.
    """
    at = 0
    for written in (False, True):
        for section in image.sections:
            if _is_mapped(image, section) and bool(section.flags & _WRITE) == written:
                at = -(-at // section.alignment) * section.alignment
                section.at = at
                at += section.size
        if not written:
            image.room = -(-at // _JUMP_BYTES) * _JUMP_BYTES
            at = fixed = -(-(image.room + _JUMP_BYTES * entries) // mmap.PAGESIZE) * mmap.PAGESIZE
    return fixed, max(at, mmap.PAGESIZE)


def _system() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _map(size: int) -> int:
    """The address of zeroed memory that is never given back: others may know addresses in it."""
    function = _system().mmap
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    found = function(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if found in (None, ctypes.c_void_p(-1).value):
        raise MemoryError(f"no {size} bytes for code")
    return int(found)


def _protect(start: int, size: int) -> None:
    """Makes code and constants executable, and no longer writable."""
    function = _system().mprotect
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if size and function(start, size, mmap.PROT_READ | mmap.PROT_EXEC):
        raise RuntimeError(f"the system refuses to make code executable (error {ctypes.get_errno()})")


# --- relocating ------------------------------------------------------------------------------------------------------


def _address(image: _Image, number: int) -> int:
    """Where a symbol stands: in the mapping, or in the C library."""
    symbol = image.symbols[number]
    if symbol.section == _ABSOLUTE:
        return symbol.value
    if symbol.section == _UNDEFINED:
        try:
            return ctypes.cast(getattr(_system(), symbol.name), ctypes.c_void_p).value or 0
        except AttributeError:
            raise RuntimeError(f"an object wants {symbol.name}, which nobody here has") from None
    section = image.sections[symbol.section] if symbol.section < len(image.sections) else None
    if section is None or section.at < 0:
        raise RuntimeError(f"the object's symbol {symbol.name} stands nowhere in memory")
    return image.start + section.at + symbol.value


def _entry(image: _Image, number: int, jumps: bool) -> int:
    """A place near the code that holds a symbol's address, or code that jumps there."""
    key = jumps, number
    if key not in image.entries:
        target = struct.pack("<Q", _address(image, number))
        content = _JUMP + target if jumps else target
        image.entries[key] = image.start + image.room
        ctypes.memmove(image.entries[key], content, len(content))
        image.room += _JUMP_BYTES
    return image.entries[key]


def _relocate(image: _Image, place: int, kind: int, symbol: int, addend: int) -> None:
    far = image.symbols[symbol].section == _UNDEFINED
    if kind == _64:
        _write(place, "<Q", (_address(image, symbol) + addend) % (1 << 64))  # S + A
    elif kind in (_PC32, _PLT32):
        target = _entry(image, symbol, jumps=True) if far and kind == _PLT32 else _address(image, symbol)
        _write(place, "<i", target + addend - place)  # S + A - P
    elif kind in _GOT:
        _write(place, "<i", _entry(image, symbol, jumps=False) + addend - place)  # G + A - P
    else:
        raise RuntimeError(f"an object has a relocation of kind {kind}, which is none of those known")


def _write(place: int, form: str, value: int) -> None:
    content = struct.pack(form, value)
    ctypes.memmove(place, content, len(content))


__all__ = ["is_object", "load"]
