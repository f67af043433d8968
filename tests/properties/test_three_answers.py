"""Random programs from source text: the compiled module, the interpreter and NumPy agree, and PyTorch where it can."""

from __future__ import annotations

import pytest
from answers import compare, compare_with_peer
from catalogue import Chunk, chunks, exhaustive_chunks, slow_chunks


@pytest.mark.parametrize("chunk", list(chunks()), ids=str)
def test_module_interpreter_and_numpy_agree(chunk: Chunk) -> None:
    compare(chunk.cases(), chunk.batches)


@pytest.mark.parametrize("chunk", list(chunks()), ids=str)
def test_numpy_and_pytorch_agree(chunk: Chunk) -> None:
    compare_with_peers(chunk)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", list(slow_chunks()), ids=str)
def test_further_programs(chunk: Chunk) -> None:
    compare(chunk.cases(), chunk.batches)
    compare_with_peers(chunk)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("chunk", list(exhaustive_chunks()), ids=str)
def test_all_other_programs(chunk: Chunk) -> None:
    compare(chunk.cases(), chunk.batches)
    compare_with_peers(chunk)


def compare_with_peers(chunk: Chunk) -> None:
    """Raise AssertionError where PyTorch gives something else, for those that can be said in it."""
    peers = [case for case in chunk.cases() if case.peer is not None]
    if peers:
        pytest.importorskip("torch")
    for case in peers:
        for batch in chunk.batches:
            compare_with_peer(case, batch)
