"""The history of a training for TensorBoard, written by tensorboardX (`pip install 'majuscule[tensorboard]'`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


class TensorBoard:
    """Writes numbers to a folder that `tensorboard --logdir FOLDER` shows; ImportError without tensorboardX."""

    def __init__(self, folder: str | os.PathLike[str], *, after: int | None = None) -> None:
        """Write to a folder; what it has of steps later than `after` is not shown any more."""
        from tensorboardX import SummaryWriter

        self._writer: Any = SummaryWriter(os.fspath(folder), purge_step=None if after is None else after + 1)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name after a step."""
        for name, value in values.items():
            self._writer.add_scalar(name.replace(" ", "/"), value, step)  # it takes no spaces

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Bring everything to the disk."""
        self._writer.close()
