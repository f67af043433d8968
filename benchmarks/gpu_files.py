"""Modules as they travel to a machine with a GPU: without weights that are made anew there, with what is to come out.

One file, an archive of NumPy's, holds a module's manifest, code and constants, and any arrays beside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from majuscule.runtime.artifact import Artifact

Array = numpy.ndarray[Any, Any]


def write_packed(
    path: Path, artifact: Artifact, groups: Mapping[str, Mapping[str, Array]] | None = None, *, weights: bool = False
) -> None:
    """Write an artifact, with its weights if that is asked for, and groups of arrays by name."""
    parts: dict[str, Array] = {
        "manifest": numpy.frombuffer(json.dumps(dict(artifact.manifest)).encode(), numpy.uint8),
        "library": numpy.frombuffer(bytes(artifact.library), numpy.uint8),
    }
    kept = {"constants": artifact.constants, "weights": artifact.weights if weights else {}, **(groups or {})}
    for group, arrays in kept.items():
        names = list(arrays)
        parts[f"{group} names"] = numpy.array(names, dtype=numpy.str_)
        parts |= {f"{group} {position}": arrays[name] for position, name in enumerate(names)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        numpy.savez_compressed(file, **parts)


def read_packed(path: Path) -> tuple[Artifact, dict[str, dict[str, Array]]]:
    """An artifact and the groups of arrays that were written with it."""
    with numpy.load(path) as parts:
        groups = {
            key.removesuffix(" names"): {
                str(name): parts[f"{key.removesuffix(' names')} {position}"] for position, name in enumerate(parts[key])
            }
            for key in parts.files
            if key.endswith(" names")
        }
        manifest, library = json.loads(parts["manifest"].tobytes()), parts["library"].tobytes()
    return Artifact(manifest, library, groups.pop("weights"), groups.pop("constants")), groups
