"""Random recurrences: lags, both directions, several carried tensors, starts of every kind, open lengths."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy
from cases import Case
from rounding import Array, Rounded, relu, sigmoid, tanh
from spelling import Speller, speller
from structures import Writer

KINDS = ("hidden", "hidden", "running sum", "filter", "two states", "gates", "product", "along space")


def _stack(rows: list[Rounded], axis: int) -> Rounded:
    return Rounded(
        numpy.stack([r.value for r in rows], axis), numpy.stack([r.error for r in rows], axis), rows[0].precision
    )


def _matrix(vector: Rounded, matrix: Rounded) -> Rounded:
    """vector[b, J] matrix[J, j]"""
    return (vector.move(lambda a: a[:, :, None]) * matrix.move(lambda a: a[None])).sum([1])


class _Loop(Writer):
    """A recurrence being written down along axis `t` of an input of `length` places."""

    def __init__(self, rng: random.Random, number: int, speller: Speller) -> None:
        super().__init__(rng, number, speller)
        self.sort = rng.choice(KINDS)
        self.dtype = rng.choice(("float32", "float32", "float32", "float64", "float16"))
        self.length = rng.choice((1, 2, 3, 5, 9))
        self.reverse = rng.random() < 0.35
        self.lag = 1 if self.sort in ("two states", "gates") else rng.choice((1, 1, 2, 3))
        self.lag = min(self.lag, self.length)
        self.width = rng.choice((1, 2, 5, 8, 16, 17))
        speller.name(["b", "t", "j", "i"])
        self.b, self.t, self.j, self.i = (speller.free(n) for n in ("b", "t", "j", "i"))
        self.order = speller.order(3)
        self.typed = "" if self.dtype == "float32" else f": {self.dtype}"
        self.start = rng.choice(("zero", "zero", "tensor", "row of the input"))
        if self.dtype == "float16" and self.sort == "product":
            self.sort = "running sum"

    def carried(self, letter: str, time: str, *rest: str) -> str:
        """A carried tensor at a time, in the layout of the results."""
        subscripts = [self.b, time, *(rest or (self.j,))]
        return f"{letter}{self.k}[{', '.join(subscripts[p] for p in self.order)}]"

    def earlier(self, lag: int) -> str:
        """The time from which a step reads."""
        return f"{self.t}+{lag}" if self.reverse else f"{self.t}-{lag}"

    def places(self) -> list[int]:
        """Times that are given: before the first step, or after it in a backward loop."""
        return [self.length + n for n in range(self.lag)] if self.reverse else [-1 - n for n in range(self.lag)]

    def starts(self, letter: str, image: str) -> list[str]:
        """The statements that give the values at `places`; the tensors that hold them ("" for zero)."""
        made = []
        for n, place in enumerate(self.places()):
            if self.start == "tensor":
                name = self.tensor(("HQ"[letter != "y"]) + "abc"[n], [self.width], self.dtype)
                right = self.read(name, self.b, self.j)
            elif self.start == "row of the input" and self.length > n and self.tensors[image].shape[1] == self.width:
                name, right = f"{image}@{n}", self.read(image, self.b, str(n), self.j)
            else:
                name, right = "", "0"
            made.append(name)
            self.lines.append(f"{self.carried(letter, str(place))}{self.typed} = {right}")
        return made

    def first(self, made: list[str], given: Mapping[str, Rounded], batch: int) -> dict[int, Rounded]:
        """The values at `places`."""
        some = next(iter(given.values())).precision
        found = {}
        for name, place in zip(made, self.places(), strict=True):
            if "@" in name:
                image, row = name.split("@")
                found[place] = given[image][:, int(row)]
            elif name:
                found[place] = given[name]
            else:
                found[place] = Rounded.given(numpy.zeros((batch, self.width)), some)
        return found

    def run(self, values: dict[int, Rounded], step) -> Rounded:  # type: ignore[no-untyped-def]
        """All steps in order: `step(time, values)` gives the next row."""
        times = range(self.length)
        for time in reversed(times) if self.reverse else times:
            values[time] = step(time, values).stored()
        return _stack([values[time] for time in times], 1)

    def case(self) -> Case:
        """The finished case."""
        make = {
            "hidden": self._hidden, "running sum": self._running, "filter": self._filter, "product": self._running,
            "two states": self._two, "gates": self._gates, "along space": self._space,
        }[self.sort]  # fmt: skip
        case = make()
        case.features |= {
            "family": "recurrence", "recurrence": self.sort, "direction": "backward" if self.reverse else "forward",
            "lag": str(self.lag), "start": self.start, "length": str(self.length),
            "axes": "permuted" if self.order != (0, 1, 2) else "in order",
        }  # fmt: skip
        return case

    def _shuffle(self) -> None:
        if self.speller.chance(0.5):
            self.lines = self.speller.shuffled(self.lines)

    def _hidden(self) -> Case:
        """h[t] = f(W h[t-1] + U x[t] - B)"""
        sign = 1 if not self.reverse else -1
        inner = self.rng.choice((1, 3, 8, self.width))
        image = self.tensor("x", [self.length, inner], self.dtype)
        weight = self.tensor("W", [self.width, self.width], self.dtype, "parameter")
        entry = self.tensor("U", [inner, self.width], self.dtype, "parameter")
        bias = self.tensor("B", [self.width], self.dtype, "parameter")
        function, meaning = self.rng.choice((("tanh", tanh), ("sigmoid", sigmoid), ("σ", sigmoid)))
        capital, other = self.speller.capital("j"), self.speller.capital("i")
        terms = [
            (f"0.2*{self.read(weight, capital, self.j)}*{self.carried('y', self.earlier(self.lag), capital)}", False),
            (self.speller.product([self.read(entry, other, self.j), self.read(image, self.b, self.t, other)]), False),
            (self.read(bias, self.j), True),
        ]
        self.lines.append(f"{self.carried('y', self.t)}{self.typed} = {function}({self.speller.sum(terms)})")
        made = self.starts("y", image)
        self._shuffle()

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            def step(time: int, values: dict[int, Rounded]) -> Rounded:
                scaled = 0.2 * given[weight]
                total = _matrix(values[time - sign * self.lag], scaled) + _matrix(given[image][:, time], given[entry])
                return meaning(total - given[bias])

            return self.run(self.first(made, given, len(given[image].value)), step)

        return self.finish(expected, self.dtype, self.order)

    def _running(self) -> Case:
        """s[t] = s[t-1] + x[t], or a product."""
        sign = 1 if not self.reverse else -1
        image = self.tensor("x", [self.length, self.width], self.dtype)
        product = self.sort == "product"
        operator = "*" if product else "+"
        parts = self.speller.shuffled(
            [self.carried("y", self.earlier(self.lag)), self.read(image, self.b, self.t, self.j)]
        )
        self.lines.append(f"{self.carried('y', self.t)}{self.typed} = {f' {operator} '.join(parts)}")
        made = self.starts("y", image)
        self._shuffle()

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            def step(time: int, values: dict[int, Rounded]) -> Rounded:
                before, now = values[time - sign * self.lag], given[image][:, time]
                return before * now if product else before + now

            return self.run(self.first(made, given, len(given[image].value)), step)

        return self.finish(expected, self.dtype, self.order)

    def _filter(self) -> Case:
        """A filter with memory: y[t] = x[t] + 0.5 y[t-1] - 0.25 y[t-lag]."""
        sign = 1 if not self.reverse else -1
        image = self.tensor("x", [self.length, self.width], self.dtype)
        near, far = self.carried("y", self.earlier(1)), self.carried("y", self.earlier(self.lag))
        terms = [(self.read(image, self.b, self.t, self.j), False), (f"0.5*{near}", False), (f"0.25*{far}", True)]
        self.lines.append(f"{self.carried('y', self.t)}{self.typed} = {self.speller.sum(terms)}")
        made = self.starts("y", image)
        self._shuffle()

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            def step(time: int, values: dict[int, Rounded]) -> Rounded:
                before, farther = values[time - sign], values[time - sign * self.lag]
                # bounds for any order of the three terms
                total = given[image][:, time] + 0.5 * before - 0.25 * farther
                slack = self.slack(given[image][:, time], before, farther)
                return Rounded(total.value, total.error + slack, total.precision)

            return self.run(self.first(made, given, len(given[image].value)), step)

        return self.finish(expected, self.dtype, self.order)

    @staticmethod
    def slack(*terms: Rounded) -> Array:
        """What reordering a short sum may change."""
        return 2 * terms[0].precision.unit * sum(abs(t.value) + t.error for t in terms)  # type: ignore[return-value]

    def _two(self) -> Case:
        """Two tensors that read each other: u[t] = u[t-1] + 0.1 y[t-1], y[t] = y[t-1] - 0.1 u[t] + x[t]."""
        sign = 1 if not self.reverse else -1
        image = self.tensor("x", [self.length, self.width], self.dtype)
        before = self.earlier(1)
        self.lines.append(
            f"{self.carried('u', self.t)}{self.typed} = {self.carried('u', before)} + 0.125*{self.carried('y', before)}"
        )
        self.lines.append(
            f"{self.carried('y', self.t)}{self.typed} = {self.carried('y', before)} - 0.125*{self.carried('u', self.t)}"
            f" + {self.read(image, self.b, self.t, self.j)}"
        )
        made, other = self.starts("y", image), self.starts("u", image)
        self._shuffle()

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            batch = len(given[image].value)
            second = self.first(other, given, batch)

            def step(time: int, values: dict[int, Rounded]) -> Rounded:
                second[time] = (second[time - sign] + 0.125 * values[time - sign]).stored()
                return values[time - sign] - 0.125 * second[time] + given[image][:, time]

            return self.run(self.first(made, given, batch), step)

        return self.finish(expected, self.dtype, self.order)

    def _gates(self) -> Case:
        """A cell with a gate: c[t] = g[t] c[t-1] + (1-g[t]) y[t-1] + x[t], y[t] = tanh(c[t]), g from the input."""
        sign = 1 if not self.reverse else -1
        image = self.tensor("x", [self.length, self.width], self.dtype)
        weight = self.tensor("W", [self.width, self.width], self.dtype, "parameter")
        before, capital = self.earlier(1), self.speller.capital("j")
        sum_text = self.speller.product([self.read(weight, capital, self.j), self.read(image, self.b, self.t, capital)])
        gate = f"σ({sum_text})"
        self.lines.append(
            f"{self.carried('c', self.t)}{self.typed} = {gate} * {self.carried('c', before)} + "
            f"(1 - {gate})*{self.carried('y', before)} + {self.read(image, self.b, self.t, self.j)}"
        )
        self.lines.append(f"{self.carried('y', self.t)}{self.typed} = tanh({self.carried('c', self.t)})")
        made, other = self.starts("y", image), self.starts("c", image)
        self._shuffle()

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            batch = len(given[image].value)
            cells = self.first(other, given, batch)

            def step(time: int, values: dict[int, Rounded]) -> Rounded:
                now = given[image][:, time]
                gate = sigmoid(_matrix(now, given[weight])).stored()
                cells[time] = (gate * cells[time - sign] + (1.0 - gate) * values[time - sign] + now).stored()
                return tanh(cells[time])

            return self.run(self.first(made, given, batch), step)

        return self.finish(expected, self.dtype, self.order)

    def _space(self) -> Case:
        """A sweep over rows: each row is the row before, blurred along it, and the image."""
        sign = 1 if not self.reverse else -1
        self.width = max(self.width, 3)
        image = self.tensor("x", [self.length, self.width], self.dtype)
        before = self.earlier(self.lag)
        size = self.width
        inside = f"{{ {self.carried('y', before, f'{self.j}-1')} if {self.j} >= 1 ; 0 otherwise }}"
        right = f"relu(0.5*{self.carried('y', before)} + 0.25*{inside} + {self.read(image, self.b, self.t, self.j)})"
        left = [self.b, self.t, f"{self.j} in 0..{size}"]
        self.lines.append(f"y{self.k}[{', '.join(left[p] for p in self.order)}]{self.typed} = {right}")
        made = self.starts("y", image)
        self._shuffle()

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            def step(time: int, values: dict[int, Rounded]) -> Rounded:
                row = values[time - sign * self.lag]
                moved = row.move(lambda a: numpy.pad(a, ((0, 0), (1, 0)))[:, :-1])
                return relu(0.5 * row + 0.25 * moved + given[image][:, time])

            return self.run(self.first(made, given, len(given[image].value)), step)

        return self.finish(expected, self.dtype, self.order)


def recurrence_case(seed: int, number: int, *, spelling: int | str = 0) -> Case:
    """A random recurrence, a function of `seed`; `spelling` chooses how it is written."""
    return _Loop(random.Random(f"recurrence {seed}"), number, speller(seed, spelling)).case()
