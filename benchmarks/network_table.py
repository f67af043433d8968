"""Makes `docs/networks.md`: the networks that come along, what they cost, and how far they agree with PyTorch.

    python benchmarks/network_table.py [--measure [NETWORK ...]] [--json FILE ...] [--output FILE]

Names, parameters and multiply-adds come from the programs.  The errors are those of the table as it stands, but for
networks that are measured anew: each is compiled at its full size with the weights of its counterpart in PyTorch
(`published_networks.py`) and called with one sample.  `--json` adds the times that `networks.py --json` wrote; without
it the table has none.  It wants the extra `peers`.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from machine import describe_machine
from peers import Array, Network
from published_further import program_weights
from published_networks import KNOWN, outputs

import majuscule
from majuscule.compiler.summary import summarize
from majuscule.dsl.equations import Program
from majuscule.networks import known_networks

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "networks.md"
HEAD = """\
# Networks

These networks come along. Commands take their names (`maj summary vgg16`, `maj compile resnet50`), `maj list` shows
them, and their programs are files to be read and changed; a variant is mostly one line that calls the layers of its
family, which other programs can import:

```maj
import "examples/networks/resnet.maj"
Given image[64, 64, 3]
scores[10] = ResNet(image, blocks [1, 1, 2, 1], filters 16, classes 10)
```

Beside those of the table there are programs that are taught and trained with: `autoencoder`, `vae`, `gan`,
`sequence_lstm`, `logistic`, `threshold_logic` and `edges`.

Multiply-adds are those of one sample of the size that is stated. The error is the largest difference between what the
compiled program and PyTorch in float64 give for one sample, with equal random weights, over the largest absolute
value; beside it stands that of PyTorch in float32, which shows how much the network magnifies rounding: plain nets
of many layers do so very much with random weights. Where there is none, it was not measured.

"""
FOOT = """\
Made by `python benchmarks/network_table.py`, errors by `--measure`.
"""


@dataclass(frozen=True)
class Row:
    """A network's line of the table: its cells as they are printed, but for the times."""

    network: str
    about: str
    input: str
    parameters: str
    multiply_adds: str
    error: str = ""
    pytorch: str = ""

    @property
    def name(self) -> str:
        """Without the link to the file."""
        return self.network.partition("]")[0].strip("[`")


HEADINGS = ("network", "what it is", "input", "parameters", "multiply-adds", "error", "PyTorch's")
_LEFT = 3
"""Columns of words; the others are of numbers."""
_SIZE = re.compile(r", \d+x\d+x\d+$")


def sizes(program: Program, given: Array) -> dict[str, int]:
    """The open sizes of a program's only input for this array."""
    (name,) = program.inputs
    pairs = zip(program.tensor(name).shape, given.shape, strict=True)
    return {str(size): found for size, found in pairs if size.constant is None}


def counted(network: Network, program: Program) -> Row:
    """A row without errors; `program` is the network's, checked."""
    found = known_networks()[network.name]
    shape = sizes(program, network.images(1))
    summary = summarize(program)
    given = found.inputs
    for name, size in shape.items():
        given = re.sub(rf"\b{name}\b", str(size), given)
    parameters, work = (count.evaluate(shape) for count in (summary.weights + summary.biases, summary.multiply_adds))
    path = found.path.resolve().relative_to(DOCUMENT.parent.parent.resolve()).as_posix()
    about = _SIZE.sub("", found.about).replace("|", "\\|")
    return Row(f"[`{network.name}`](../{path})", about, given, f"{parameters:,}", f"{work:,}")


def measured(network: Network, batch: int = 1) -> tuple[float, float]:
    """The errors of the compiled network and of PyTorch in float32, over the largest absolute value in float64."""
    given, model = network.images(batch), network.peer()
    module = majuscule.compile(network.path, weights=program_weights(model))
    results = module(given)
    found = results if isinstance(results, tuple) else (results,)
    theirs = outputs(model, given)
    exact = outputs(model.double(), given)
    return _error(found, exact), _error(theirs, exact)


def _error(found: Iterable[Array], exact: Iterable[Array]) -> float:
    return max(float(abs(one - other).max() / abs(other).max()) for one, other in zip(found, exact, strict=True))


def rows_of(text: str) -> dict[str, Row]:
    """The rows of a document by name."""
    found: dict[str, Row] = {}
    for line in text.splitlines():
        if line.startswith("| [`"):
            cells = re.split(r"(?<!\\)\|", line)[1 : len(fields(Row)) + 1]
            row = Row(*(cell.strip() for cell in cells))
            found[row.name] = row
    return found


def times(paths: Iterable[Path]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Milliseconds by network and column, and the machines of the measurements."""
    found: dict[str, dict[str, str]] = {}
    machines: dict[str, None] = {}
    for path in paths:
        written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        machines[f"{written['machine']}; {written['conditions']}"] = None
        for result in written["results"]:
            cells = found.setdefault(result["network"], {})
            batch = result["batch"]
            cells[f"ms, batch {batch}"] = f"{result['milliseconds']['Majuscule']:.2f}"
            cells[f"best peer, batch {batch}"] = f"{result['milliseconds'][result['best_peer']]:.2f}"
    return found, list(machines)


def document(rows: Iterable[Row], paths: Iterable[Path] = ()) -> str:
    """The whole document."""
    speeds, machines = times(paths)
    more = list(dict.fromkeys(column for cells in speeds.values() for column in cells))
    headings = [*HEADINGS, *more]
    lines = [headings, [":--" if place < _LEFT else "--:" for place in range(len(headings))]]
    for row in sorted(rows, key=lambda row: row.name):
        cells = [str(getattr(row, column.name)) for column in fields(Row)]
        lines.append(cells + [speeds.get(row.name, {}).get(column, "") for column in more])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    noted = "".join(f"\nTimes: {machine}\n" for machine in machines)
    return f"{HEAD}{table}\n\n{FOOT}{noted}"


def main() -> None:
    """Make the document; what is measured is written at once, so that an interrupted run is not lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", nargs="*", metavar="NETWORK", help="measure errors anew; all if none is named")
    parser.add_argument("--json", nargs="+", type=Path, default=[], metavar="FILE", help="what networks.py wrote")
    parser.add_argument("--output", type=Path, default=DOCUMENT, metavar="FILE")
    options = parser.parse_args()
    known = rows_of(options.output.read_text(encoding="utf-8")) if options.output.exists() else {}
    rows: dict[str, Row] = {}
    for name, network in KNOWN.items():
        before = known.get(name, Row("", "", "", "", ""))
        row = counted(network, majuscule.check(network.path).require())
        rows[name] = replace(row, error=before.error, pytorch=before.pytorch)
    options.output.write_text(document(rows.values(), options.json), encoding="utf-8")
    if options.measure is None:
        return
    print(describe_machine(("majuscule", "apache-tvm", "torch")))
    for name in options.measure or sorted(KNOWN, key=lambda name: int(rows[name].multiply_adds.replace(",", ""))):
        ours, theirs = measured(KNOWN[name])
        print(f"{name:<32}{ours:.1e} {theirs:.1e}", flush=True)
        rows[name] = replace(rows[name], error=f"{ours:.1e}", pytorch=f"{theirs:.1e}")
        options.output.write_text(document(rows.values(), options.json), encoding="utf-8")
        gc.collect()


if __name__ == "__main__":
    main()
