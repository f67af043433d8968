"""What a network costs by PyTorch's own count, and by its line of `docs/networks.md`."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import network_table
import torch
from torch.utils.flop_counter import FlopCounterMode

from majuscule.dsl.equations import Program


@functools.cache
def rows() -> dict[str, network_table.Row]:
    """The lines of the document as it stands."""
    return network_table.rows_of(network_table.DOCUMENT.read_text(encoding="utf-8"))


def in_the_table(network: Any, program: Program) -> network_table.Row:
    """The network's line; fails if it is not what the program gives."""
    row = rows()[network.name]
    assert replace(row, error="", pytorch="") == network_table.counted(network, program)
    return row


def in_pytorch(network: Any) -> tuple[int, int]:
    """Parameters and multiply-adds for one sample; of tensors without numbers, so that it takes no time."""
    given = torch.from_numpy(network.images(1))
    with torch.device("meta"):
        model = network.build().eval()
        sample = torch.empty_like(given if network.is_text else given.movedim(-1, 1), device="meta")
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(sample)
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() // 2
