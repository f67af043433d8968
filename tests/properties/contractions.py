"""Random sums of products: two to four tensors, any axes shared, several terms, fused sums, parentheses."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from functools import reduce

import numpy
from cases import Case, Tensor
from description import Factor, Product, axes, multiply_and_sum
from rounding import Rounded
from spelling import Speller, speller

SIZES = (1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 31, 32, 33, 64, 67)
DTYPES = ("float32",) * 5 + ("float64", "float16", "bfloat16", "int32", "int64")
LIMIT = 150_000


class _Contraction:
    """A sum of products being written down."""

    def __init__(self, rng: random.Random, number: int, speller: Speller) -> None:
        self.rng, self.k, self.speller = rng, number, speller
        self.dtype = rng.choice(DTYPES)
        self.kind = rng.choice(("factors", "factors", "factors", "difference", "fused sum", "no batch"))
        free = [f"f{n}" for n in range(rng.choice((0, 1, 1, 2, 2, 3)))]
        summed = [f"s{n}" for n in range(rng.choice((1, 1, 1, 2, 2, 3)))]
        if self.kind == "fused sum":
            summed = [f"s{n}" for n in range(rng.choice((2, 3)))]
        while True:
            self.sizes = {n: rng.choice(SIZES) for n in (*free, *summed)}
            if math.prod(self.sizes.values()) <= LIMIT:
                break
        self.free, self.summed = free, summed
        self.outer = [] if self.kind == "no batch" else ["b"]
        self.count = 2 if self.kind in ("difference", "fused sum") else rng.choice((2, 2, 3, 4))
        self.lines: list[str] = []
        self.tensors: dict[str, Tensor] = {}
        self.orders: dict[str, tuple[int, ...]] = {}

    def tensor(self, along: list[str]) -> Factor:
        """A new tensor with some axes, an input of batches if the batch is among them."""
        name = f"{'ACDEFGH'[len(self.tensors)]}{self.k}"
        shape = [self.sizes[n] for n in along if n != "b"]
        order = self.speller.order(len(shape))
        kind = "input" if "b" in along else self.rng.choice(("parameter", "single"))
        self.tensors[name] = Tensor(tuple(shape), self.dtype, kind, order)
        shift = 1 if kind == "input" else 0
        self.orders[name] = (*range(shift), *(shift + p for p in order))
        return Factor(name, axes(along))

    def factors(self, summed: list[str]) -> list[Factor]:
        """Tensors such that each summed axis occurs in two of them at least and each free one somewhere."""
        along: list[set[str]] = [set() for _ in range(self.count)]
        for name in summed:
            for position in self.rng.sample(range(self.count), self.rng.choice((2, self.count))):
                along[position].add(name)
        for name in self.free:
            for position in self.rng.sample(range(self.count), self.rng.choice((1, 1, min(2, self.count)))):
                along[position].add(name)
        if self.outer:
            along[0].add("b")
            for position in range(1, self.count):
                if self.rng.random() < 0.25:
                    along[position].add("b")
        return [self.tensor(sorted(names)) for names in along if names]

    def case(self) -> Case:
        """The finished case."""
        speller, k = self.speller, self.k
        speller.name([*self.outer, *self.sizes])
        results = [*self.outer, *self.free]
        written = {n: speller.free(n) if n in results else speller.capital(n) for n in speller.names}
        products: list[Product] = []
        terms: list[tuple[str, bool]] = []
        if self.kind == "difference":
            self._difference(products, terms, written)
        else:
            for _ in range(self.rng.choice((1, 1, 2, 3))):
                factors = self.factors(self.summed) if len(self.tensors) + self.count <= 7 else []
                if factors:
                    products.append(Product(tuple(factors), bool(products) and self.rng.random() < 0.4))
                    terms.append((self._product(factors, written), products[-1].negative))
        right = speller.sum(terms)
        scale = 1.0
        if self.dtype.startswith(("float", "bfloat")) and self.rng.random() < 0.2:
            axis = self.summed[0]
            capital = speller.capital(axis)
            scale = float(self.sizes[axis])
            right = f"({right})/{capital}"
        order = speller.order(len(results))
        left = f"[{', '.join(written[results[p]] for p in order)}]" if results else "[]"
        self.lines.append(f"y{k}{left} = {right}")
        sizes = self.sizes

        def expected(values: Mapping[str, Rounded]) -> Rounded:
            batch = max((len(values[n].value) for n, t in self.tensors.items() if t.kind == "input"), default=1)
            box = {"b": batch, **sizes} if self.outer else sizes
            parts = [multiply_and_sum(product, values, box, results) for product in products]
            whole = reduce(lambda a, b: a + b, parts)
            whole = whole / scale if scale != 1.0 else whole
            return whole.move(lambda array: numpy.broadcast_to(array, tuple(box[n] for n in results)))

        return Case(
            f"y{k}",
            self.lines,
            self.tensors,
            expected,
            self.dtype,
            order,
            features=self._features(len(products), scale),
        )

    def _product(self, factors: list[Factor], written: Mapping[str, str]) -> str:
        texts = [self.speller.factor(f, self.orders, written) for f in factors]
        if self.kind == "fused sum":
            texts = [self._fused(f, written) for f in factors]
        return self.speller.product(texts)

    def _fused(self, factor: Factor, written: Mapping[str, str]) -> str:
        """Neighbouring summed axes in round brackets, as `(ΔX,I)`; the tensor has an axis for each."""
        names = [subscript.terms[0][1] for subscript in factor.subscripts]
        ordered = [names[p] for p in self.orders[factor.tensor]]
        parts: list[str] = []
        run: list[str] = []
        for name in [*ordered, ""]:
            if name in self.summed:
                run.append(written[name])
                continue
            if run:
                parts.append(f"({','.join(run)})" if len(run) > 1 else run[0])
                run = []
            if name:
                parts.append(written[name])
        return f"{factor.tensor}[{', '.join(parts)}]"

    def _difference(self, products: list[Product], terms: list[tuple[str, bool]], written: Mapping[str, str]) -> None:
        """`W * (L - M)`: one sum around a difference, with the same axes summed in both of its terms."""
        weight = self.tensor(sorted({*self.summed, *self.free[:1]}))
        left = self.tensor(sorted({*self.outer, *self.summed, *self.free[1:]}))
        right = self.tensor(sorted(self.summed))
        products += [Product((weight, left)), Product((weight, right), True)]
        text = {f.tensor: self.speller.factor(f, self.orders, written) for f in (weight, left, right)}
        inside = f"({text[left.tensor]} - {text[right.tensor]})"
        terms.append((self.speller.product([text[weight.tensor], inside]), False))

    def _features(self, terms: int, scale: float) -> dict[str, str]:
        largest = max(self.sizes.values())
        return {
            "family": "contraction", "form": self.kind, "dtype": self.dtype, "terms": str(terms),
            "factors": str(self.count), "summed axes": str(len(self.summed)), "free axes": str(len(self.free)),
            "largest axis": "tiny" if largest < 4 else "below 16" if largest < 16 else "16 or more",
            "script": self.speller.script, "scaled": "by a size" if scale != 1.0 else "no",
            "axes": "permuted" if any(o != tuple(range(len(o))) for o in self.orders.values()) else "in order",
        }  # fmt: skip


def contraction_case(seed: int, number: int, *, spelling: int | str = 0) -> Case:
    """A random sum of products, a function of `seed`; `spelling` chooses how it is written."""
    return _Contraction(random.Random(f"contraction {seed}"), number, speller(seed, spelling)).case()
