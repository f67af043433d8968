"""Data on the command line: which files, which of their parts, and how they become inputs of a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .failures import Failure, warn

if TYPE_CHECKING:
    from ..dsl.equations import Program
    from ..runtime.data import Dataset, Normalisation
    from ..runtime.signature import TensorInfo

DataOption = Annotated[
    list[str],
    typer.Option(
        "--data", "-d", metavar="[NAME=]PATH",
        help="A .npz file, a folder of pictures by class, MNIST's or CIFAR-10's files, or .npy files one by one.",
    ),
]  # fmt: skip
ResizeOption = Annotated[bool, typer.Option("--resize", help="Scale pictures to the size of the input.")]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Stop at a broken picture or an impossible label instead of leaving it out.")
]


class DataReader:
    """Opens data as a program takes them; `strict` and `resize` are the options of those names."""

    def __init__(self, program: Program, *, resize: bool, strict: bool) -> None:
        """Raises `Failure` for a program that takes nothing."""
        self._inputs, self._limits = program_inputs(program)
        self._resize = resize
        self._strict = strict

    def read(self, sources: Sequence[str], *parts: str) -> list[Dataset | None]:
        """Each of these parts of some data, as far as they have it; raises `DataError`.

        Where the data have no parts, the first one is the whole.
        """
        from ..runtime.data import Problems, match_inputs
        from ..runtime.data.sources import WHOLE, open_parts

        found = open_parts(sources, problems=Problems(strict=self._strict, report=warn))
        found = {parts[0] if part == WHOLE else part: dataset for part, dataset in found.items()}
        return [
            match_inputs(found[part], self._inputs, classes=self._limits, resize=self._resize)
            if part in found
            else None
            for part in parts
        ]

    def first(self, sources: Sequence[str], *parts: str) -> Dataset:
        """The first of these parts that the data have; raises `DataError`, `Failure` if they have none."""
        found = next((dataset for dataset in self.read(sources, *parts) if dataset is not None), None)
        if found is None:
            raise Failure(f"{' '.join(sources)} has no part for {' or '.join(parts)}")
        return found


def program_inputs(program: Program) -> tuple[list[TensorInfo], dict[str, int]]:
    """What a program takes, and how many values its labels may have, by input; raises `Failure` if it takes nothing."""
    from ..compiler.codegen.inputs import describe
    from ..compiler.codegen.sizes import encode_shape
    from ..runtime.signature import describe_tensor

    entries: list[dict[str, Any]] = []
    for name in program.inputs:
        tensor = program.tensor(name)
        own = {"name": name, "shape": encode_shape(tensor.shape), "dtype": tensor.dtype}
        entries.append(own | describe(program, name))
    if not entries:
        raise Failure(f"{program.name} takes no inputs", "declare one, such as `Given image[28, 28, 1]`")
    known = {entry["name"]: [size for size in entry["selects"] if isinstance(size, int)] for entry in entries}
    return [describe_tensor(entry) for entry in entries], {name: min(sizes) for name, sizes in known.items() if sizes}


def metadata_of(dataset: Dataset, normalisation: Normalisation | None) -> dict[str, Any]:
    """What a module must know of the data that it was trained with (see `Module.metadata`)."""
    found: dict[str, Any] = {"classes": list(dataset.classes), "pixels": list(dataset.pixels)}
    return found if normalisation is None else found | {"normalisation": normalisation.to_json()}


def normalisation_of(metadata: Mapping[str, Any]) -> Normalisation | None:
    """How a module's inputs were normalised."""
    from ..runtime.data import Normalisation

    return Normalisation.from_json(metadata["normalisation"]) if "normalisation" in metadata else None
