"""Names of tensors in files: what they tell, and the rules by which users rename them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..compiler.weight_layouts import BIAS, MEAN, VARIANCE, WEIGHT
from ..dsl.names import normal
from ..runtime.errors import WeightsError

COUNTER = "num_batches_tracked"
"""What PyTorch's batch norms count, and nothing here needs."""

_WRAPPERS = ("module.", "_orig_mod.")
"""What `DataParallel` and `torch.compile` put before every name."""
_RECURRENT = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh)_l\d+(_reverse)?")
_KINDS = {"gamma": WEIGHT, "beta": BIAS, MEAN: MEAN, VARIANCE: VARIANCE}
_REFERENCE = re.compile(r"\*|\{(\d+)([+-]\d+)?\}")


def leaf(name: str) -> str:
    """The last part of a name."""
    return name.rpartition(".")[2]


def kind_of(name: str) -> str | None:
    """What a tensor is by its name in PyTorch: weight, bias, …; None if the name does not tell."""
    last = leaf(name)
    if recurrent := _RECURRENT.fullmatch(last):
        return recurrent[1]
    if last in _KINDS:
        return _KINDS[last]
    return next((kind for kind in (WEIGHT, BIAS) if last.endswith(kind)), None)


def plain(name: str) -> str:
    """A name in the spelling of the language: `Phi1.W` is `Φ1.W`."""
    return ".".join(map(normal, name.split(".")))


def unwrapped(names: Sequence[str]) -> dict[str, str]:
    """Names as they are -> without what wrappers put before all of them."""
    found = {name: name for name in names}
    while wrapper := next((w for w in _WRAPPERS if found and all(n.startswith(w) for n in found.values())), None):
        found = {name: short.removeprefix(wrapper) for name, short in found.items()}
    return found


@dataclass(frozen=True)
class Pattern:
    """Parts of a dotted name, in which `*` stands for anything within one part: `layer*.*`, `bn*`."""

    text: str

    @property
    def _expression(self) -> str:
        return r"([^.]*)".join(map(re.escape, self.text.split("*"))) + r"(?=\.|$)"

    def begins(self, name: str) -> bool:
        """Whether the first parts of a name match, as `aux*` does the first of `aux1.conv.weight`."""
        return re.match(self._expression, name) is not None

    def find(self, name: str) -> re.Match[str] | None:
        """Where some parts of a name match, for the first time."""
        return re.search(rf"(?:^|(?<=\.)){self._expression}", name)


@dataclass(frozen=True)
class Rule:
    """Part of a name in the file and what it is called in the program, as in `layer*.*=block{1}_{2+1}`.

    `*` stands for what the first, second, … `*` of the pattern matched, `{1}` for what the first
    did, and `{2+1}` for the number that the second did, plus 1.
    """

    pattern: Pattern
    replacement: str

    @staticmethod
    def parse(text: str) -> Rule:
        """A rule from `PATTERN=NAME`; raises `WeightsError`."""
        pattern, equals, replacement = (part.strip() for part in text.partition("="))
        if not equals or not pattern or not replacement:
            raise WeightsError(f"{text!r} is no rule for names: write PATTERN=NAME, as in 'layer*=block*'")
        stars = pattern.count("*")
        asked = [int(match[1]) for match in _REFERENCE.finditer(replacement) if match[1]]
        if max([replacement.count("*"), *asked]) > stars or 0 in asked:
            raise WeightsError(f"the rule {text!r} uses more than its pattern matches: that has {stars} of *")
        return Rule(Pattern(pattern), replacement)

    def apply(self, name: str) -> str | None:
        """The name with what matches replaced; None if nothing does.

        Raises `WeightsError` where a number is wanted and there is none.
        """
        found = self.pattern.find(name)
        if found is None:
            return None
        stars = iter(found.groups())

        def value(reference: re.Match[str]) -> str:
            if not reference[1]:
                return next(stars)
            text = found[int(reference[1])]
            if not reference[2]:
                return text
            if not text.isdecimal():
                raise WeightsError(f"{self.replacement} adds to {text!r} in {name}, which is no number")
            return str(int(text) + int(reference[2]))

        return name[: found.start()] + _REFERENCE.sub(value, self.replacement) + name[found.end() :]


@dataclass(frozen=True)
class Rules:
    """How the names of a file are to be read: renamed one rule after the other, some left out."""

    renames: tuple[Rule, ...] = ()
    skips: tuple[Pattern, ...] = ()

    @staticmethod
    def parse(rename: Iterable[str], skip: Iterable[str]) -> Rules:
        """Rules from their texts; raises `WeightsError` for one that cannot be understood."""
        return Rules(tuple(map(Rule.parse, rename)), tuple(map(Pattern, skip)))

    def renamed(self, name: str) -> str | None:
        """What a tensor is called by the rules; None if none of them is about it."""
        found = None
        for rule in self.renames:
            found = rule.apply(name if found is None else found) or found
        return found

    def skipped(self, name: str) -> bool:
        """Whether a tensor is left out."""
        return any(pattern.begins(name) for pattern in self.skips)

    def require_used(self, names: Iterable[str]) -> None:
        """Refuse a pattern that matches none of the names: a slip of the pen."""
        known = list(names)
        for number, rule in enumerate(self.renames):
            before = Rules(self.renames[:number])
            if not any(rule.pattern.find(before.renamed(name) or name) for name in known):
                raise WeightsError(f"no tensor of the file has a name that matches {rule.pattern.text}")
        for pattern in self.skips:
            if not any(pattern.begins(name) for name in known):
                raise WeightsError(f"no tensor of the file has a name that matches {pattern.text}")
