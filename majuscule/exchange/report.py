"""What was matched between a file of weights and a program, and what was left, for people and for tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_MOST_NAMES = 4


@dataclass(frozen=True)
class Pair:
    """A tensor of PyTorch and the weights of the program that it is, with their shapes.

    `how` they were matched: by `name`, by a `rule` of the user, or in `order`.
    """

    tensor: str
    shape: tuple[int, ...]
    weights: tuple[str, ...]
    weight_shapes: tuple[tuple[int, ...], ...]
    how: str

    def __str__(self) -> str:
        weights = ", ".join(f"{n} {list(shape)}" for n, shape in zip(self.weights, self.weight_shapes, strict=True))
        return f"{shown(self.tensor)} {list(self.shape)} is {weights}"


@dataclass(frozen=True)
class Report:
    """The pairs, and why tensors of the file and weights of the program are in none."""

    pairs: tuple[Pair, ...]
    left_in_file: Mapping[str, str]
    left_in_program: Mapping[str, str]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, *, every: bool = False) -> Iterator[str]:
        """The report as text; with every pair, or only how many there are."""
        counts = {how: sum(pair.how == how for pair in self.pairs) for how in ("name", "rule", "order")}
        ways = {"name": "by name", "rule": "by rules", "order": "in order"}
        told = ", ".join(f"{count} {ways[how]}" for how, count in counts.items() if count) or "none"
        yield f"matched: {told}"
        if every:
            yield from (f"  {pair}" for pair in self.pairs)
        for side, left in (("file", self.left_in_file), ("program", self.left_in_program)):
            if left:
                yield f"left in the {side}:"
            for reason, names in by_reason(left).items():
                yield f"  {_listed(names)}: {reason}"

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        pairs = [
            {
                "tensor": pair.tensor,
                "shape": list(pair.shape),
                "weights": {n: list(shape) for n, shape in zip(pair.weights, pair.weight_shapes, strict=True)},
                "how": pair.how,
            }
            for pair in self.pairs
        ]
        left = {"left_in_file": dict(self.left_in_file), "left_in_program": dict(self.left_in_program)}
        return {"matched": pairs, **left}


def by_reason(left: Mapping[str, str]) -> dict[str, list[str]]:
    """Reasons, each with the names for which it holds."""
    found: dict[str, list[str]] = {}
    for name, reason in left.items():
        found.setdefault(reason, []).append(name)
    return found


def shown(name: str) -> str:
    """A name from a file, without characters that would do something to a terminal."""
    return name if name.isprintable() else ascii(name)


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(map(shown, names[:_MOST_NAMES])) + (f" and {more} more" if more > 0 else "")
