"""Stretches of a program that come again are made layers, and layers that follow one another loops.

A stretch is what a layer can be: whole statements in a row that read one tensor from outside and of which only the
last is read outside.  Chains, which are as easily read as they stand, are left alone: some tensor in a stretch is
read more than once, as in blocks with a shortcut or with branches.  The numbers of filters and units may differ from
place to place; they become parameters of the layer.  Names tell where modules begin and end, where a model has
names for them: then stretches are modules.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .naming import Names
from .values import Array

_SHORTEST, _LONGEST = 3, 60  # statements of a stretch
_LOOP = 3  # calls that are worth a loop
_STATEMENT = re.compile(r"([^\W\d]\w*)(\[[^=]*\])? = (.+)")
_DEFINED = re.compile(r"(?:param )?([^\W\d]\w*)(?:, ([^\W\d]\w*))?")
_WORD = re.compile(r"(?<![\w.])([^\W\d]\w*)")
_PARAMETER = re.compile(r"\b(filters|units|groups) (\d+)")
_MEMBER = re.compile(r"(.*_)(\d+)")
_CALL = re.compile(r"([A-Z]\w*)\(([^\W\d]\w*)((?:, .*)?)\)")
_LAYER, _INPUT = "Block", "L"
_LETTERS = "JKMNPQRSUVWYZ"  # of parameters


@dataclass(frozen=True)
class _Stretch:
    """Statements from `start` on, so many, by what they are but for names: equal ones have equal `shape`s.

    A shape is what stands behind the name that is defined.  `names` are those of the tensors that they define,
    `source` is the one that they read; `numbers` are those that may be parameters, in their order.
    """

    start: int
    shape: tuple[str, ...]
    names: tuple[str, ...]
    source: str
    numbers: tuple[str, ...]

    @property
    def end(self) -> int:
        """The place after the last statement."""
        return self.start + len(self.shape)

    @property
    def prefix(self) -> str:
        """What the names have in common, up to an underscore."""
        first, *others = (f"{name}_" for name in self.names)
        same = sum(all(name[:length] == first[:length] for name in others) for length in range(1, len(first) + 1))
        return first[: first.rfind("_", 0, same) + 1]


def folded(
    lines: Sequence[str], inputs: Sequence[str], outputs: Sequence[str], weights: Mapping[str, Array], names: Names
) -> tuple[list[str], list[str], dict[str, Array]]:
    """Definitions of layers, the statements with calls of them, and the weights by the names that they have then."""
    definitions: list[str] = []
    found, kept = list(lines), dict(weights)
    modules = False
    while (places := _most_frequent(found, inputs, outputs)) is not None:
        if modules and not _are_modules(places, found):
            break
        modules = modules or _are_modules(places, found)
        layer = names.give(_LAYER)
        definitions += ["", *_definition(layer, places)]
        found, moved = _with_calls(layer, found, places, outputs, names)
        kept = {_moved(name, moved): array for name, array in kept.items()}
    return definitions[1:], _with_loops(found), kept


def _moved(name: str, moved: Mapping[str, str]) -> str:
    """What a weight is called if the call that it belongs to is inside of a layer now."""
    head, dot, rest = name.partition(".")
    return f"{moved[head]}.{rest}" if dot and head in moved else name


# -- finding -------------------------------------------------------------------------------


def _most_frequent(lines: Sequence[str], inputs: Sequence[str], outputs: Sequence[str]) -> list[_Stretch] | None:
    """Places of the stretch that comes most often; None if none comes again.

    Modules come before others, and of equally frequent ones those that are deep inside of others, then the longest.
    """
    found: defaultdict[tuple[str, ...], list[_Stretch]] = defaultdict(list)
    for stretch in _stretches(lines, inputs, outputs):
        before = found[stretch.shape]
        if not before or before[-1].end <= stretch.start:
            before.append(stretch)
    again = [places for places in found.values() if len(places) > 1]

    def rank(places: list[_Stretch]) -> tuple[bool, int, int, int]:
        depth = min(place.prefix.count("_") for place in places)
        return _are_modules(places, lines), len(places), depth, len(places[0].shape)

    return max(again, key=rank, default=None)


def _are_modules(places: Sequence[_Stretch], lines: Sequence[str]) -> bool:
    """Whether the names of each place have more in common than those of the whole program."""
    first, *others = (found[1] for line in lines if (found := _STATEMENT.fullmatch(line)) is not None)
    common = sum(all(name[:length] == first[:length] for name in others) for length in range(1, len(first) + 1))
    return all(len(place.prefix) > common for place in places)


def _stretches(lines: Sequence[str], inputs: Sequence[str], outputs: Sequence[str]) -> Iterator[_Stretch]:
    """All stretches that could be layers, by their starts."""
    tensors = {*inputs}
    for line in lines:
        defined = _DEFINED.match(line)
        tensors.update(name for name in (defined.groups() if defined is not None else ()) if name)
    last_read = {name: len(lines) for name in outputs}
    for place, line in enumerate(lines):
        for word in _WORD.findall(line.partition(" = ")[2]):
            last_read[word] = max(last_read.get(word, 0), place)
    statements = [_STATEMENT.fullmatch(line) for line in lines]
    parts = Counter(found[1] for found in statements if found is not None)
    whole = [f if f is not None and parts[f[1]] == 1 and _is_plain(f, tensors) else None for f in statements]
    known = {*inputs, *(name for name in tensors if name not in parts)}
    for start in range(len(lines)):
        yield from _from(start, whole, tensors, known, last_read)
        if (found := statements[start]) is not None:
            known.add(found[1])


def _is_plain(statement: re.Match[str], tensors: set[str]) -> bool:
    """Whether no index of an equation is called as a tensor is."""
    if statement[2] is None:
        return True
    indices = set(_WORD.findall(statement[2]))
    return indices.isdisjoint(tensors) and not any(len(w) == 1 and w in tensors for w in _WORD.findall(statement[3]))


def _from(
    start: int,
    statements: Sequence[re.Match[str] | None],
    tensors: set[str],
    known: set[str],
    last_read: Mapping[str, int],
) -> Iterator[_Stretch]:
    """Those that begin with one statement, before which some tensors are known."""
    local: dict[str, int] = {}
    numbers: list[str] = []
    reads: Counter[str] = Counter()
    shape: list[str] = []
    source = ""
    needed = start  # the last place at which a tensor of the stretch is read
    for place in range(start, min(start + _LONGEST, len(statements))):
        statement = statements[place]
        if statement is None:
            return
        body = _PARAMETER.sub(lambda m: _numbered(m, numbers), statement[3])
        parts = _WORD.split(body)
        for position, part in enumerate(parts):
            if position % 2 and part in tensors:
                reads[part] += 1
                if part not in local and (source not in ("", part) or part not in known):
                    return  # a second tensor from outside, or one that comes later
                source = source if part in local else part
                parts[position] = f"<{local[part]}>" if part in local else "<source>"
        shape.append(f"{statement[2] or ''} = {''.join(parts)}")
        whole = needed <= place  # what came before is read no more
        local[statement[1]] = len(local)
        needed = max(needed, last_read.get(statement[1], 0))
        branches = max(reads.values(), default=0) > 1
        if len(shape) >= _SHORTEST and whole and branches and source and needed > place:
            yield _Stretch(start, tuple(shape), tuple(local), source, tuple(numbers))


def _numbered(found: re.Match[str], numbers: list[str]) -> str:
    """A number that may differ from place to place, by which of them it is."""
    numbers.append(found[2])
    return f"{found[1]} #{len(numbers) - 1}"


# -- layers --------------------------------------------------------------------------------


def _inner_names(stretch: _Stretch) -> list[str]:
    """Names of the tensors inside of a layer."""
    names = Names()
    names.give(_INPUT)
    return [names.give(name.removeprefix(stretch.prefix) or "result") for name in stretch.names]


@dataclass(frozen=True)
class _Option:
    """A parameter of a layer: what it is called in calls and in the layer, and which numbers it stands for."""

    word: str
    letter: str
    numbers: tuple[int, ...]


def _options(places: Sequence[_Stretch]) -> list[_Option]:
    """The parameters: one for all numbers that are the same in each place, none for those that are the same in all."""
    together: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, values in enumerate(zip(*(place.numbers for place in places), strict=True)):
        if len(set(values)) > 1:
            together[values].append(number)
    words = Counter[str]()
    found = []
    for numbers, letter in zip(together.values(), _LETTERS, strict=False):
        word = next(m[1] for line in places[0].shape if (m := re.search(rf"(\w+) #{numbers[0]}\b", line)))
        words[word] += 1
        found.append(_Option(word if words[word] == 1 else f"{word}{words[word]}", letter, tuple(numbers)))
    return found


def _definition(layer: str, places: Sequence[_Stretch]) -> list[str]:
    """The layer, with the names of its first place."""
    first = places[0]
    names = _inner_names(first)
    options = _options(places)
    letters = {number: option.letter for option in options for number in option.numbers}
    listed = "".join(f", {option.word} {option.letter}" for option in options)
    found = [f"layer {layer}({_INPUT}, Φ{listed}):"]
    for name, template in zip(names, first.shape, strict=True):
        body = template.replace("<source>", _INPUT)
        body = re.sub(r"<(\d+)>", lambda m: names[int(m[1])], body)
        body = re.sub(r"#(\d+)", lambda m: letters.get(int(m[1]), first.numbers[int(m[1])]), body)
        found.append(f"    {name}{body}")
    plain, _, last = first.shape[-1].partition(" = ")
    if plain or _CALL.fullmatch(last.replace("<source>", _INPUT)):  # weights of a call go by its name
        return [*found, f"    return {names[-1]}"]
    return [*found[:-1], f"    return {found[-1].partition(' = ')[2]}"]


def _with_calls(
    layer: str, lines: Sequence[str], places: Sequence[_Stretch], outputs: Sequence[str], names: Names
) -> tuple[list[str], dict[str, str]]:
    """The statements with a call in each place, and where statements with weights are now."""
    options, inner = _options(places), _inner_names(places[0])
    called: dict[str, str] = {}
    moved: dict[str, str] = {}
    for place in places:
        result = place.names[-1]
        called[result] = result if result in outputs else names.give(place.prefix.rstrip("_") or result)
        moved |= {old: f"{called[result]}.{new}" for old, new in zip(place.names, inner, strict=True)}
    found: list[str] = []
    end = 0
    for place in places:
        found += (_WORD.sub(lambda word: called.get(word[1], word[1]), line) for line in lines[end : place.start])
        given = "".join(f", {option.word} {place.numbers[option.numbers[0]]}" for option in options)
        found.append(f"{called[place.names[-1]]} = {layer}({called.get(place.source, place.source)}{given})")
        end = place.end
    return [*found, *(_WORD.sub(lambda word: called.get(word[1], word[1]), line) for line in lines[end:])], moved


# -- loops ---------------------------------------------------------------------------------


def _with_loops(lines: Sequence[str]) -> list[str]:
    """Calls of one layer that follow one another, numbered in their names, as loops."""
    found: list[str] = []
    place = 0
    while place < len(lines):
        count = _run(lines, place)
        if count < _LOOP:
            found.append(lines[place])
            place += 1
            continue
        stem, first, layer, source, options = _parsed(lines[place]) or ("", 0, "", "", "")
        last = first + count - 1
        if source != f"{stem}{first - 1}":  # the first of them reads a tensor of another name
            found.append(lines[place])
            first += 1
        found.append(f"for l in {first}..{last + 1}:")
        found.append(f"    {stem}{{l}} = {layer}({stem}{{l-1}}{options})")
        place += count
    return found


def _parsed(line: str) -> tuple[str, int, str, str, str] | None:
    """Stem and number of a call's name, the layer that it calls, what it reads, and the rest."""
    name, _, body = line.partition(" = ")
    member, call = _MEMBER.fullmatch(name), _CALL.fullmatch(body)
    if member is None or call is None or not call[1].startswith(_LAYER):
        return None
    return member[1], int(member[2]), call[1], call[2], call[3]


def _run(lines: Sequence[str], start: int) -> int:
    """How many calls from a place on are those of a loop."""
    count = 0
    before = None
    for line in lines[start:]:
        found = _parsed(line)
        if found is None:
            break
        if before is not None:
            stem, number, layer, _, options = before
            if found != (stem, number + 1, layer, f"{stem}{number}", options):
                break
        before = found
        count += 1
    return count
