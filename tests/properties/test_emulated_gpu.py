"""Random programs compiled for a GPU, which is emulated: what the kernels mean, and how they are started."""

from __future__ import annotations

import pytest
from answers import compare
from catalogue import Chunk, chunks, exhaustive_chunks, slow_chunks

pytestmark = pytest.mark.usefixtures("emulated_gpu")


@pytest.mark.parametrize("chunk", list(chunks()), ids=str)
def test_modules_for_a_gpu_agree_with_the_interpreter(chunk: Chunk) -> None:
    compare(chunk.cases(), chunk.batches, "cuda")


@pytest.mark.slow
@pytest.mark.parametrize("chunk", list(slow_chunks()), ids=str)
def test_further_programs_for_a_gpu(chunk: Chunk) -> None:
    compare(chunk.cases(), chunk.batches, "cuda")


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("chunk", list(exhaustive_chunks()), ids=str)
def test_all_other_programs_for_a_gpu(chunk: Chunk) -> None:
    compare(chunk.cases(), chunk.batches, "cuda")
