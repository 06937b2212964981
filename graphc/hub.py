"""`torch.hub`: fetches code and weights from the network and runs them, which graphc does not."""

from __future__ import annotations

from typing import Any, NoReturn

from graphc.core.errors import BackendError


def _refused(name: str) -> Any:
    """A function that raises BackendError and says what to do instead."""

    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise BackendError(
            f"torch.hub.{name}: graphc fetches neither code nor weights; download the file yourself, and use "
            "model.load_state_dict(torch.load(path))"
        )

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


load = _refused("load")
load_state_dict_from_url = _refused("load_state_dict_from_url")
download_url_to_file = _refused("download_url_to_file")

__all__ = ["download_url_to_file", "load", "load_state_dict_from_url"]
