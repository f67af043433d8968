"""Write a network as index equations; check, compile, run and save it.

    module = majuscule.compile("alexnet.maj")
    scores = module(images)                       # images: [any number, 227, 227, 3]
    module.save("alexnet.mod")
    module = majuscule.load("alexnet.mod")        # anywhere, without the compiler

Names are imported when they are first used: loading and running a module needs neither
the compiler nor the parser.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import (
        check,
        compile,
        compile_program,
        export_c,
        export_onnx,
        export_weights,
        gradient,
        import_onnx,
        import_weights,
        load,
    )
    from .dsl.diagnostics import SourceErrors
    from .onnx.errors import ImportFailed
    from .onnx.importing import ImportedModel
    from .runtime.errors import ModuleError
    from .runtime.module import Module, Outputs
    from .runtime.signature import TensorInfo
    from .runtime.training import TrainingStep
    from .trainer import Trainer

__version__ = "0.1.0"

__all__ = [
    "ImportFailed",
    "ImportedModel",
    "Module",
    "ModuleError",
    "Outputs",
    "SourceErrors",
    "TensorInfo",
    "Trainer",
    "TrainingStep",
    "__version__",
    "check",
    "compile",
    "compile_program",
    "export_c",
    "export_onnx",
    "export_weights",
    "gradient",
    "import_onnx",
    "import_weights",
    "load",
]

_HOMES = {
    "ImportFailed": ".onnx.errors",
    "ImportedModel": ".onnx.importing",
    "Module": ".runtime.module",
    "ModuleError": ".runtime.errors",
    "Outputs": ".runtime.module",
    "SourceErrors": ".dsl.diagnostics",
    "TensorInfo": ".runtime.signature",
    "Trainer": ".trainer",
    "TrainingStep": ".runtime.training",
    "check": ".api",
    "compile": ".api",
    "compile_program": ".api",
    "export_c": ".api",
    "export_onnx": ".api",
    "export_weights": ".api",
    "gradient": ".api",
    "import_onnx": ".api",
    "import_weights": ".api",
    "load": ".api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
