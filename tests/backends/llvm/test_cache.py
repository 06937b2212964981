"""The disk cache: an object comes back whole or not at all, and no trouble with the disk is more than a lost object."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_layers import ROOT

import graphc as gc
from graphc import cli
from graphc.backends.llvm import cache as disk
from graphc.backends.llvm import native_code
from graphc.backends.llvm.cache import Cache
from graphc.core.config import config

OBJECT = bytes(range(256)) * 40
is_root = os.geteuid() == 0


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def opened(folder, salt="x", limit=1 << 20):
    return Cache(folder, salt, limit)


def files(folder):
    return sorted(folder.iterdir())


def test_an_object_comes_back_in_another_process(folder):
    first = opened(folder)
    assert first.get("kernel") is None
    first.put("kernel", OBJECT, "add, f32")
    assert first.get("kernel") == OBJECT
    second = opened(folder)
    assert second.get("kernel") == OBJECT
    assert second.get("another") is None
    assert [e.label for e in second.entries()] == ["add, f32"]
    assert second.size() == files(folder)[0].stat().st_size
    assert folder.stat().st_mode & 0o777 == 0o700
    assert files(folder)[0].stat().st_mode & 0o777 == 0o600


def test_an_empty_object_is_an_object(folder):
    opened(folder).put("nothing", b"")
    assert opened(folder).get("nothing") == b""


def test_what_an_object_depends_on_tells_entries_apart(folder):
    opened(folder, "one CPU").put("kernel", OBJECT)
    assert opened(folder, "another CPU").get("kernel") is None
    assert opened(folder, "one CPU").get("kernel") == OBJECT


def test_the_process_cache_knows_processor_versions_and_sources():
    text = disk.makers()
    assert disk.host.machine().features in text
    assert "llvmlite _version.py " in text
    assert "cache.py " in text and "scalar.py " in text


@pytest.mark.parametrize("at", [0, 3, 9, 24, 27, 5000, -1])
def test_a_damaged_entry_is_dropped_and_rebuilt(folder, at, caplog):
    cache = opened(folder)
    cache.put("kernel", OBJECT, "label")
    path = files(folder)[0]
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert cache.get("kernel") is None
    assert "damaged" in caplog.text
    assert not path.exists()
    cache.put("kernel", OBJECT)
    assert cache.get("kernel") == OBJECT


@pytest.mark.parametrize("length", [0, 1, 8, 20, 26, 30, 5000])
def test_a_truncated_entry_is_dropped(folder, length):
    cache = opened(folder)
    cache.put("kernel", OBJECT, "label")
    path = files(folder)[0]
    path.write_bytes(path.read_bytes()[:length])
    assert cache.get("kernel") is None
    assert not path.exists()


def test_a_longer_entry_and_another_ones_entry_are_dropped(folder):
    cache = opened(folder)
    cache.put("kernel", OBJECT)
    path = files(folder)[0]
    path.write_bytes(path.read_bytes() + b"x")
    assert cache.get("kernel") is None
    cache.put("kernel", OBJECT)
    path.rename(folder / (cache._name("other") + ".object"))
    assert cache.get("other") is None


def test_a_folder_in_the_place_of_an_entry_costs_only_speed(folder, caplog):
    cache = opened(folder)
    cache.put("kernel", OBJECT)
    files(folder)[0].unlink()
    (folder / (cache._name("kernel") + ".object")).mkdir()
    assert cache.get("kernel") is None
    cache.put("kernel", OBJECT)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("failing", ["write", "open", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_disk_that_cannot_be_written_costs_only_speed(folder, monkeypatch, caplog, failing, code):
    cache = opened(folder)
    cache.put("before", OBJECT)
    right = getattr(os, failing)

    def fail(*args, **kwargs):
        if failing == "open" and not args[1] & os.O_CREAT:
            return right(*args, **kwargs)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(disk.os, failing, fail)
    for i in range(3):
        cache.put(f"kernel {i}", OBJECT)
    assert cache.get("kernel 0") is None
    assert cache.get("before") == OBJECT
    assert len(caplog.records) == 1
    assert os.strerror(code) in caplog.text
    monkeypatch.undo()
    assert len(files(folder)) == 1, "a half-written entry was left"


def test_a_write_that_takes_several_turns(folder, monkeypatch):
    right = os.write
    monkeypatch.setattr(disk.os, "write", lambda handle, data: right(handle, data[:1000]))
    cache = opened(folder)
    cache.put("kernel", OBJECT)
    assert cache.get("kernel") == OBJECT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device(folder, monkeypatch, caplog):
    right = os.open

    def full(path, flags, *rest):
        return right("/dev/full", os.O_WRONLY) if flags & os.O_CREAT else right(path, flags, *rest)

    cache = opened(folder)
    monkeypatch.setattr(disk.os, "open", full)
    cache.put("kernel", OBJECT)
    assert cache.get("kernel") is None
    assert "No space left" in caplog.text


@pytest.mark.skipif(is_root, reason="root may write anywhere")
def test_a_folder_without_write_permission(folder, caplog):
    opened(folder).put("before", OBJECT)
    folder.chmod(0o500)
    try:
        cache = opened(folder)
        cache.put("kernel", OBJECT)
        assert cache.get("before") == OBJECT
        assert len(caplog.records) == 1
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize("place", ["/proc/graphc", "/dev/null/graphc"])
def test_a_place_where_no_folder_can_be(place, caplog):
    cache = opened(Path(place))
    assert cache.get("kernel") is None
    cache.put("kernel", OBJECT)
    assert cache.get("kernel") is None
    assert len(caplog.records) == 1


def test_no_folder_at_all(caplog):
    cache = opened(None)
    cache.put("kernel", OBJECT)
    assert cache.get("kernel") is None
    assert cache.entries() == []
    assert cache.clear() == cache.size() == 0
    assert not caplog.records


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o720])
def test_a_folder_others_may_write_to_is_refused(folder, mode, caplog):
    opened(folder).put("kernel", OBJECT)
    folder.chmod(mode)
    cache = opened(folder)
    assert cache.get("kernel") is None
    cache.put("another", OBJECT)
    assert len(files(folder)) == 1
    assert "others may write to it" in caplog.text
    assert len(caplog.records) == 1
    with pytest.raises(OSError, match="refused"):
        cache.entries()
    with pytest.raises(OSError, match="refused"):
        cache.clear()


def test_a_folder_of_another_user_is_refused(folder, monkeypatch, caplog):
    opened(folder).put("kernel", OBJECT)
    owner = folder.stat().st_uid
    monkeypatch.setattr(disk.os, "geteuid", lambda: owner + 1)
    assert opened(folder).get("kernel") is None
    assert f"belongs to user {owner}" in caplog.text


def test_the_oldest_are_dropped_first(folder, monkeypatch):
    monkeypatch.setattr(disk, "_LOOK", 1)
    limit = 10 * (len(OBJECT) + 100)
    cache = opened(folder, limit=limit)
    now = time.time()
    for i in range(30):
        cache.put(f"kernel {i}", OBJECT)
        path = folder / (cache._name(f"kernel {i}") + ".object")
        if path.exists():
            os.utime(path, (now, now - 1000 + i))
    assert cache.size() <= limit
    assert cache.get("kernel 29") == OBJECT
    kept = [i for i in range(30) if cache.get(f"kernel {i}")]
    assert kept == list(range(kept[0], 30))
    assert len(kept) >= 8


def test_the_oldest_of_too_many_go(folder, monkeypatch):
    monkeypatch.setattr(disk, "_LOOK", 1)
    monkeypatch.setattr(disk, "MOST_ENTRIES", 20)
    cache, now = opened(folder, limit=1 << 30), time.time()
    for i in range(30):
        cache.put(f"kernel {i}", OBJECT)
        os.utime(folder / (cache._name(f"kernel {i}") + ".object"), (now, now - 1000 + i))
    assert [i for i in range(30) if cache.get(f"kernel {i}")] == list(range(30 - len(cache.entries()), 30))
    assert 18 <= len(cache.entries()) <= 20


def test_a_used_entry_is_young_again(folder):
    cache = opened(folder)
    cache.put("kernel", OBJECT)
    path = files(folder)[0]
    old = time.time() - 40 * 86400
    os.utime(path, (old, old))
    assert cache.get("kernel") == OBJECT
    assert time.time() - path.stat().st_mtime < 60


def test_what_a_killed_writer_left_is_removed_after_an_hour(folder, monkeypatch):
    monkeypatch.setattr(disk, "_LOOK", 1)
    cache = opened(folder)
    cache.put("kernel", OBJECT)
    old, new = (folder / f"{'0' * 40}.{i}-1-1.part" for i in range(2))
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (0, time.time() - 2 * 3600))
    cache.put("another", OBJECT)
    assert not old.exists()
    assert new.exists()
    assert len(cache.entries()) == 2


def test_clear_removes_what_is_ours(folder):
    cache = opened(folder)
    for i in range(5):
        cache.put(str(i), OBJECT)
    (folder / "notes.txt").write_text("mine")
    assert cache.clear() == 5
    assert [p.name for p in files(folder)] == ["notes.txt"]
    assert cache.get("1") is None


def test_a_cleared_folder_is_filled_again(folder):
    cache = opened(folder)
    cache.put("1", OBJECT)
    opened(folder).clear()
    cache.put("1", OBJECT)
    assert cache.get("1") == OBJECT


def test_threads_of_one_process(folder):
    cache, wrong = opened(folder), []

    def work(number):
        for i in range(60):
            cache.put(f"kernel {i % 7}", OBJECT + bytes([i % 7]))
            found = cache.get(f"kernel {(i + number) % 7}")
            if found is not None and found != OBJECT + bytes([(i + number) % 7]):
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(files(folder)) == 7


WRITER = """
import sys
from pathlib import Path
from graphc.backends.llvm.cache import Cache
cache = Cache(Path(sys.argv[1]), "x", 1 << 30)
print("ready", flush=True)
for i in range(int(sys.argv[2])):
    data = bytes([i % 251]) * 300000
    found = cache.get(f"kernel {i % 5}")
    assert found is None or len(found) == 300000 and len(set(found)) == 1, "half an entry"
    cache.put(f"kernel {i % 5}", data)
print("done", flush=True)
"""


def writer(folder, turns):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WRITER, str(folder), str(turns)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_that_write_the_same_entries(folder):
    pair = [writer(folder, 300) for _ in range(2)]
    for process in pair:
        out, err = process.communicate(timeout=120)
        assert "done" in out, err
    assert len(files(folder)) == 5


def test_kill_9_while_writing(folder):
    """Whatever was being written: readers see whole entries only, and the next writer goes on."""
    parts = 0
    for turn in range(6):
        process = writer(folder, 10**9)
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.02 + 0.013 * turn)
        process.send_signal(signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        assert "half an entry" not in err
        cache = opened(folder)
        for i in range(5):
            found = cache.get(f"kernel {i}")
            assert found is None or (len(found) == 300000 and len(set(found)) == 1)
        parts += sum(p.suffix == ".part" for p in files(folder))
        assert cache.clear() >= 1
    process = writer(folder, 10)
    assert "done" in process.communicate(timeout=60)[0]


def test_opening_costs_one_listing_whatever_lies_there(folder, monkeypatch):
    """Opening looks at no file: sixty reads are sixty opened files."""
    first = opened(folder, limit=1 << 30)
    for i in range(60):
        first.put(f"kernel {i}", OBJECT + bytes(6000))
    looked = []
    for name in ("stat", "listdir", "scandir", "open"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, real=real, **k: (looked.append(a), real(*a, **k))[1])
    cache = opened(folder)
    assert len(looked) <= 5
    assert all(cache.get(f"kernel {i}") is not None for i in range(60))


# ------------------------------------------------------------------------------------------------ where, and the command


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "cache", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert disk.location() == tmp_path / "graphc" / "objects"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification: such a value is ignored
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert disk.location() == tmp_path / "me" / ".cache" / "graphc" / "objects"
    monkeypatch.setattr(config, "cache", str(tmp_path / "mine"))
    assert disk.location() == tmp_path / "mine" / "objects"
    monkeypatch.setattr(config, "cache", "off")
    assert disk.location() is None


def test_no_home(monkeypatch):
    monkeypatch.setattr(config, "cache", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(disk.Path, "home", no_home)
    assert disk.location() is None


def test_the_command_lists_and_clears(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(config, "cache", str(tmp_path))
    folder = tmp_path / "objects"
    assert cli.main(["cache", "list"]) == 0
    assert "0 objects, 0 bytes" in capsys.readouterr().out
    opened(folder).put("kernel", OBJECT, "softmax f32")
    assert cli.main(["cache", "list"]) == 0
    out = capsys.readouterr().out
    assert "softmax f32" in out and f"1 objects, {files(folder)[0].stat().st_size:,} bytes in {folder}" in out
    assert cli.main(["cache", "clear"]) == 0
    assert f"1 objects removed from {folder}" in capsys.readouterr().out
    assert files(folder) == []
    folder.chmod(0o777)
    assert cli.main(["cache", "list"]) == 1
    assert "refused" in capsys.readouterr().err
    monkeypatch.setattr(config, "cache", "off")
    assert cli.main(["cache", "clear"]) == 0
    assert "there is none" in capsys.readouterr().out


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    """An empty cache that is this process's, and nothing loaded yet."""
    monkeypatch.setattr(config, "cache", str(tmp_path))
    found = Cache(tmp_path / "objects", "test", 1 << 28)
    monkeypatch.setattr(cli, "disk", disk)  # not what a lazy import remembers of it
    monkeypatch.setattr(disk, "opened", lambda: found)
    monkeypatch.setattr(native_code, "_codes", {})
    monkeypatch.setattr(native_code, "_begun", {})
    return found


@pytest.fixture
def saved(tmp_path):
    """A file with a graph of two equal unknown sizes."""
    graph, path = gc.Graph(), str(tmp_path / "model.graphc")
    with graph.as_default():
        x, y = gc.placeholder((None, 8), name="x"), gc.placeholder((None, 8), name="y")
        graph.outputs["out"] = gc.softmax(x * y + 0.123, dim=1)
    gc.save_graph(graph, path)
    return path


def test_the_command_compiles_ahead_what_programs_share(own_cache, capsys):
    assert cli.main(["cache", "warm"]) == 0
    labels = {entry.label for entry in own_cache.entries()}
    assert {"runtime", "large products of float32", "small products of float64", "chains of convolutions"} <= labels
    assert f"{len(labels):,} objects more" in capsys.readouterr().out
    assert cli.main(["cache", "warm"]) == 0
    assert "0 objects more, 0 bytes" in capsys.readouterr().out


def test_the_command_compiles_saved_graphs_ahead(own_cache, saved, capsys, monkeypatch):
    assert cli.main(["cache", "warm", saved, "--size", "x_0=16"]) == 0
    before = {entry.name for entry in own_cache.entries()}
    monkeypatch.setattr(native_code, "_codes", {})
    with gc.Session(gc.load_graph(saved), backend="llvm") as session:
        graph, x = session.graph, np.ones((16, 8), np.float32)
        session.run(graph.outputs["out"], {"x": x, "y": x})
    assert {entry.name for entry in own_cache.entries()} == before
    assert cli.main(["cache", "warm", saved, "--size", "y_0=16"]) == 0
    assert "0 objects more" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ([], "model.graphc has unknown sizes"),
        (["x_0=3", "y_0=4"], "sizes disagree: y_0 is 4, x_0 is 3"),
        (["x_0=3", "rows=4"], "no file has a size rows"),
    ],
)
def test_sizes_that_are_missing_wrong_or_nobodys(own_cache, saved, capsys, sizes, text):
    assert cli.main(["cache", "warm", saved, *(word for size in sizes for word in ("--size", size))]) == 1
    assert text in capsys.readouterr().err


def test_what_cannot_be_warmed(own_cache, monkeypatch, capsys):
    assert cli.main(["cache", "warm", "nowhere.graphc"]) == 1
    assert "nowhere.graphc" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["cache", "warm", "--size", "x_0=many"])
    assert "must be NAME=N, N a whole number, not 'x_0=many'" in capsys.readouterr().err
    monkeypatch.setattr(disk, "opened", lambda: Cache(None, "test", 1))
    assert cli.main(["cache", "warm"]) == 1
    assert "there is none" in capsys.readouterr().err


def test_the_command_wants_an_action(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["cache"])
    assert ended.value.code == 2
    assert "ACTION" in capsys.readouterr().err
