"""Which tensor of a file is which of a program: by name, then in order, and never by a guess.

A tensor whose name, after the user's rules, is one of PyTorch's or of the program's for a weight is
that weight.  The others are matched in the order of definition: each weight with a tensor that fits
its kind and shape, so that both sides keep their order.  Only what is the same in every such
matching is taken; it is enough to compare the one that takes the first tensor that fits with the
one that takes the last.  A file that keeps no order matches weights of one kind and shape where the
names of the tensors differ in nothing but numbers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..runtime.weight_files import WeightsFile
from .counterparts import Counterpart
from .names import COUNTER, Rules, kind_of, leaf, plain, unwrapped

NAME, RULE, ORDER = "name", "rule", "order"
_MOST_LISTED = 3


@dataclass(frozen=True)
class Match:
    """A tensor of a file that is a counterpart of weights; `as_is` if it has the program's layout already."""

    tensor: str
    counterpart: Counterpart
    how: str
    as_is: bool = False


@dataclass
class Matching:
    """What was matched, and why the rest of both sides was not, by the names of tensors and of counterparts."""

    matches: list[Match] = field(default_factory=list)
    left_in_file: dict[str, str] = field(default_factory=dict)
    left_in_program: dict[str, str] = field(default_factory=dict)


def match(
    file: WeightsFile,
    wanted: Sequence[Counterpart],
    shapes: Mapping[str, tuple[int, ...]],
    rules: Rules,
    by: str | None = None,
) -> Matching:
    """Match the tensors of a file with counterparts of a program's weights, which have these `shapes`.

    `by` allows only names or only the order, but for what the rules name.  Raises `WeightsError` for
    rules that match nothing.
    """
    return _Matcher(file, wanted, shapes, rules).match(by)


class _Matcher:
    def __init__(
        self, file: WeightsFile, wanted: Sequence[Counterpart], shapes: Mapping[str, tuple[int, ...]], rules: Rules
    ) -> None:
        self._file = file
        self._wanted = wanted
        self._shapes = shapes
        self._rules = rules
        self._short = unwrapped(list(file.tensors))
        self._found = Matching()
        self._taken: dict[str, Match] = {}  # by the counterpart's name
        self._names = {plain(counterpart.name): counterpart for counterpart in wanted}
        self._own = {c.weights[0]: c for c in wanted if len(c.weights) == 1 and not c.is_extra}

    def match(self, by: str | None) -> Matching:
        self._rules.require_used(self._short.values())
        waiting = [name for name in self._file.tensors if not self._by_name(name, by)]
        left = [counterpart for counterpart in self._wanted if not self._is_settled(counterpart)]
        if by == NAME:
            for counterpart in left:
                self._found.left_in_program[counterpart.name] = "no tensor of the file has its name"
        elif self._file.ordered:
            self._in_order(waiting, left)
        else:
            self._by_numbers(waiting, left)
        self._explain_file(waiting)
        self._found.matches = [self._taken[c.name] for c in self._wanted if c.name in self._taken]
        return self._found

    # -- by name -----------------------------------------------------------------------------------

    def _by_name(self, tensor: str, by: str | None) -> bool:
        """Whether a name settles what becomes of a tensor."""
        short = self._short[tensor]
        if self._rules.skipped(short):
            self._found.left_in_file[tensor] = "left out, as asked for"
            return True
        renamed = self._rules.renamed(short)
        if leaf(short) == COUNTER:
            self._found.left_in_file[tensor] = "a count of batches, which nothing here needs"
            return True
        if renamed is None and by == ORDER:
            return False
        name = plain(renamed or short)
        counterpart = self._names.get(name) or self._own.get(name) or self._in_layer(name, kind_of(short))
        if counterpart is None and renamed is None:
            return False
        problem = self._problem(tensor, counterpart, name)
        if counterpart is None or problem:
            self._found.left_in_file[tensor] = problem
            if counterpart is not None and counterpart.name not in self._taken:
                self._found.left_in_program[counterpart.name] = problem
            return True
        shape = self._file.tensors[tensor].shape
        is_own = renamed is None and name not in self._names and shape == self._shapes[counterpart.weights[0]]
        self._take(tensor, counterpart, NAME if renamed is None else RULE, as_is=is_own)
        return True

    def _in_layer(self, name: str, kind: str | None) -> Counterpart | None:
        """The weight of this kind in a layer of this name."""
        inside = [c for c in self._wanted if c.weights[0].rpartition(".")[0] == name and c.kind == kind]
        return inside[0] if len(inside) == 1 else None

    def _problem(self, tensor: str, counterpart: Counterpart | None, name: str) -> str:
        """Why a tensor cannot be what its name says; empty if it can."""
        if counterpart is None:
            return f"renamed to {name}, which no weight of the program is called"
        if counterpart.name in self._taken:
            return f"{', '.join(counterpart.weights)} has {self._taken[counterpart.name].tensor} already"
        shape = self._file.tensors[tensor].shape
        if not counterpart.fits(shape):
            own = self._own.get(name)
            if own is None or shape != self._shapes[own.weights[0]]:
                weights = " and ".join(f"{n} {list(self._shapes[n])}" for n in counterpart.weights)
                return f"{tensor} {list(shape)} does not fit {weights}, which is {list(counterpart.shape)} in PyTorch"
        return ""

    def _is_settled(self, counterpart: Counterpart) -> bool:
        return counterpart.name in self._taken or counterpart.name in self._found.left_in_program

    def _take(self, tensor: str, counterpart: Counterpart, how: str, *, as_is: bool = False) -> None:
        if counterpart.doubt and not as_is:
            self._found.left_in_program[counterpart.name] = self._found.left_in_file[tensor] = counterpart.doubt
        else:
            self._taken[counterpart.name] = Match(tensor, counterpart, how, as_is)

    # -- in order ----------------------------------------------------------------------------------

    def _fits(self, tensor: str, counterpart: Counterpart) -> bool:
        stored, kind = self._file.tensors[tensor], kind_of(self._short[tensor])
        return (
            (kind is None or counterpart.kind in (kind, "other"))
            and "float" in stored.dtype.name
            and counterpart.fits(stored.shape)
        )

    def _candidates(
        self, tensors: Sequence[str], wanted: Sequence[Counterpart]
    ) -> tuple[list[Counterpart], list[list[int]]]:
        """The counterparts that some tensor fits, with the places of those that do; the others are explained."""
        found: list[Counterpart] = []
        places: list[list[int]] = []
        for counterpart in wanted:
            fitting = [n for n, tensor in enumerate(tensors) if self._fits(tensor, counterpart)]
            if fitting:
                found.append(counterpart)
                places.append(fitting)
            else:
                shape = list(counterpart.shape)
                self._found.left_in_program[counterpart.name] = f"no tensor of the file that is left fits: {shape}"
        return found, places

    def _in_order(self, tensors: Sequence[str], wanted: Sequence[Counterpart]) -> None:
        found, places = self._candidates(tensors, wanted)
        first, last = _first_fit(places), _last_fit(places, len(tensors))
        if len(first) < len(found):
            stuck = found[len(first)]
            before = f" after {tensors[first[-1]]}" if first else ""
            reason = f"in order, nothing fits {', '.join(stuck.weights)} {list(stuck.shape)}{before}"
            for counterpart in found:
                self._found.left_in_program[counterpart.name] = reason
            return
        for counterpart, low, high in zip(found, first, reversed(last), strict=True):
            if low == high:
                self._take(tensors[low], counterpart, ORDER)
            else:
                between = [tensors[n] for n in range(low, high + 1) if self._fits(tensors[n], counterpart)]
                self._found.left_in_program[counterpart.name] = _several(between)

    def _by_numbers(self, tensors: Sequence[str], wanted: Sequence[Counterpart]) -> None:
        found, places = self._candidates(tensors, wanted)
        classes: dict[tuple[int, ...], list[Counterpart]] = {}
        for counterpart, fitting in zip(found, places, strict=True):
            classes.setdefault(tuple(fitting), []).append(counterpart)
        for shared, members in classes.items():
            names = sorted((tensors[n] for n in shared), key=_numbers)
            alone = not any(set(shared) & set(other) for other in classes if other != shared)
            alike = len({re.sub(r"\d+", "#", name) for name in names}) == 1
            if alone and alike and len(names) == len(members):
                for name, counterpart in zip(names, members, strict=True):
                    self._take(name, counterpart, ORDER)
                continue
            for counterpart in members:
                self._found.left_in_program[counterpart.name] = "several tensors fit, and the file keeps no order"

    def _explain_file(self, tensors: Collection[str]) -> None:
        used = {found.tensor for found in self._taken.values()}
        for tensor in tensors:
            if tensor not in used:
                stored = self._file.tensors[tensor]
                why = "nothing in the program is matched with it"
                if "float" not in stored.dtype.name:
                    why = f"its numbers are {stored.dtype.name}"
                self._found.left_in_file.setdefault(tensor, why)


def _first_fit(places: Sequence[Sequence[int]]) -> list[int]:
    """For each list of places, in turn, its first beyond the one before; stops where there is none."""
    found: list[int] = []
    for fitting in places:
        after = found[-1] if found else -1
        place = next((place for place in fitting if place > after), None)
        if place is None:
            break
        found.append(place)
    return found


def _last_fit(places: Sequence[Sequence[int]], count: int) -> list[int]:
    """The same from the end, the last first."""
    mirrored = [[count - 1 - place for place in reversed(fitting)] for fitting in reversed(places)]
    return [count - 1 - place for place in _first_fit(mirrored)]


def _several(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return f"{len(names)} tensors of the file fit: {', '.join(names[:_MOST_LISTED])}{more}"


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]
