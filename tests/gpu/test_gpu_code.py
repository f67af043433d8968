"""Code for GPUs, made without one: CUDA's compiler and assembler take every kernel, and none is short of registers."""

from __future__ import annotations

from pathlib import Path

import pytest
from levels import EXHAUSTIVE, sparse
from library_layers import LAYERS, OTHERS

import majuscule
from majuscule.compiler.codegen.compiled import CompiledProgram, compile_graph
from majuscule.compiler.codegen.errors import CompilationFailed
from majuscule.compiler.codegen.gpu import device_code
from majuscule.compiler.codegen.gpu.description import Gpu, known_below
from majuscule.compiler.codegen.gpu.device_code import DeviceCode
from majuscule.compiler.codegen.target import Target
from majuscule.compiler.graph import Graph
from majuscule.compiler.pipeline import optimize
from majuscule.networks import known_networks
from majuscule.targets import named_target

ARCHITECTURES = ("sm_80", "sm_90")
NETWORKS = (
    "lenet", "resnet18", "squeezenet1_1", "mobilenet_v2", "language_lstm", "vgg16", "alexnet", "googlenet",
    "densenet121", "resnext50_32x4d", "resnet50", "shufflenet_v2_x1_0", "vit_ti_16", "unet",
)  # fmt: skip


class Compiler:
    """What CUDA's compiler was given and gave."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.found: list[DeviceCode] = []
        self.texts: list[str] = []
        self._compile = device_code.compile_source
        patch.setattr(device_code, "compile_source", self)

    def __call__(self, text: str, gpu: Gpu) -> DeviceCode:
        self.texts.append(text)
        self.found.append(self._compile(text, gpu))
        return self.found[-1]


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    return Compiler(monkeypatch)


def compiled(source: str | Path, target: str) -> CompiledProgram:
    program = majuscule.check(source).require()
    graph = optimize(Graph.from_program(program), fold_weights=True)
    return compile_graph(graph, target=named_target(target), cache=False)


def assert_sound(compiler: Compiler) -> None:
    """All kernels became machine code, for an architecture and in PTX, with all that they hold in registers."""
    assert compiler.found
    for found, text in zip(compiler.found, compiler.texts, strict=True):
        assert found.binary.startswith(b"\x7fELF")
        assert found.portable.lstrip().startswith(b"//")
        assert 0 < found.registers <= 255
        assert found.spilled == 0, text


@pytest.mark.parametrize("layer", sparse(sorted(LAYERS | OTHERS), 7))
def test_layers(compiler: Compiler, layer: str) -> None:
    for architecture in ARCHITECTURES:
        compiled((LAYERS | OTHERS)[layer] + "\n", f"cuda:{architecture}")
    assert_sound(compiler)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("network", sparse(NETWORKS, len(NETWORKS), EXHAUSTIVE))
def test_networks(compiler: Compiler, network: str, architecture: str) -> None:
    compiled(known_networks()[network].path, f"cuda:{architecture}")
    assert_sound(compiler)


def test_a_module_says_what_it_is_for(tmp_path: Path) -> None:
    found = compiled("Given x[8]\ny = exp(x)\n", "cuda:sm_86")
    target = found.manifest["target"]
    assert (target["kind"], target["gpu"], target["architecture"]) == ("cuda", {"capability": 86}, "x86_64")
    assert set(target["features"]) <= {"cmov", "sse", "sse2"}, "any processor of the kind will do"
    assert ".target sm_86" in found.assembly
    assert "blockIdx" in found.tensor_ir


@pytest.mark.parametrize(("name", "capability"), [("cuda", 80), ("cuda:sm_90", 90), ("sm_75", 75), ("cuda:120", 120)])
def test_names_of_architectures(name: str, capability: int) -> None:
    found = Target.named(name).gpu
    assert found is not None
    assert found.capability == capability


@pytest.mark.parametrize("name", ["cuda:sm_99", "cuda:", "cuda:fast", "sm_", "sm_1"])
def test_names_of_none(name: str) -> None:
    with pytest.raises(CompilationFailed, match=r"there is no GPU architecture called .* there are sm_75, sm_80"):
        Target.named(name)


def test_a_gpu_that_is_newer_than_all_known_ones() -> None:
    assert (known_below(95), known_below(90), known_below(60)) == (90, 90, None)


def test_what_is_not_for_a_gpu(tmp_path: Path) -> None:
    text = "Given x[8]\ny = FC(x, units 3)\n"
    with pytest.raises(CompilationFailed, match="the road direct cannot be asked for on a GPU"):
        majuscule.compile(text, target="cuda", road="direct")
    with pytest.raises(majuscule.ModuleError, match="a library for C is for a CPU"):
        majuscule.export_c(text, tmp_path / "c", target="cuda")


def test_a_machine_without_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_code, "_candidates", lambda: iter(()))
    monkeypatch.setattr(device_code.ctypes.util, "find_library", lambda name: None)
    device_code._nvrtc.cache_clear()
    try:
        with pytest.raises(CompilationFailed, match=r"pip install 'majuscule\[cuda\]'"):
            majuscule.compile("Given x[8]\ny = exp(x)\n", target="cuda")
    finally:
        device_code._nvrtc.cache_clear()
