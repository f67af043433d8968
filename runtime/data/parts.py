"""Parts of a source of data: what is trained with, and what is held out, told apart by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

PARTS = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test", "t10k": "test",
}  # fmt: skip
"""What parts are called, and our name for each."""

Value = TypeVar("Value")


def by_part(values: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
    """Arrays of several parts, told apart by their names: `x_train`, `train-images`, `image_test`.

    What names no part is of "train" if others are of a part, else of "", the whole.
    """
    found: dict[str, dict[str, Value]] = {}
    for name, value in values.items():
        part, column = _part_of(name)
        found.setdefault(part, {})[column] = value
    if "" in found and len(found) > 1 and "train" not in found:
        found["train"] = found.pop("")
    return found


def _part_of(name: str) -> tuple[str, str]:
    words = re.split(r"[-_. ]+", name)
    parts = [word for word in words if word.lower() in PARTS]
    rest = [word for word in words if word.lower() not in PARTS]
    return (PARTS[parts[0].lower()], "_".join(rest)) if len(parts) == 1 and rest else ("", name)
