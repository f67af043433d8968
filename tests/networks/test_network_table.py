"""The document of networks as it is made: times of a benchmark become columns, and what it says is read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
network_table = pytest.importorskip("network_table")

ROWS = [
    network_table.Row("[`b`](../b.maj)", "one \\| two (1998)", "x[3]", "1,234", "5", "1.0e-06", "2.0e-07"),
    network_table.Row("[`a`](../a.maj)", "another", "x[3]", "2", "6"),
]


def test_rows_are_read_as_they_were_written() -> None:
    found = network_table.rows_of(network_table.document(ROWS))
    assert found == {"a": ROWS[1], "b": ROWS[0]}
    assert list(found) == ["a", "b"]


def test_times_of_a_benchmark_become_columns(tmp_path: Path) -> None:
    results = [
        {"network": "a", "batch": batch, "milliseconds": {"Majuscule": 2 * batch, "PyTorch": 3.5, "OpenVINO": 3},
         "best_peer": "OpenVINO"}
        for batch in (1, 8)
    ]  # fmt: skip
    written = {"machine": "a machine", "conditions": "4 threads", "results": results}
    (tmp_path / "found.json").write_text(json.dumps(written), encoding="utf-8")
    text = network_table.document(ROWS, [tmp_path / "found.json"])
    head, _, first, second = (line for line in text.splitlines() if line.startswith("| "))
    assert head.endswith("| ms, batch 1 | best peer, batch 1 | ms, batch 8 | best peer, batch 8 |")
    assert first.endswith("| 2.00 | 3.00 | 16.00 | 3.00 |")
    assert second.endswith("| 2.0e-07 |  |  |  |  |")
    assert "Times: a machine; 4 threads" in text
    assert network_table.rows_of(text) == network_table.rows_of(network_table.document(ROWS))
