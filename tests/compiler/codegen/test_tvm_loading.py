"""Loading TVM: PyTorch is left alone."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from levels import sparse

TEXT = "Given x[4]\ny[b,i] = 2 * x[b,i]\n"


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_compiling_does_not_import_pytorch() -> None:
    code = f"import sys, majuscule; majuscule.compile({TEXT!r}); print('tvm' in sys.modules, 'torch' in sys.modules)"
    assert python(code).split() == ["True", "False"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")
@pytest.mark.parametrize("first", sparse(["torch", "majuscule"], 2))
def test_pytorch_may_be_imported_before_or_after(first: str) -> None:
    imports = "import torch\n" if first == "torch" else ""
    code = (
        f"import sys\n{imports}import majuscule\n"
        f"module = majuscule.compile({TEXT!r})\n"
        "import torch\n"
        "assert not any(type(finder).__name__ == '_Missing' for finder in sys.meta_path)\n"
        "layer = torch.nn.Conv2d(8, 8, 3)\n"
        "assert layer(torch.ones(1, 8, 32, 32)).shape == (1, 8, 30, 30)\n"
        "print(float(module(torch.full((1, 4), 3.0))[0, 2]))\n"
    )
    assert float(python(code)) == 6
