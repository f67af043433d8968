"""Fixtures: the hand-written program compiled, loaded, saved."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy
import pytest
from hand_written import MANIFEST, SOURCE, WEIGHTS

from majuscule.runtime.artifact import Artifact
from majuscule.runtime.module import Module


@pytest.fixture(scope="session")
def machine_code(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The hand-written program, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("pick")
    (folder / "pick.c").write_text(SOURCE)
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(folder / "pick.so"), str(folder / "pick.c")]
    subprocess.run(command, check=True)
    return (folder / "pick.so").read_bytes()


@pytest.fixture
def artifact(machine_code: bytes) -> Artifact:
    """The program as the compiler would hand it over."""
    constants = {"one": numpy.ones(1, numpy.float32)}
    return Artifact(MANIFEST, machine_code, dict(WEIGHTS), constants, {"pick.maj": "# written by hand\n"})


@pytest.fixture
def module(artifact: Artifact) -> Module:
    """The program, loaded."""
    return Module(artifact)


@pytest.fixture
def saved(artifact: Artifact, tmp_path: Path) -> Path:
    """The program in a file."""
    path = tmp_path / "pick.mod"
    Module(artifact).save(path)
    return path
