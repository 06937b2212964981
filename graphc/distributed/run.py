"""`graphc launch` and `python -m graphc.distributed.run`: one script in several processes, as torchrun starts it.

Each process gets RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT, with which `init_process_group`
joins it to the others, and a key that only these processes know. When one ends by an error, the others are ended too.
"""

from __future__ import annotations

import argparse
import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from graphc.distributed.groups import PEER_GONE

ABOUT = """\
Runs a script in several processes of this machine, on graphc (as `graphc run` does). What follows FILE is the script's own.
When a process ends by an error the others are ended, and the error says which one it was; the exit code is 1 then."""

#: Seconds an error of another process is waited for, and that a process has to end by itself when it is told to.
GRACE_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """torchrun's everyday options, with dashes or underscores."""

    def option(name: str, **rest: Any) -> None:
        parser.add_argument(*dict.fromkeys((name, "--" + name[2:].replace("-", "_"))), **rest)

    option("--nproc-per-node", type=_count, default=1, metavar="N", help="processes; auto, cpu: one for each CPU")
    option("--nnodes", type=_one_node, default=1, help="machines: 1")
    option("--node-rank", type=int, default=0, help="number of this machine: 0")
    option("--standalone", action="store_true", help="meet at a free port of this machine")
    option("--master-addr", default="127.0.0.1", metavar="HOST", help="where process 0 listens (127.0.0.1)")
    option("--master-port", type=int, metavar="PORT", help="at which port (29500, or a free one)")
    option("--rdzv-backend", help="accepted: processes meet as env:// says")
    option("--rdzv-endpoint", metavar="HOST:PORT", help="the same as --master-addr and --master-port")
    option("--rdzv-id", default="graphc", metavar="NAME", help="what TORCHELASTIC_RUN_ID says")
    option("--max-restarts", type=_no_restarts, default=0, help="0: a model's state is not known after an error")
    parser.add_argument("-m", "--module", action="store_true", help="FILE is the name of a module, as for python -m")
    option("--no-python", action="store_true", help="FILE is a program, which need not be Python's")
    parser.add_argument("file", metavar="FILE", help="the script")
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="...", help="arguments of the script")


def _count(text: str) -> int:
    if text in ("auto", "cpu"):
        return len(os.sched_getaffinity(0))
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, or auto, not {text!r}")
    return int(text)


def _one_node(text: str) -> int:
    if text not in ("1", "1:1"):
        raise argparse.ArgumentTypeError(
            f"{text}: graphc launch starts processes on one machine; use mpiexec for several (graphc[mpi])"
        )
    return 1


def _no_restarts(text: str) -> int:
    if text != "0":
        raise argparse.ArgumentTypeError("processes are not started again: load a checkpoint in a new run")
    return 0


def launch(options: argparse.Namespace) -> int:
    """Starts the processes and waits for them; 0 if all ended well, 1 if one did not, 130 after an interrupt."""
    host, port = _endpoint(options)
    if options.module and options.no_python:
        print("graphc launch: --module and --no-python exclude each other", file=sys.stderr)
        return 2
    if options.no_python:
        command = [options.file]
    elif options.module:
        command = [sys.executable, "-u", "-c", _MODULE, options.file]
    else:
        command = [sys.executable, "-u", "-m", "graphc", "run", options.file]
    command += options.args
    common = {
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
        "GRAPHC_AUTHKEY": os.environ.get("GRAPHC_AUTHKEY") or secrets.token_hex(32),
        "TORCHELASTIC_RUN_ID": options.rdzv_id,
    }
    environments = [
        {**os.environ, **common, **_ranks(r, options.nproc_per_node)} for r in range(options.nproc_per_node)
    ]
    return _Processes(command, environments).run()


#: `python -m` of a module, with torch answered by graphc
_MODULE = (
    "import runpy, sys; from graphc import as_torch; sys.argv = sys.argv[1:]; "
    "sys.path.insert(0, ''); runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def _endpoint(options: argparse.Namespace) -> tuple[str, int]:
    host, port = options.master_addr, options.master_port
    if options.rdzv_endpoint:
        host, _, text = options.rdzv_endpoint.partition(":")
        port = int(text) if text.isdigit() else port
    if not port and (options.standalone or options.rdzv_endpoint):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
    return host or "127.0.0.1", port or 29500


def _ranks(rank: int, size: int) -> dict[str, str]:
    """What tells a process who it is; and its share of the CPUs, where the user has not said otherwise."""
    found = {name: str(rank) for name in ("RANK", "LOCAL_RANK", "ROLE_RANK")}
    found |= {name: str(size) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "ROLE_WORLD_SIZE")}
    found |= {"GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1"}
    found |= {"TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_MAX_RESTARTS": "0"}
    share = str(max(1, len(os.sched_getaffinity(0)) // size))
    for name in ("GRAPHC_THREADS", "OMP_NUM_THREADS"):
        if size > 1 and not os.environ.get(name):
            found[name] = share
    return found


class _Processes:
    """The processes of a launch."""

    def __init__(self, command: Sequence[str], environments: Sequence[Mapping[str, str]]):
        self.command, self.environments = command, environments
        self.started: list[subprocess.Popen[bytes]] = []
        #: (rank, exit code) of each that ends, in that order; (-1, signal) for a signal that this process gets
        self.ended: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()

    def run(self) -> int:
        """Starts all, waits for all, and ends all when one fails."""
        before = {
            s: signal.signal(s, lambda number, frame: self.ended.put((-1, number)))
            for s in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            for rank, environ in enumerate(self.environments):
                process = subprocess.Popen(self.command, env=dict(environ))
                self.started.append(process)
                threading.Thread(target=self._watch, args=(rank, process), daemon=True).start()
            return self._wait()
        except OSError as error:
            print(f"graphc launch: cannot start {self.command[0]!r}: {error.strerror}", file=sys.stderr)
            return 2
        finally:
            self._end_all()
            for s, handler in before.items():
                signal.signal(s, handler)

    def _wait(self) -> int:
        """Until all have ended well, or one has not. One whose peer has gone is not at fault: the other ends soon."""
        first: tuple[int, int] | None = None
        for _ in self.started:
            try:
                rank, code = self.ended.get(timeout=None if first is None else GRACE_S)
            except queue.Empty:
                break
            if rank < 0:
                return 128 + code
            if code and (first is None or code != PEER_GONE):
                first = rank, code
            if first is not None and first[1] != PEER_GONE:
                break
        if first is None:
            return 0
        self._tell(*first)
        return 1

    def _watch(self, rank: int, process: subprocess.Popen[bytes]) -> None:
        self.ended.put((rank, process.wait()))

    def _tell(self, rank: int, code: int) -> None:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        how += ", as another process had gone" if code == PEER_GONE else ""
        pid = self.started[rank].pid
        others = "; the others are ended" if len(self.started) > 1 else ""
        print(f"graphc launch: rank {rank} (process {pid}) {how}{others}", file=sys.stderr, flush=True)

    def _end_all(self) -> None:
        """Asks those that still run to end, and after a while does not ask any more."""
        for process in self.started:
            if process.poll() is None:
                process.terminate()
        for process in self.started:
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m graphc.distributed.run`; returns the exit code."""
    parser = argparse.ArgumentParser("graphc.distributed.run", description=ABOUT)
    add_arguments(parser)
    return launch(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())

__all__ = ["add_arguments", "launch", "main"]
