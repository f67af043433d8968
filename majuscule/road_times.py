"""The time of each equation of a program on different roads, measured where it counts: in the whole program.

A kernel alone would find its weights in the caches, which in a network others have emptied.  So
the whole program is compiled once for each round, every equation on another of its roads, and
profiled; the time of an equation is that of its kernels, of the copies that its road needs, and of
paddings that are there for it alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from .compiler.codegen.asked import ANYTHING, Asked
from .compiler.codegen.choosing import Candidate, Choosing
from .compiler.codegen.compiled import compile_graph
from .compiler.graph import Graph
from .compiler.interpreter import initial_values
from .compiler.pipeline import optimize
from .runtime import samples
from .runtime.artifact import Artifact
from .runtime.module import Module
from .runtime.signature import describe_tensor

if TYPE_CHECKING:
    from .compiler.codegen.target import Target
    from .compiler.groups import Group
    from .dsl.equations import Program
    from .runtime.arrays import Array

Choice = tuple[str, str]
"""A road and its details."""

_ENOUGH = 0.97
"""Of the time of the road that is taken unasked: what another must stay below to be a winner."""


class RoadTimes:
    """A program that is compiled again and again, on other roads, and timed with random inputs of some sizes."""

    def __init__(
        self, program: Program, target: Target, *, batch: int, sizes: Mapping[str, int], seconds: float, seed: int = 0
    ) -> None:
        self.graph = optimize(Graph.from_program(program), fold_weights=program.mode != "training")
        self.target = target
        self.batch, self.sizes, self.seconds, self.seed = batch, sizes, seconds, seed
        self._program = program
        self._values: dict[str, Array] = {}

    @cached_property
    def groups(self) -> Mapping[str, Group]:
        """The equations that are timed, by name."""
        return Choosing(self.graph, self.target).groups

    def measure(self, asked: Asked = ANYTHING, tuned: Mapping[str, Choice] | None = None) -> dict[str, float]:
        """Seconds of each equation, by name, where people ask for a road or these roads were chosen."""
        compiled = compile_graph(self.graph, target=self.target, asked=asked, tuned=tuned or {})
        manifest = compiled.manifest
        wanted = [describe_tensor(entry) for entry in (*manifest["parameters"], *manifest["states"])]
        if not self._values:
            self._values = initial_values(self._program, self.seed, [info.name for info in wanted])
        artifact = Artifact(manifest, compiled.library, self._values, compiled.constants, {})
        with Module(artifact, self.target.cores) as module:
            inputs = module.random_inputs(self.batch, sizes=self.sizes, seed=self.seed)
            profile = module.profile(*(inputs[tensor.name] for tensor in module.inputs), seconds=self.seconds)
        choosing = Choosing(self.graph, self.target)
        return {
            name: sum(step.seconds for step in profile.steps if choosing.makes(group, step.tensor))
            for name, group in self.groups.items()
        }

    def symbols(self) -> dict[str, int]:
        """The sizes that are timed, by name, the batch among them; raises `ArgumentError` for an unknown one."""
        from .compiler.codegen.compiled import planned_manifest

        manifest = planned_manifest(self.graph, target=self.target)
        return samples.choose_sizes(manifest, self.batch, self.sizes)


class Tuning:
    """The search for the fastest candidates of all equations at once, `rounds` of it, one after the other.

    Equal equations share what is found.  The first round times what is taken unasked.
    """

    def __init__(self, times: RoadTimes, asked: Asked, candidates: int) -> None:
        self.times = times
        self.asked = asked
        choosing = Choosing(times.graph, times.target, asked)
        self.keys: dict[str, str] = {}
        self.options: dict[str, list[Candidate]] = {}
        for name, group in times.groups.items():
            key, found = choosing.options(group, candidates)
            if len(found) > 1:
                self.keys[name] = key
                self.options[key] = found
        self.seconds: dict[str, dict[Choice, float]] = defaultdict(dict)

    @property
    def rounds(self) -> int:
        """How many rounds there are."""
        return max(map(len, self.options.values()), default=0)

    def round(self, number: int) -> None:
        """Compile and time the program with that candidate of each equation, the first where it has so few."""
        tuned = {key: _choice(found[number]) for key, found in self.options.items() if 0 < number < len(found)}
        self._measure(tuned)

    def confirm(self) -> None:
        """Time the winners together, and what is taken unasked once more; what is no better then is no winner."""
        winners = self.winners()
        if not winners:
            return
        for key, choice in winners.items():
            del self.seconds[key][choice]
        self._measure(winners)
        before = {key: dict(found) for key, found in self.seconds.items()}
        self._measure({})
        for key, found in self.options.items():
            usual = _choice(found[0])
            self.seconds[key][usual] = min(self.seconds[key][usual], before[key][usual])

    def winners(self) -> dict[str, Choice]:
        """The candidates so far that are faster than what is taken unasked, by the key of the equation."""
        found = {}
        for key, options in self.options.items():
            times, usual = self.seconds.get(key, {}), _choice(options[0])
            if usual in times:
                best = min(times, key=times.__getitem__)
                if best != usual and times[best] < _ENOUGH * times[usual]:
                    found[key] = best
        return found

    def _measure(self, tuned: Mapping[str, Choice]) -> None:
        """Note the time of each equation; of equal ones the mean."""
        found: dict[str, list[float]] = defaultdict(list)
        for name, seconds in self.times.measure(Asked(exact=self.asked.exact), tuned).items():
            if name in self.keys:
                found[self.keys[name]].append(seconds)
        for key, seconds_ in found.items():
            choice = tuned.get(key, _choice(self.options[key][0]))
            self.seconds[key][choice] = sum(seconds_) / len(seconds_)


def _choice(candidate: Candidate) -> Choice:
    return candidate.road, candidate.details
