"""From a file of ONNX to a program and its weights: the whole way."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ImportFailed
from .model_files import checked, read_model, require_onnx
from .sizes import Size
from .translation import Translation
from .values import Array, Tensor

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class ImportedModel:
    """A model as a program.

    `text` is the program, `weights` are its weights by name.  `inputs` and `outputs` are its tensors
    as the model has them: their shapes there and, in `order`, the model's axis for each of theirs
    (images have their channels last).
    """

    text: str
    weights: dict[str, Array]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def import_model(source: str | os.PathLike[str] | ModelProto, *, open_batch: bool = False) -> ImportedModel:
    """Say a model of ONNX in the language.

    `source` is a file, or a model in memory.  With `open_batch` the first axis of all inputs becomes the
    batch, of any size, where the model was written for one number of samples.

    Raises `ImportFailed` for a file that is none, is damaged or has parts that the language cannot say,
    OSError if it cannot be read.
    """
    try:
        if isinstance(source, str | os.PathLike):
            model = read_model(source)
            folder, name = Path(source).parent, Path(source).name
        else:
            require_onnx()
            model, folder, name = checked(source, "the model"), None, source.graph.name or "a model"
        translation = Translation(model, folder, open_batch=open_batch)
        translation.run()
        head = _head(model, name, translation)
    except UnicodeDecodeError as error:  # texts of a message are decoded when they are read
        raise ImportFailed(f"the model is damaged: a text in it is not UTF-8 ({error.reason})") from error
    program = translation.program.fold([tensor.name for tensor in translation.inputs])
    try:
        text = _laid_out(program.text(head), translation)
    except ImportFailed:  # whatever it is, the program as it stands says it
        program = translation.program
        text = _laid_out(program.text(head), translation)
    return ImportedModel(text, program.weights, tuple(translation.inputs), tuple(translation.outputs))


def _head(model: ModelProto, name: str, translation: Translation) -> list[str]:
    producer = f" by {model.producer_name} {model.producer_version}".rstrip() if model.producer_name else ""
    made = f"From {name}, written{producer} (ONNX, version {translation.version} of its operators)."
    return ["".join(letter if letter.isprintable() else " " for letter in made)]


def _laid_out(text: str, translation: Translation) -> str:
    """The program as the formatter has it, if the language takes it and its outputs have the model's shapes."""
    from ..dsl import check_text
    from ..dsl.formatter import format_text

    result = check_text(text, "imported.maj")
    errors = [one for one in result.diagnostics if one.severity == "error"]
    if errors:
        raise ImportFailed(
            "the program that the model became has mistakes; please report this with the model:",
            [f"{one.code} {one.message}" for one in errors[:10]],
        )
    program = result.require()
    for output in translation.outputs:
        found = [size.constant for size in program.tensor(output.name).shape]
        wanted = [None if isinstance(output.shape[a], Size) else output.shape[a] for a in output.order]
        if len(found) != len(wanted) or any(w is not None and f != w for f, w in zip(found, wanted, strict=True)):
            raise ImportFailed(f"the output {output.name} came out as {found}, not as {wanted}; please report this")
    return format_text(text)
