"""Random element-wise chains: broadcast operands, functions, comparisons, truth values, whole numbers, casts."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy
from cases import FLOATS, Case, numpy_dtype
from rounding import PRECISIONS, Rounded, relu, sigmoid, tanh
from spelling import Speller, speller
from structures import Writer

Meaning = Callable[[Mapping[str, Rounded]], Rounded]
KINDS = (
    "float chain",
    "float chain",
    "float chain",
    "whole numbers",
    "truth values",
    "choice",
    "cast",
    "layers of chains",
)


class _Chain(Writer):
    """An element-wise expression being written down, over three axes and the batch."""

    def __init__(self, rng: random.Random, number: int, speller: Speller) -> None:
        super().__init__(rng, number, speller)
        self.sort = rng.choice(KINDS)
        self.sizes = [rng.choice((1, 2, 3, 5, 7, 8, 9, 16, 17, 33)) for _ in range(rng.choice((1, 2, 2, 3)))]
        self.names = [f"a{n}" for n in range(len(self.sizes))]
        speller.name(["b", *self.names])
        self.free = [speller.free(n) for n in ("b", *self.names)]
        self.broadcasts = 0

    def leaf(self, dtype: str, values: str | int = "normal", *, full: bool = False) -> tuple[str, Meaning]:
        """A read of a new tensor with some of the axes."""
        count = len(self.tensors)
        kept = [a for a in range(len(self.sizes)) if full or self.rng.random() < 0.6]
        kind = "input" if full or self.rng.random() < 0.5 else self.rng.choice(("parameter", "single"))
        self.broadcasts += len(kept) < len(self.sizes) or kind != "input"
        name = self.tensor("ACDEFGHKLMNOPQRSTUVWZ"[count], [self.sizes[a] for a in kept], dtype, kind, values)
        subscripts = [*([self.free[0]] if kind == "input" else []), *(self.free[1 + a] for a in kept)]
        shape = [-1 if kind == "input" else 1, *(self.sizes[a] if a in kept else 1 for a in range(len(self.sizes)))]
        return self.read(name, *subscripts), lambda given: given[name].move(lambda array: array.reshape(shape))

    # -- floats --------------------------------------------------------------------------------
    def floats(self, dtype: str, depth: int, *, full: bool = False) -> tuple[str, Meaning]:
        """An expression of floats whose values stay moderate."""
        if depth == 0:
            return self.leaf(dtype, full=full)
        rng = self.rng
        text, value = self.floats(dtype, depth - 1, full=full)
        choice = rng.randrange(14)
        if choice < 5:
            other, meaning = self.floats(dtype, rng.randrange(depth))
            operator = rng.choice(("+", "-", "*"))
            if operator == "*" and self.speller.chance(0.3):
                return f"({text}) ({other})", lambda g: value(g) * meaning(g)
            combined = {
                "+": lambda g: value(g) + meaning(g),
                "-": lambda g: value(g) - meaning(g),
                "*": lambda g: value(g) * meaning(g),
            }[operator]
            return f"(({text}) {operator} ({other}))", combined
        if choice < 7:
            other, meaning = self.floats(dtype, rng.randrange(depth))
            if rng.random() < 0.5:
                return f"max({text}, {other})", lambda g: value(g).larger(meaning(g))
            return f"min({text}, {other})", lambda g: value(g).smaller(meaning(g))
        unary: list[tuple[str, Callable[[Rounded], Rounded]]] = [
            (f"tanh({text})", tanh), (f"σ({text})", sigmoid), (f"relu({text})", relu),
            (f"sin({text})", lambda v: v.elementary(numpy.sin)), (f"cos({text})", lambda v: v.elementary(numpy.cos)),
            (f"exp(-abs({text}))", lambda v: (-v.map(numpy.abs)).exp()),
            (f"sqrt(abs({text}) + 1)", lambda v: (v.map(numpy.abs) + 1.0).sqrt()),
            (f"log(1.5 + abs({text}))", lambda v: (1.5 + v.map(numpy.abs)).log()),
            (f"1/(abs({text}) + 0.5)", lambda v: 1.0 / (v.map(numpy.abs) + 0.5)),
            (f"({text})²", lambda v: v * v), (f"({text})^2", lambda v: v * v),
            (f"0.3*({text})", lambda v: 0.3 * v), (f"-({text})", lambda v: -v),
            (f"(({text}) - 1)/2", lambda v: (v - 1.0) / 2.0),
        ]  # fmt: skip
        spelled, function = rng.choice(unary)
        return spelled, lambda g: function(value(g))

    def _float_chain(self) -> Case:
        dtype = self.rng.choice(("float32", "float32", *FLOATS))
        text, value = self.floats(dtype, self.rng.randint(1, 4), full=True)
        return self._done(text, value, dtype)

    def _layers(self) -> Case:
        """Several statements, each element-wise, some read more than once."""
        dtype = self.rng.choice(("float32", "float32", *FLOATS))
        text, value = self.floats(dtype, 1, full=True)
        for step in range(self.rng.randint(1, 3)):
            name = f"{'ace'[step]}q{self.k}"
            order = self.speller.order(len(self.free))
            typed = "" if dtype == "float32" else f": {dtype}"
            self.lines.append(f"{name}[{', '.join(self.free[p] for p in order)}]{typed} = {text}")
            again = f"{name}[{', '.join(self.free[p] for p in order)}]"
            other, meaning = self.floats(dtype, 1)
            before = value
            twice = self.rng.random() < 0.5
            text = f"max({again}, 0.5*{again}) + {other}" if twice else f"{again} * {other}"

            def value(g, before=before, meaning=meaning, twice=twice):  # type: ignore[no-untyped-def]
                known = before(g).stored()
                return known.larger(0.5 * known) + meaning(g) if twice else known * meaning(g)

        return self._done(text, value, dtype)

    # -- whole numbers and truth values ------------------------------------------------------------
    def _whole(self) -> Case:
        dtype = self.rng.choice(("int32", "int64", "uint8"))
        text, value = self.leaf(dtype, full=True, values=9)
        for _ in range(self.rng.randint(1, 3)):
            choice = self.rng.randrange(7)
            before, old = value, text
            if choice < 2:
                number = self.rng.randint(2, 5)
                text = f"({old}) // {number}" if choice == 0 else f"({old}) % {number}"
                function = numpy.floor_divide if choice == 0 else numpy.mod
                value = lambda g, f=function, n=number, v=before: v(g).map(lambda a: f(a, n))  # noqa: E731
            elif choice == 2:
                text, value = f"({old}) + 3", lambda g, v=before: v(g) + 3.0
            else:
                other, meaning = self.leaf(dtype, values=5)
                if choice == 3:
                    text, value = f"(({old}) + ({other}))", lambda g, v=before, m=meaning: v(g) + m(g)
                elif choice == 4 and dtype != "uint8":
                    text, value = f"(({old}) - ({other}))", lambda g, v=before, m=meaning: v(g) - m(g)
                elif choice == 5:
                    text, value = f"max({old}, {other})", lambda g, v=before, m=meaning: v(g).larger(m(g))
                else:
                    text, value = f"min({old}, {other})", lambda g, v=before, m=meaning: v(g).smaller(m(g))
        return self._done(text, value, dtype)

    def truth(self, depth: int, *, full: bool = False) -> tuple[str, Meaning]:
        """An expression of truth values."""
        rng = self.rng
        if depth == 0 or rng.random() < 0.2:
            if rng.random() < 0.4:
                return self.leaf("bool", full=full)
            dtype = rng.choice(("float32", "int32", "float64", "uint8"))
            text, value = self.leaf(dtype, full=full, values=5 if dtype in ("int32", "uint8") else "distinct")
            symbol = rng.choice(("<", "<=", ">", ">=", "==", "!=", "≤", "≥", "≠"))
            function = {
                "<": numpy.less, ">": numpy.greater, "==": numpy.equal, "!=": numpy.not_equal, "≠": numpy.not_equal,
                "<=": numpy.less_equal, "≤": numpy.less_equal, ">=": numpy.greater_equal, "≥": numpy.greater_equal,
            }[symbol]  # fmt: skip
            number = rng.randint(0, 3)
            return f"{text} {symbol} {number}", lambda g: value(g).map(lambda a: function(a, number).astype(float))
        text, value = self.truth(depth - 1, full=full)
        choice = rng.randrange(3)
        if choice == 0:
            word = "not" if self.speller.chance(0.6) else "¬"
            return f"{word} ({text})", lambda g: value(g).map(lambda a: 1 - a)
        other, meaning = self.truth(depth - 1)
        spelled = {1: ("and", "∧"), 2: ("or", "∨")}[choice][self.speller.chance(0.4)]
        function = numpy.minimum if choice == 1 else numpy.maximum

        def both(g: Mapping[str, Rounded]) -> Rounded:
            right = meaning(g).value
            left = value(g)
            result = function(left.value, right)
            return Rounded(result, numpy.zeros_like(result), left.precision)

        return f"({text}) {spelled} ({other})", both

    def _truth_values(self) -> Case:
        text, value = self.truth(self.rng.randint(1, 3), full=True)
        return self._done(text, value, "bool")

    def _choice(self) -> Case:
        """`{ a if condition ; b otherwise }` with a condition on data."""
        dtype = self.rng.choice(("float32", "float64", "float16", "bfloat16"))
        first, a = self.floats(dtype, 1, full=True)
        second, b = self.floats(dtype, 1)
        test, condition = self.truth(1)
        text = f"{{ {first} if {test} ; {second} otherwise }}"
        if self.speller.chance(0.3):
            text = f"{first} if {test} else {second}"

        def value(g: Mapping[str, Rounded]) -> Rounded:
            left, right, where = a(g), b(g), condition(g).value > 0
            return Rounded(
                numpy.where(where, left.value, right.value), numpy.where(where, left.error, right.error), left.precision
            )

        return self._done(text, value, dtype)

    def _cast(self) -> Case:
        """From every dtype to every other, with values that both hold."""
        source, target = (
            self.rng.choice((*FLOATS, "int32", "int64", "uint8", "bool")),
            self.rng.choice((*FLOATS, "int32", "int64", "uint8")),
        )
        text, value = self.leaf(source, full=True, values="normal" if source in FLOATS and target in FLOATS else 9)
        if source in FLOATS and target in FLOATS:
            dtype = numpy_dtype(target)

            def cast(g: Mapping[str, Rounded]) -> Rounded:
                # rounding to nearest, so exact but for what the interpreter, which never rounds, leaves
                found = replace(value(g), precision=PRECISIONS[target])
                if found.precision == PRECISIONS[target] and target in ("float16", "bfloat16", "float32"):
                    rounded = found.value.astype(numpy.float32).astype(dtype).astype(numpy.float64)
                    return Rounded(found.value, abs(rounded - found.value), found.precision)
                return found

            return self._done(f"{target}({text})", cast, target)
        if source in FLOATS:
            # halves are cut off towards zero
            return self._done(f"{target}({text}/2)", lambda g: value(g).map(lambda a: numpy.trunc(a / 2)), target)
        return self._done(f"{target}({text})", lambda g: replace(value(g), precision=PRECISIONS[target]), target)

    def case(self) -> Case:
        """The finished case."""
        make = {
            "float chain": self._float_chain, "whole numbers": self._whole, "truth values": self._truth_values,
            "choice": self._choice, "cast": self._cast, "layers of chains": self._layers,
        }[self.sort]  # fmt: skip
        return make()

    def _done(self, text: str, value: Meaning, dtype: str) -> Case:
        order = self.define(list(self.free), text)
        self.features = {
            "family": "element-wise", "chain": self.sort, "broadcast": "yes" if self.broadcasts else "no",
            "axes count": str(1 + len(self.sizes)),
        }  # fmt: skip

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            found = value(given)
            batch = max(len(given[n].value) for n, t in self.tensors.items() if t.kind == "input")
            shape = (batch, *self.sizes)
            return found.move(lambda array: numpy.broadcast_to(array, shape))

        return self.finish(expected, dtype, order)


def elementwise_case(seed: int, number: int, *, spelling: int | str = 0) -> Case:
    """A random element-wise chain, a function of `seed`; `spelling` chooses how it is written."""
    return _Chain(random.Random(f"element-wise {seed}"), number, speller(seed, spelling)).case()
