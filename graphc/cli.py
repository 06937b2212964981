"""The `graphc` command."""

from __future__ import annotations

import argparse
import functools
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from graphc import version
from graphc.core.errors import BackendError, GraphcError, PeerError, is_internal, show_file
from graphc.core.lazy import lazy_import

contrasting = lazy_import("graphc.contrast")
demo = lazy_import("graphc.demo")
doctor = lazy_import("graphc.doctor")
groups = lazy_import("graphc.distributed.groups")
coverage = lazy_import("graphc.porting.coverage")
report = lazy_import("graphc.porting.report")
script = lazy_import("graphc.porting.script")
disk = lazy_import("graphc.backends.llvm.cache")
step_files = lazy_import("graphc.step_files")
measuring = lazy_import("graphc.profiler.measuring")
launching = lazy_import("graphc.distributed.run")
warming = lazy_import("graphc.warming")

DEMO = """\
Trains one small net on 1,437 real handwritten digits three times: eagerly, compiled, and as a graph in a session, from the
same weights and with the same batches. Compares accuracy, times, memory and the final weights, and draws the graphs.
Exit code 1 if a door is less than 95 % accurate (not asked with --quick) or the doors disagree."""

RUN = """\
Runs a PyTorch script, unchanged, on graphc: every `import torch...` in it is answered by graphc's module of that name.
What follows FILE.py is the script's own, as is the exit code."""

PORT = """\
Reads scripts without running them and lists every name of PyTorch and torchvision they use: it works, it differs, or it is
missing, with what to do. Exit code 1 if any is missing. Methods of tensors are recognised by their names, as far as objects of
no other type have them."""

CONTRAST = """\
Runs a script up to the second call of its training step (a function `step`, `train_step` or `training_step`, or the one that
--step names), then runs that step define-by-run and define-and-run from the same start, and writes what it saw as one page of
HTML: times call by call, the tape and the program after each pass, kernels with their code, costs by line, memory, losses.
Prints a summary. Options of the script itself follow `--`. Exit code 1 if the losses of both ways disagree."""

DOCTOR = """\
Lists every backend and device, with versions and limits, and has each run a small program. Where one does not work, a sentence
says what helps. Exit code 1 if `numpy` or `llvm` does not work."""

PROFILE = """\
Runs a script, finds its training step (its function `step`, `train_step` or `training_step`, at any depth) with the arguments
of its last call, and measures more calls of it: by source line, by op or kernel, and what the measuring costs. What follows
`--` is the script's own."""

CACHE = """\
Compiled objects are kept on disk and shared by all programs of a user, so that only the first one waits for the compiler.
`list` tells where and what they are, `clear` removes them, `warm` compiles ahead what programs share (the runtime, products)
and the programs of saved graphs. GRAPHC_CACHE=DIR puts them elsewhere, GRAPHC_CACHE=off nowhere."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `graphc` with these arguments (default: the process's); returns the exit code.

    Wrong usage raises SystemExit(2), as argparse does.
    """
    given = sys.argv[1:] if argv is None else argv
    own, others = _divided(given) if given[:1] in (["contrast"], ["profile"]) else (given, [])
    parser = _parser(given[:1] == ["launch"])
    options = parser.parse_args(own)
    if options.command == "demo":
        return _demo(options)
    if options.command == "run":
        return run_script(options.file, options.args)
    if options.command == "launch":
        return int(launching.launch(options))
    if options.command == "profile":
        return _profile(options, others)
    if options.command == "port":
        return _port(options, parser)
    if options.command == "cache":
        return _warm(options.files, dict(options.size)) if options.action == "warm" else _cache(options.action)
    if options.command == "contrast":
        return _contrast(options, others)
    if options.command == "doctor":
        return int(doctor.main())
    parser.print_help()
    return 0


def _parser(launches: bool) -> argparse.ArgumentParser:
    """`launches`: whether the options of `graphc launch` are asked for."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "graphc", description="One model, two ways to run it: define-by-run and define-and-run."
    )
    text = f"graphc {version.release} (API of PyTorch {version.follows})"
    parser.add_argument("--version", action="version", version=text)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    show = commands.add_parser(
        "demo", help="learn handwritten digits in three ways and compare", description=DEMO, formatter_class=layout
    )
    show.add_argument(
        "--dtype", choices=("float32", "float64"), default="float32", help="of weights and images (float32)"
    )
    show.add_argument("--quick", action="store_true", help="few epochs: only whether the doors agree is checked")
    show.add_argument("--backend", help="of the compiled and the session door (llvm)")
    show.add_argument("--epochs", type=_positive, help="how often to go through the data (40, with --quick 2)")
    show.add_argument("--seed", type=int, default=0, help="of weights and batches (0)")
    show.add_argument(
        "--out", type=Path, default=Path("graphc-demo"), metavar="DIR", help="for the pictures (./graphc-demo)"
    )
    run = commands.add_parser("run", help="run a PyTorch script on graphc", description=RUN, formatter_class=layout)
    run.add_argument("file", metavar="FILE.py", help="the script")
    run.add_argument("args", nargs=argparse.REMAINDER, metavar="...", help="arguments of the script")
    launch = commands.add_parser("launch", help="run a script in several processes, as torchrun does")
    if launches:
        launch.description = launching.ABOUT
        launching.add_arguments(launch)
    _add_profile(commands)
    port = commands.add_parser(
        "port",
        help="which names of PyTorch a script uses, and which graphc has",
        description=PORT,
        formatter_class=layout,
    )
    port.add_argument("files", nargs="*", metavar="FILE.py", help="the scripts")
    port.add_argument("--json", action="store_true", help="for programs: one JSON object a script")
    port.add_argument("--coverage", action="store_true", help="instead: the page of all of PyTorch's public names")
    _add_contrast(commands.add_parser(
        "contrast", help="a training step both ways, side by side, as a page", description=CONTRAST, formatter_class=layout,
        usage="graphc contrast [OPTIONS] FILE.py [-- ...]",
    ))  # fmt: skip
    commands.add_parser(
        "doctor", help="what works on this machine, and what helps where it does not", description=DOCTOR,
        formatter_class=layout,
    )  # fmt: skip
    cache = commands.add_parser("cache", help="compiled objects on disk", description=CACHE, formatter_class=layout)
    actions = cache.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="where they are, and each with its size and last use")
    actions.add_parser("clear", help="remove them all")
    warm = actions.add_parser("warm", help="compile ahead what programs share, and the programs of saved graphs")
    warm.add_argument("files", nargs="*", metavar="FILE", help="graphs that gc.save_graph wrote")
    text = "of what is unknown in the files, by the name that graphc gives it; may be repeated"
    warm.add_argument("--size", action="append", default=[], type=_size, metavar="NAME=N", help=text)
    return parser


def _add_contrast(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.py", help="the script")
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("contrast.html"), metavar="PAGE", help="(./contrast.html)"
    )
    parser.add_argument("--step", metavar="NAME", help="the function that is the step")
    parser.add_argument("--calls", type=_several, default=20, metavar="N", help="of the step, each way (20)")
    parser.add_argument("--backend", help="of the compiled step (llvm)")
    parser.add_argument("--programs", type=Path, metavar="DIR", help="for the step written out both ways, as scripts")


def _add_profile(commands: Any) -> None:
    """The arguments of `graphc profile`."""
    profile = commands.add_parser(
        "profile", help="where the time of a script's training step goes", description=PROFILE,
        formatter_class=argparse.RawDescriptionHelpFormatter, usage="graphc profile [OPTIONS] FILE.py [-- ...]",
    )  # fmt: skip
    profile.add_argument("file", metavar="FILE.py", help="the script")
    profile.add_argument("--step", metavar="NAME", help="the function to measure, plain or qualified")
    profile.add_argument(
        "--after", type=_positive, metavar="N", help="end the script when the step was called so often"
    )
    profile.add_argument("--calls", type=_positive, default=20, metavar="N", help="how many calls are measured (20)")
    profile.add_argument("--backend", metavar="NAME", help="compile the step for it (llvm, numpy, opencl, cuda)")
    profile.add_argument("--trace", metavar="FILE", help="also write a trace for chrome://tracing or ui.perfetto.dev")


def _divided(given: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Arguments before `--`, and those of the script behind it."""
    at = list(given).index("--") if "--" in given else len(given)
    return given[:at], given[at + 1 :]


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, not {text!r}")
    return int(text)


def _several(text: str) -> int:
    if _positive(text) < 2:
        raise argparse.ArgumentTypeError("must be at least 2: the first call of a compiled step builds it")
    return int(text)


def _size(text: str) -> tuple[str, int]:
    name, equals, number = text.partition("=")
    if not name or not equals or not number.isdigit():
        raise argparse.ArgumentTypeError(f"must be NAME=N, N a whole number, not {text!r}")
    return name, int(number)


def _demo(options: argparse.Namespace) -> int:
    settings: dict[str, Any] = {k: v for k, v in vars(options).items() if k != "command"}
    try:
        return int(demo.run(demo.Settings(**settings)))
    except (BackendError, OSError) as error:
        print(f"graphc demo: {error}", file=sys.stderr)
        return 2


def _contrast(options: argparse.Namespace, args: Sequence[str]) -> int:
    """`graphc contrast`; `args`: the script's own."""
    file = options.file
    try:
        found = step_files.load_step(file, options.step, args, after=1)
        title = f"{Path(file).name}: {found.name}"
        seen = contrasting.contrast_call(found.fn, found.args, found.kwargs, options.calls, options.backend, title)
        print(seen)
        seen.to_html(options.out)
        if options.programs is not None:
            seen.write_programs(options.programs)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        _say("contrast", error, file, args)
        return 130 if isinstance(error, KeyboardInterrupt) else 2
    print(f"\nwritten: {options.out}" + (f" and scripts in {options.programs}" if options.programs else ""))
    return int(seen.data["summary"]["agree"] is False)


def _profile(options: argparse.Namespace, args: Sequence[str]) -> int:
    """`graphc profile`."""
    try:
        found = step_files.load_step(options.file, options.step, args, options.after)
        step = functools.partial(found.fn, *found.args, **found.kwargs)
        profile = measuring.profile(
            functools.update_wrapper(step, found.fn), calls=options.calls, backend=options.backend
        )
        print(profile)
        if options.trace:
            profile.export_chrome_trace(options.trace)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        of_script = _say("profile", error, options.file, args)
        return 130 if isinstance(error, KeyboardInterrupt) else 1 if of_script else 2
    return 0


def _port(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """`graphc port`."""
    if bool(options.files) == options.coverage:
        parser.error("port: give scripts, or --coverage")
    if options.coverage:
        print(coverage.page(), end="")
        return 0
    code = 0
    for file in options.files:
        try:
            entries = report.entries_of(script.uses_in(Path(file).read_bytes(), file))
        except (OSError, SyntaxError, ValueError) as error:
            print(f"graphc port: {file}: {error}", file=sys.stderr)
            return 2
        print(report.as_json(file, entries) if options.json else report.as_text(file, entries))
        code = max(code, int(any(entry.status == report.MISSES for entry in entries)))
    return code


def _cache(action: str) -> int:
    """`graphc cache list` and `graphc cache clear`."""
    cache = disk.for_listing()
    if cache.folder is None:
        print("graphc cache: there is none (GRAPHC_CACHE is off, or there is no home)")
        return 0
    try:
        if action == "clear":
            print(f"{cache.clear():,} objects removed from {cache.folder}")
            return 0
        entries = cache.entries()
    except OSError as error:
        print(f"graphc cache: {cache.folder}: {error.strerror or error}", file=sys.stderr)
        return 1
    for entry in entries:
        used = time.strftime("%Y-%m-%d", time.localtime(entry.used))
        print(f"{entry.name[:12]}  {entry.size:>9,} bytes  used {used}  {entry.label}".rstrip())
    print(f"{len(entries):,} objects, {sum(e.size for e in entries):,} bytes in {cache.folder}")
    return 0


def _warm(files: Sequence[str], sizes: dict[str, int]) -> int:
    """`graphc cache warm`."""
    cache = disk.opened()
    if cache.folder is None:
        print("graphc cache: there is none (GRAPHC_CACHE is off, or there is no home)", file=sys.stderr)
        return 1
    try:
        before = {entry.name for entry in cache.entries()}
        warming.warm_common()
        warming.warm_files(files, sizes)
        new = [entry for entry in cache.entries() if entry.name not in before]
    except (GraphcError, OSError) as error:
        print(f"graphc cache: {error}", file=sys.stderr)
        return 1
    print(f"{len(new):,} objects more, {sum(e.size for e in new):,} bytes, in {cache.folder}")
    return 0


def run_script(file: str, args: Sequence[str]) -> int:
    """Runs a Python file as `__main__` with torch answered by graphc; returns the exit code.

    As Python does: `sys.argv` is the file and its arguments, the file's folder comes first on `sys.path`, an error's
    traceback goes to stderr, beginning at the script. SystemExit passes through.
    """
    try:
        source = Path(file).read_bytes()
    except OSError as error:
        print(f"graphc run: cannot open {file!r}: {error.strerror}", file=sys.stderr)
        return 2
    try:
        with step_files.as_main(file, args) as module:
            exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
    except (Exception, KeyboardInterrupt) as error:
        _show(error, file)
        if "graphc.distributed.groups" in sys.modules:
            groups.give_up()
            if isinstance(error, PeerError):
                return int(groups.PEER_GONE)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _say(command: str, error: BaseException, file: str, args: Sequence[str]) -> bool:
    """Prints why a command with a script ends: an error of the script with its traceback, one of the command's own in words.
    Gives whether it is the script's."""
    if isinstance(error, SystemExit):
        text = f"{error.code}\n" if isinstance(error.code, str) else ""
        more = "" if args else "; options of the script itself follow `--`"
        print(f"{text}graphc {command}: {file} exited before its step could be taken{more}", file=sys.stderr)
    elif _first_frame(error, file) is not None or not isinstance(error, GraphcError | OSError):
        _show(error, file)
        return True
    elif isinstance(error, OSError):
        print(f"graphc {command}: {error.filename or file}: {error.strerror or error}", file=sys.stderr)
    else:
        if not error.line.startswith(f"{show_file(file)}:"):
            error.line = ""  # nobody's of the user
        print(f"graphc {command}: {error}", file=sys.stderr)
    return False


def _first_frame(error: BaseException, file: str) -> TracebackType | None:
    """Where a traceback enters the script."""
    first = error.__traceback__
    while first is not None and first.tb_frame.f_code.co_filename != file:
        first = first.tb_next
    return first


def _show(error: BaseException, file: str) -> None:
    """Prints the traceback from the script's first frame on; for errors graphc raises on purpose, without its own frames."""
    first = _first_frame(error, file)
    report = traceback.TracebackException(type(error), error, first, compact=True)
    if isinstance(error, GraphcError):
        report.stack[:] = [frame for frame in report.stack if not is_internal(frame.filename)]
    sys.stdout.flush()
    print("".join(report.format()), end="", file=sys.stderr)


__all__ = ["main", "run_script"]
