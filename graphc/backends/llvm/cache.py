"""The disk cache of compiled objects, shared by all programs of a user.

An entry is a file: `<hash>.object`, its name the hash of what the object was made from, of the processor and of the versions
of everything that made it. Entries are written to a name of their own and renamed, so that a reader finds a whole entry or
none, whatever happens to the writer. What cannot be read is treated as missing and what cannot be written is dropped: trouble
with the disk costs speed only, and is logged once. Objects are executed, so a folder that others may write to is refused.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import itertools
import logging
import os
import stat
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from graphc.backends.llvm import host
from graphc.core.config import config

log = logging.getLogger("graphc.cache")

#: First bytes of an entry; another layout of entries gets another number.
MAGIC = b"graphc01"

_DIGEST, _SUFFIX = 16, ".object"
_HEADER = len(MAGIC) + _DIGEST + 2  # and then the label, whose length the last two bytes tell

#: Seconds after which a half-written entry is nobody's any more, and after which a use is noted.
_ABANDONED, _DAY = 3600.0, 86400.0

#: Writes between two looks at the size of the whole cache.
_LOOK = 64

#: The most entries: each look lists them all (5 us each), whatever their sizes.
MOST_ENTRIES = 10_000


class _RefusedError(OSError):
    """A folder that is not safe to execute objects from."""


@dataclass(frozen=True)
class Entry:
    """An object on disk: the hash that is its name, its label, size in bytes, time of last use (seconds, to a day)."""

    name: str
    label: str
    size: int
    used: float


class Cache:
    """Objects in a folder, by the text they were made from. Any number of threads and processes may use one folder.

    `salt` stands for everything else an object depends on; `limit` is how many bytes the entries may take.
    """

    def __init__(self, folder: Path | None, salt: str, limit: int):
        self.folder, self.limit = folder, limit
        self._salt = salt.encode()
        self._writes = itertools.count(1)
        self._token = os.urandom(4).hex()
        self._lock = threading.Lock()
        self._readable = self._writable = folder is not None
        self._logged = False

    @functools.cached_property
    def _root(self) -> str:
        """The folder, made and checked at first use; OSError where it cannot be used."""
        assert self.folder is not None
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_safe(self.folder)
        return f"{self.folder}{os.sep}"

    def get(self, key_text: str) -> bytes | None:
        """The object made from this text, None if there is none that is whole."""
        if not self._readable:
            return None
        name = self._name(key_text)
        try:
            found = _read(self._root + name + _SUFFIX)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._readable = False
            self._give_up(error, "read")
            return None
        data = _opened(found, name)
        if data is None:
            self._drop(name + _SUFFIX)
            self._tell(f"{self._root}{name}{_SUFFIX} is damaged: dropped, it will be built again")
        return data

    def put(self, key_text: str, data: bytes, label: str = "") -> None:
        """Keeps an object; `label` says in a few words what it is."""
        if not self._writable:
            return
        name = self._name(key_text)
        try:
            self._write(name, _closed(name, data, label))
        except OSError as error:
            self._give_up(error, "written")
            return
        if next(self._writes) % _LOOK == 0:
            self._shrink()

    def entries(self) -> list[Entry]:
        """Every entry, that used last first; OSError where the folder cannot be read or is refused."""
        found = []
        for item in self._files():
            if item.name.endswith(_SUFFIX):
                try:
                    status = item.stat()
                    found.append(Entry(item.name[: -len(_SUFFIX)], _label(item.path), status.st_size, status.st_mtime))
                except OSError:  # gone since
                    continue
        return sorted(found, key=lambda e: (-e.used, e.name))

    def size(self) -> int:
        """The bytes that all entries take."""
        return sum(size for _, size, _ in self._sizes())

    def clear(self) -> int:
        """Removes every entry; returns how many there were. OSError where the folder cannot be used."""
        names = [item.name for item in self._files()]
        for name in names:
            self._drop(name)
        return sum(name.endswith(_SUFFIX) for name in names)

    def _name(self, key_text: str) -> str:
        digest = hashlib.blake2b(self._salt, digest_size=20)
        digest.update(b"\0" + key_text.encode())
        return digest.hexdigest()

    def _write(self, name: str, content: bytes) -> None:
        """Writes an entry under a name of its own, then renames it."""
        path = f"{self._root}{name}.{self._token}-{os.getpid()}-{threading.get_ident()}.part"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        try:
            try:
                view = memoryview(content)
                while view:
                    view = view[os.write(handle, view) :]
            finally:
                os.close(handle)
            os.replace(path, f"{self._root}{name}{_SUFFIX}")
        except BaseException:
            self._drop(os.path.basename(path))
            raise

    def _drop(self, name: str) -> None:
        with contextlib.suppress(OSError):  # another process was faster, or the disk cannot be written
            os.unlink(self._root + name)

    def _files(self) -> list[os.DirEntry[str]]:
        """The files in the folder that are ours: entries and parts of them."""
        if self.folder is None or not self.folder.exists():
            return []
        with os.scandir(self._root) as found:
            return [item for item in found if item.name.endswith((_SUFFIX, ".part")) and len(item.name) > 40]

    def _sizes(self) -> list[tuple[float, int, str]]:
        """Time of last use, size and name of every file, the oldest first."""
        found = []
        for item in self._files():
            try:
                status = item.stat(follow_symlinks=False)
            except OSError:  # gone since
                continue
            found.append((status.st_mtime, status.st_size, item.name))
        return sorted(found)

    def _shrink(self) -> None:
        """Removes what writers left behind, and, where a limit is passed, the oldest entries down to nine tenths of it."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            sizes = self._sizes()
            excess = sum(size for _, size, _ in sizes)
            excess = excess - self.limit * 9 // 10 if excess > self.limit else 0
            many = len(sizes) - MOST_ENTRIES * 9 // 10 if len(sizes) > MOST_ENTRIES else 0
            for used, size, name in sizes:
                if not name.endswith(_SUFFIX):
                    if time.time() - used > _ABANDONED:
                        self._drop(name)
                elif excess > 0 or many > 0:
                    self._drop(name)
                    excess, many = excess - size, many - 1
        except OSError as error:
            self._give_up(error, "read")
        finally:
            self._lock.release()

    def _give_up(self, error: OSError, what: str) -> None:
        """No more writing in this process, and one line about it."""
        self._writable = False
        reason = str(error) if isinstance(error, _RefusedError) else error.strerror or str(error)
        self._tell(f"objects cannot be {what} in {self.folder} ({reason}): they will be built again in each process")

    def _tell(self, text: str) -> None:
        if not self._logged:
            self._logged = True
            log.warning("graphc cache: %s", text)


def _check_safe(folder: Path) -> None:
    """Raises if the folder belongs to somebody else or others may write to it (where the system knows of owners)."""
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(20, "not a folder", str(folder))
    if not hasattr(os, "geteuid"):
        return
    if status.st_uid != os.geteuid():
        raise _RefusedError(f"refused: it belongs to user {status.st_uid}, and objects in it are executed")
    if status.st_mode & 0o022:
        raise _RefusedError("refused: others may write to it, and objects in it are executed; chmod go-w it")


def _read(path: str) -> bytes:
    """A file's bytes; a use is noted in its time of modification, once a day."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(handle)
        content = os.read(handle, status.st_size + 1)
        if time.time() - status.st_mtime > _DAY:
            with contextlib.suppress(OSError):  # a disk that cannot be written
                os.utime(path)
        return content
    finally:
        os.close(handle)


def _closed(name: str, data: bytes, label: str) -> bytes:
    """An entry: magic, checksum of all that follows and of its name, length of the label, label, object."""
    text = label.encode()[:1000]
    rest = len(text).to_bytes(2, "little") + text + data
    return MAGIC + _checksum(name, rest) + rest


def _opened(content: bytes, name: str) -> bytes | None:
    """The object of an entry; None if the entry is not whole, or another's."""
    rest = content[len(MAGIC) + _DIGEST :]
    if not content.startswith(MAGIC) or content[len(MAGIC) :][:_DIGEST] != _checksum(name, rest):
        return None
    return rest[2 + int.from_bytes(rest[:2], "little") :]


def _checksum(name: str, rest: bytes) -> bytes:
    digest = hashlib.blake2b(name.encode(), digest_size=_DIGEST)
    digest.update(rest)
    return digest.digest()


def _label(path: str) -> str:
    with open(path, "rb") as file:
        head = file.read(_HEADER + 1000)
    length = int.from_bytes(head[_HEADER - 2 : _HEADER], "little")
    return head[_HEADER : _HEADER + length].decode(errors="replace")


# ------------------------------------------------------------------------------------------------ the process's cache


def location() -> Path | None:
    """Where the cache is: `config.cache`, else the user's cache folder; None where there is neither, or it is "off"."""
    if config.cache:
        return None if config.cache == "off" else Path(config.cache).absolute() / "objects"
    base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        try:
            base = str(Path.home() / ".cache")
        except RuntimeError:  # no home
            return None
    return Path(base) / "graphc" / "objects"


def makers() -> str:
    """What an object depends on besides its text: processor, LLVM, and the sources that write the text.

    Sources are told by size and time, which costs microseconds: a changed generator never meets objects of the old one.
    """
    target, package = host.machine(), os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    files = [found for folder in ("backends/llvm", "planning", "core") for found in _sources(f"{package}/{folder}")]
    llvm = importlib.util.find_spec("llvmlite")  # not imported: it is large, and not needed where all objects are there
    for folder in (llvm.submodule_search_locations or ()) if llvm else ():
        files += [f"llvmlite {found}" for found in _sources(folder)]
    return "\n".join([target.triple, target.cpu, target.features, *sorted(files)])


def _sources(folder: str) -> list[str]:
    """Name, size and time of each source in a folder."""
    with os.scandir(folder) as found:
        items = [(item.name, item.stat()) for item in found if item.name.endswith((".py", ".ll"))]
    return [f"{name} {status.st_size} {status.st_mtime_ns}" for name, status in items]


@functools.cache
def opened() -> Cache:
    """The cache of this process."""
    return Cache(location(), makers(), config.cache_bytes)


def for_listing() -> Cache:
    """The same folder for looking and clearing only, without asking what this process would write there."""
    return Cache(location(), "", config.cache_bytes)


def get(key_text: str) -> bytes | None:
    """The object made from this text, None if there is none that is whole."""
    return opened().get(key_text)


def put(key_text: str, data: bytes, label: str = "") -> None:
    """Keeps an object; `label` says in a few words what it is."""
    opened().put(key_text, data, label)


__all__ = ["Cache", "Entry", "for_listing", "get", "location", "makers", "opened", "put"]
