"""`torch.utils.tensorboard`: `SummaryWriter` over TensorBoard's own event files (the extra `tensorboard`)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np

from graphc.core.arrays import host
from graphc.core.errors import ArgumentError, ArgumentTypeError
from graphc.core.lazy import lazy_import
from graphc.core.tape import TensorBase
from graphc.utils.tensorboard.summaries import HINT, graph_of, histogram, picture

_writers = lazy_import("tensorboard.summary.writer.event_file_writer", HINT)
_events = lazy_import("tensorboard.compat.proto.event_pb2", HINT)
_summaries = lazy_import("tensorboard.compat.proto.summary_pb2", HINT)
_tensors = lazy_import("tensorboard.compat.proto.tensor_pb2", HINT)
_shapes = lazy_import("tensorboard.compat.proto.tensor_shape_pb2", HINT)
_hparams = lazy_import("tensorboard.plugins.hparams.summary_v2", HINT)


def _array(x: Any) -> Any:
    """The numbers of a tensor, an array or a list."""
    if isinstance(x, TensorBase):
        return np.asarray(host(x.detach()._data)).astype(np.float64 if x.dtype.is_floating_point else x.dtype.np)  # type: ignore[attr-defined]
    return np.asarray(x)


def _number(x: Any) -> float:
    found = _array(x)
    if found.size != 1:
        raise ArgumentError(f"a scalar must have one element, got shape {list(found.shape)}")
    return float(found.reshape(()))


class SummaryWriter:
    """Writes numbers, histograms, pictures and texts for TensorBoard into `log_dir` (else `runs/DATE_HOST` and `comment`).

    ImportError, with what to install, where tensorboard is not there.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
    ):
        if not log_dir:
            log_dir = os.path.join("runs", f"{datetime.now():%b%d_%H-%M-%S}_{socket.gethostname()}{comment}")
        self.log_dir = os.fspath(log_dir)
        self._options = (max_queue, flush_secs, filename_suffix)
        self._files: dict[str, Any] = {}
        self._file(self.log_dir)
        if purge_step is not None:
            start = _events.SessionLog(status=_events.SessionLog.START)
            self._write(_events.Event(file_version="brain.Event:2"), purge_step, None)
            self._write(_events.Event(session_log=start), purge_step, None)

    def _file(self, folder: str) -> Any:
        found = self._files.get(folder)
        if found is None:
            found = self._files[folder] = _writers.EventFileWriter(folder, *self._options)
        return found

    def _write(self, event: Any, step: Any, walltime: float | None, folder: str | None = None) -> None:
        event.wall_time = time.time() if walltime is None else walltime
        if step is not None:
            event.step = int(_number(step))
        self._file(folder or self.log_dir).add_event(event)

    def _add(self, value: Any, step: Any, walltime: float | None, folder: str | None = None) -> None:
        self._write(_events.Event(summary=_summaries.Summary(value=[value])), step, walltime, folder)

    def get_logdir(self) -> str:
        """The folder."""
        return self.log_dir

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: Any = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        """One number."""  # fmt: skip
        self._add(_summaries.Summary.Value(tag=tag, simple_value=_number(scalar_value)), global_step, walltime)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: Mapping[str, Any], global_step: Any = None, walltime: float | None = None
    ) -> None:
        """Several numbers for one plot, each in a folder of its own."""
        for tag, value in tag_scalar_dict.items():
            folder = os.path.join(self.log_dir, f"{main_tag.replace('/', '_')}_{tag}")
            self._add(
                _summaries.Summary.Value(tag=main_tag, simple_value=_number(value)), global_step, walltime, folder
            )

    def add_histogram(
        self,
        tag: str,
        values: Any,
        global_step: Any = None,
        bins: Any = "tensorflow",
        walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:
        """How numbers are distributed; `bins` as `numpy.histogram` takes them, or "tensorflow"."""  # fmt: skip
        made = histogram(_array(values), bins, max_bins)
        self._add(_summaries.Summary.Value(tag=tag, histo=made), global_step, walltime)

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: Any = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """A picture: [C, H, W], or as `dataformats` says; whole numbers to 255, or numbers from 0 to 1."""
        self._add(
            _summaries.Summary.Value(tag=tag, image=picture(_array(img_tensor), dataformats)), global_step, walltime
        )

    def add_images(
        self,
        tag: str,
        img_tensor: Any,
        global_step: Any = None,
        walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:
        """A batch of pictures, in rows of eight."""
        self.add_image(tag, img_tensor, global_step, walltime, dataformats)

    def add_figure(
        self, tag: str, figure: Any, global_step: Any = None, close: bool = True, walltime: float | None = None
    ) -> None:
        """A figure of matplotlib's, or a list of them."""
        figures = figure if isinstance(figure, list) else [figure]
        drawn = []
        for each in figures:
            each.canvas.draw()
            drawn.append(np.asarray(each.canvas.buffer_rgba())[..., :3])
            if close:
                each.clear()
        self.add_image(tag, np.concatenate(drawn, 1), global_step, walltime, "HWC")

    def add_text(self, tag: str, text_string: str, global_step: Any = None, walltime: float | None = None) -> None:
        """A text, in Markdown."""
        plugin = _summaries.SummaryMetadata.PluginData(plugin_name="text")
        shape = _shapes.TensorShapeProto(dim=[_shapes.TensorShapeProto.Dim(size=1)])
        tensor = _tensors.TensorProto(dtype="DT_STRING", string_val=[text_string.encode()], tensor_shape=shape)
        metadata = _summaries.SummaryMetadata(plugin_data=plugin)
        value = _summaries.Summary.Value(tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor)
        self._add(value, global_step, walltime)

    def add_hparams(
        self,
        hparam_dict: Mapping[str, Any],
        metric_dict: Mapping[str, Any],
        hparam_domain_discrete: Any = None,
        run_name: str | None = None,
        global_step: Any = None,
    ) -> None:
        """The settings of a run and what came of it, in a folder of their own."""  # fmt: skip
        if not isinstance(hparam_dict, Mapping) or not isinstance(metric_dict, Mapping):
            raise ArgumentTypeError("hparam_dict and metric_dict should be dictionary.")
        folder = os.path.join(self.log_dir, run_name or str(time.time()))
        plain = {k: v if isinstance(v, str | bool | int | float) else _number(v) for k, v in hparam_dict.items()}
        self._write(_events.Event(summary=_hparams.hparams_pb(plain)), None, None, folder)
        for tag, value in metric_dict.items():
            self._add(_summaries.Summary.Value(tag=tag, simple_value=_number(value)), global_step, None, folder)

    def add_graph(
        self, model: Any, input_to_model: Any = None, verbose: bool = False, use_strict_trace: bool = True
    ) -> None:
        """What a module, in eval mode, does with these inputs; its ops are nodes under the paths of their modules.

        `verbose` prints it. ArgumentError without inputs.
        """
        if input_to_model is None:
            raise ArgumentError("SummaryWriter.add_graph: the model is traced with inputs: give input_to_model")
        found = graph_of(model, input_to_model)
        if verbose:
            print(found)
        self._write(_events.Event(graph_def=found.SerializeToString()), None, None)

    def flush(self) -> None:
        """Sees to it that all is on disk."""
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        """Ends the files; more can be written, into new ones."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


__all__ = ["SummaryWriter"]
