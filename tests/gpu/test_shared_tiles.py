"""Sums of products on a GPU: tiles of every size, any factors, tensor cores; their meaning and their machine code."""

from __future__ import annotations

import importlib.machinery
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy
import pytest
from levels import EXHAUSTIVE, sparse

import majuscule
from majuscule.compiler.codegen.asked import ANYTHING
from majuscule.compiler.codegen.build import _Kernels, _plan
from majuscule.compiler.codegen.expressions import depends
from majuscule.compiler.codegen.gpu import cuda_c, device_code
from majuscule.compiler.codegen.gpu.description import Gpu
from majuscule.compiler.codegen.kernel import Kernel
from majuscule.compiler.codegen.objects import KernelSource
from majuscule.compiler.codegen.roads import gpu
from majuscule.compiler.codegen.schedule import SharedTiles
from majuscule.compiler.graph import Graph
from majuscule.compiler.pipeline import optimize
from majuscule.dsl.equations import Apply
from majuscule.networks import known_networks
from majuscule.precision import Precision, lowered_to

HOPPER = Gpu.named("sm_90")
COST = {"float64": 1e-12, "float32": 2e-6, "tf32": 2e-3, "float16": 2e-3, "bfloat16": 2e-2}


def matrices(m: int, n: int, k: int, dtype: str) -> str:
    return f"Given x[{m}, {k}]: {dtype}\nparam w[{k}, {n}]: {dtype} ~ xavier\ny[b,i,j] = x[b,i,K] * w[K,j]\n"


def road_of(module: majuscule.Module) -> str:
    return str(module._manifest["steps"][-1]["road"])


@pytest.mark.usefixtures("emulated_gpu")
@pytest.mark.parametrize("numbers", ["float32", "tf32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize(
    "tile", sparse([(tile,) for tile in gpu.TILES], 3), ids=lambda tile: f"{tile.rows}x{tile.columns}"
)
@pytest.mark.parametrize("steps", sparse([64, 48, 37], 3))
def test_tiles_of_every_size(monkeypatch: pytest.MonkeyPatch, tile: Any, numbers: str, steps: int) -> None:
    """Rows, columns and steps that no tile divides."""
    monkeypatch.setattr(gpu, "TILES", (tile,))
    dtype = "float32" if numbers == "tf32" else numbers
    precision: Precision = "tf32" if numbers == "tf32" else "float32"
    text = matrices(tile.rows // 2 + 13, tile.columns + 11, steps, dtype)
    module = majuscule.compile(text, target="cuda", dtype=precision)
    assert f"{tile.rows} x {tile.columns} results" in road_of(module)
    assert ("on tensor cores" in road_of(module)) == (numbers not in ("float32", "float64"))
    inputs = module.random_inputs(2)
    wanted = numpy.einsum("bik,kj->bij", inputs["x"].astype("float64"), module.weights["w"].astype("float64"))
    error = numpy.abs(module(**inputs).astype("float64") - wanted).max()
    assert error <= COST[numbers] * numpy.abs(wanted).max()


@pytest.mark.usefixtures("emulated_gpu")
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "text",
    [
        "Given x[9, 11, 16]\nparam w[3, 3, 16, 20] ~ xavier\ny[b,u,v,j] = relu(w[ΔX,ΔY,I,j] * x[b,u+ΔX,v+ΔY,I])\n",
        "Given x[9, 11, 16]\ny = CONV(x, width 3, pad 1, filters 20)\n",
        "Given x[10, 12, 3]\ny = CONV(x, width 5, stride 2, pad 2, filters 24)\n",
        "Given x[10, 12, 32]\ny = Conv(x, width 3, groups 2, filters 32)\n",
        "Given x[26, 40], z[19, 40]\ny[b,i,j] = x[b,i,K] * z[b,j,K]\n",
        "Given x[30, 20]\nparam w[20, 20] ~ xavier\ny[b,i,j] = exp(x[b,i,K]) * w[j,K]^2\n",
        "Given x[12, 40, 9]\nparam w[9, 30] ~ xavier\ny[j,b,i,p] = x[b,i,p,K] * w[K,j]\n",
    ],
    ids=["window", "padded", "strided", "groups", "both", "computed", "turned"],
)
def test_factors_of_any_kind(text: str, batch: int) -> None:
    here = majuscule.compile(text, exact=True)
    costs: dict[Precision, float] = {"float32": 2e-6, "tf32": 4e-3}
    for dtype, cost in costs.items():
        there = majuscule.compile(text, target="cuda", dtype=dtype, weights=here.weights)
        assert "shared tiles" in road_of(there), road_of(there)
        inputs = here.random_inputs(batch)
        wanted = here(**inputs)
        numpy.testing.assert_allclose(there(**inputs), wanted, rtol=0, atol=cost * numpy.abs(wanted).max())


# -- machine code ----------------------------------------------------------------------------


def disassembled(binary: bytes, folder: Path) -> str:
    """The instructions of machine code, by NVIDIA's disassembler."""
    spec = importlib.machinery.PathFinder.find_spec("nvidia")
    assert spec is not None
    (tool,) = (t for place in spec.submodule_search_locations or () for t in Path(place).glob("cu*/bin/nvdisasm"))
    (folder / "kernel.cubin").write_bytes(binary)
    found = subprocess.run([tool, "-c", folder / "kernel.cubin"], capture_output=True, text=True, check=True)
    return found.stdout


def sums_of_products(path: Path, target: str, precision: Precision) -> dict[str, KernelSource]:
    """The kernels of dense convolutions and matrix products of a network, by the tensors that they make."""
    program = majuscule.check(path).require()
    graph = optimize(Graph.from_program(program), fold_weights=True)
    graph, found = lowered_to(graph, target, precision, fold_weights=True)
    plan = _plan(graph, found, ANYTHING, {})
    kernels = _Kernels(plan, found)
    run = {id(action) for action in plan.run}
    return {launch.origin: s for launch, s, _ in kernels._launches if id(launch) in run and is_dense(s.kernel)}


def is_dense(kernel: Kernel) -> bool:
    """Whether a kernel sums products of two factors, each with output indices of its own, eight places or more."""
    body = kernel.body
    if kernel.combiner != "sum" or not isinstance(body, Apply) or body.operation != "mul" or not kernel.reduction:
        return False
    left, right = body.arguments
    extents = [
        math.prod(
            axis.size.constant or 64
            for axis in kernel.domain
            if depends(one, axis.name) and not depends(other, axis.name)
        )
        for one, other in ((left, right), (right, left))
    ]
    return min(extents) >= 8 and math.prod(axis.size.constant or 64 for axis in kernel.reduction) >= 8


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "tf32"])
@pytest.mark.parametrize("network", sparse(["lenet", "resnet50", "vgg16", "mobilenet_v2", "vit_ti_16"], 5, EXHAUSTIVE))
def test_dense_sums_of_products_are_on_tensor_cores(network: str, precision: Precision, tmp_path: Path) -> None:
    found = sums_of_products(known_networks()[network].path, "cuda:sm_90", precision)
    assert found
    seen: set[str] = set()
    for tensor, source in found.items():
        shared = source.road.shared
        assert isinstance(shared, SharedTiles), f"{tensor}: {source.road.name}"
        assert shared.numbers == precision, tensor
        if source.name not in seen:
            seen.add(source.name)
            function, _ = source.lower(HOPPER)
            code = device_code.compile_source(cuda_c.PREAMBLE + cuda_c.source(function, HOPPER), HOPPER)
            assert code.spilled == 0, tensor
            assert "HMMA" in disassembled(code.binary, tmp_path), tensor
