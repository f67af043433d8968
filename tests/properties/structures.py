"""Random equations that move elements about: concatenation, cases, gathers, partial definitions, fused axes.

Each function writes one kind of statement down with sizes, orders and names of its own
and says in NumPy what it means.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import numpy
from cases import Case, Tensor
from rounding import Array, Rounded
from spelling import Speller, speller

FLOATS = ("float32", "float32", "float64", "float16", "bfloat16")
DTYPES = (*FLOATS, "int32", "int64", "uint8", "bool")


class Writer:
    """What the kinds share: tensors in layouts of their own, and reads in those layouts."""

    def __init__(self, rng: random.Random, number: int, speller: Speller, turn: int = 0) -> None:
        self.rng, self.k, self.speller, self.turn = rng, number, speller, turn
        self.lines: list[str] = []
        self.tensors: dict[str, Tensor] = {}
        self.orders: dict[str, tuple[int, ...]] = {}
        self.features: dict[str, str] = {}

    def kind(self, *kinds: str) -> str:
        """The kinds in turn."""
        return kinds[self.turn % len(kinds)]

    def tensor(
        self, letter: str, shape: list[int], dtype: str, kind: str = "input", values: str | int = "normal"
    ) -> str:
        """Declare a tensor; `shape` is without the batch."""
        name = f"{letter}{self.k}"
        order = self.speller.order(len(shape))
        self.tensors[name] = Tensor(tuple(shape), dtype, kind, order, values)
        shift = 1 if kind == "input" else 0
        self.orders[name] = (*range(shift), *(shift + p for p in order))
        return name

    def read(self, name: str, *subscripts: str) -> str:
        """A read; `subscripts` in canonical order."""
        return f"{name}[{', '.join(subscripts[p] for p in self.orders[name])}]"

    def define(self, subscripts: list[str], right: str, *, shuffle: bool = True) -> tuple[int, ...]:
        """The defining statement of the result; the order of its axes."""
        order = self.speller.order(len(subscripts)) if shuffle else tuple(range(len(subscripts)))
        self.lines.append(f"y{self.k}[{', '.join(subscripts[p] for p in order)}] = {right}")
        return order

    def finish(
        self, expected: Callable[[Mapping[str, Rounded]], Rounded], dtype: str, order: tuple[int, ...] | None,
        peer: Callable[[Mapping[str, Array]], Array] | None = None,
    ) -> Case:  # fmt: skip
        """The case."""
        features = {"dtype": dtype, "script": self.speller.script, **self.features}
        return Case(f"y{self.k}", self.lines, self.tensors, expected, dtype, order, peer, features)


def concatenation(w: Writer) -> Case:
    """Two to four pieces along any axis but the batch; some are computed, some lack an axis and broadcast."""
    rng, speller, k = w.rng, w.speller, w.k
    dtype = rng.choice(DTYPES)
    count, rank = rng.choice((2, 2, 3, 4)), rng.choice((1, 2, 3))
    joined = rng.randrange(rank)
    shared = [rng.choice((1, 2, 3, 5, 8)) for _ in range(rank)]
    parts = [rng.choice((1, 2, 3, 7, 8, 16, 17)) for _ in range(count)]
    names = [f"a{n}" for n in range(rank)]
    speller.name(["b", *names, *(f"p{n}" for n in range(count))])
    free = {n: speller.free(n) for n in speller.names}
    pieces: list[str] = []
    makers: list[Callable[[Mapping[str, Rounded]], Rounded]] = []
    kinds = set()
    for n in range(count):
        axis = speller.capital(f"p{n}")
        shape = [parts[n] if a == joined else shared[a] for a in range(rank)]
        # the first piece has all axes, so that every size is known
        lacking = rng.choice([a for a in range(rank) if a != joined]) if n and rank > 1 and rng.random() < 0.4 else None
        kept = [a for a in range(rank) if a != lacking]
        single = n > 0 and rng.random() < 0.2
        letter = "ACDE"[n]
        name = w.tensor(letter, [shape[a] for a in kept], dtype, "single" if single else "input")
        text = w.read(name, *([] if single else [free["b"]]), *(axis if a == joined else free[names[a]] for a in kept))
        kinds.add("broadcast" if lacking is not None or single else "whole")
        numeric = dtype in ("float32", "float64") and rng.random() < 0.4
        if numeric:
            kinds.add("computed")
        pieces.append(f"tanh({text})" if numeric else text)

        def make(given, name=name, lacking=lacking, single=single, numeric=numeric):  # type: ignore[no-untyped-def]
            value = given[name].move(lambda array: array[None] if single else array)
            value = value if lacking is None else value.move(lambda array: numpy.expand_dims(array, 1 + lacking))
            return value.elementary(numpy.tanh) if numeric else value

        makers.append(make)
    left = [free["b"], *(free[n] for n in names)]
    left[1 + joined] = "+".join(speller.capital(f"p{n}") for n in range(count))
    order = w.define(left, " ; ".join(pieces))

    def expected(given: Mapping[str, Rounded]) -> Rounded:
        batch = len(given[f"A{k}"].value)
        found = [make(given) for make in makers]
        whole = [(batch, *(parts[n] if a == joined else shared[a] for a in range(rank))) for n in range(count)]
        value = [numpy.broadcast_to(f.value, s) for f, s in zip(found, whole, strict=True)]
        error = [numpy.broadcast_to(f.error, s) for f, s in zip(found, whole, strict=True)]
        axis = 1 + joined
        return Rounded(numpy.concatenate(value, axis), numpy.concatenate(error, axis), found[0].precision)

    w.features = {"family": "concatenation", "pieces": str(count), "piece kinds": "+".join(sorted(kinds))}
    return w.finish(expected, dtype, order)


def piecewise(w: Writer) -> Case:
    """Cases by position or by value; an arm is read only where its guard holds."""
    rng, speller = w.rng, w.speller
    dtype = rng.choice(("float32", "float32", "float64", "float16", "int32", "int64"))
    size, channels = rng.choice((1, 2, 3, 5, 8, 13, 17)), rng.choice((1, 3, 4, 8, 17))
    speller.name(["b", "x", "c"])
    b, x, c = (speller.free(n) for n in ("b", "x", "c"))
    kind = w.kind("more channels", "by position", "by value", "two guards", "chain", "strided", "conditional")
    image = w.tensor("L", [size, channels], dtype)
    word = "for" if speller.chance(0.3) else "if"
    cut = rng.randint(1, size)
    # reads inside guards say nothing of how far an index goes
    ranged = f"{x} in 0..{size}"
    if kind in ("more channels", "strided"):
        more = channels + rng.choice((1, 2, channels))
        stride = rng.choice((2, 3)) if kind == "strided" else 1
        results = (size - 1) // stride + 1
        at = x if stride == 1 else f"{stride}*{x}"
        bound = "size(" + image + f", {1 + w.tensors[image].layout.index(1)})" if speller.chance(0.3) else str(channels)
        left = [b, x if stride == 1 else f"{x} in 0..{results}", f"{c} in 0..{more}"]
        order = w.define(left, f"{{ {w.read(image, b, at, c)} {word} {c} < {bound} ; 0 otherwise }}")

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            return given[image].move(lambda a: numpy.pad(a[:, ::stride], ((0, 0), (0, 0), (0, more - channels))))
    elif kind == "by position":
        other = w.tensor("R", [cut, channels], dtype)
        first = w.read(other, b, x, c)
        order = w.define([b, ranged, c], f"{{ {first} {word} {x} < {cut} ; {w.read(image, b, x, c)} otherwise }}")

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            joined = [given[other], given[image][:, cut:]]
            value, error = [j.value for j in joined], [j.error for j in joined]
            return Rounded(numpy.concatenate(value, 1), numpy.concatenate(error, 1), joined[0].precision)
    elif kind == "by value":
        text = w.read(image, b, x, c)
        order = w.define([b, x, c], f"{{ {text} {word} {text} >= 0 ; 2*{text} otherwise }}")

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            return given[image].map(lambda a: numpy.where(a >= 0, a, 2 * a))
    elif kind == "two guards":
        text, low = w.read(image, b, x, c), rng.randrange(size)
        order = w.define([b, ranged, c], f"{{ {text} {word} {low} <= {x} and {x} < {low + cut} ; 1 otherwise }}")

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            inside = (numpy.arange(size) >= low) & (numpy.arange(size) < low + cut)
            return given[image].map(lambda a: numpy.where(inside[:, None], a, 1))
    elif kind == "chain":
        text = w.read(image, b, x, c)
        arms = f"{text} {word} {x} < {cut} ; -{text} {word} {x} < {cut + 1} ; {text} + 1 otherwise"
        order = w.define([b, ranged, c], f"{{ {arms} }}")

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            places = numpy.arange(size)[:, None]
            tests = [places < cut, places < cut + 1]
            value = given[image] + 1.0
            kept = numpy.select(tests, [given[image].value, -given[image].value], value.value)
            return Rounded(kept, numpy.broadcast_to(value.error, kept.shape), value.precision)
    else:
        text = w.read(image, b, x, c)
        order = w.define([b, x, c], f"{text} if {text} > 0 or {x} == 0 else 0")

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            first = numpy.arange(size)[:, None] == 0
            return given[image].map(lambda a: numpy.where((a > 0) | first, a, 0))

    w.features = {"family": "cases", "guard": kind}
    return w.finish(expected, dtype, order)


def gathers(w: Writer) -> Case:
    """Subscripts that are elements of tensors of whole numbers."""
    rng, speller = w.rng, w.speller
    dtype = rng.choice(("float32", "float32", "float64", "float16", "bfloat16", "int64", "uint8", "bool"))
    index = rng.choice(("int64", "int32", "uint8"))
    kind = w.kind("table", "per sample", "permutation", "window", "summed", "two")
    rows, channels, length = rng.choice((1, 3, 8, 17)), rng.choice((1, 2, 5, 16, 19)), rng.choice((1, 2, 5, 9, 16))
    speller.name(["b", "t", "j", "d"])
    b, t, j, d = (speller.free(n) for n in ("b", "t", "j", "d"))
    if kind in ("table", "summed"):
        if kind == "summed" and dtype not in FLOATS:
            dtype = "float32"
        tokens = w.tensor("N", [length], index, "input", rows)
        table = w.tensor("T", [rows, channels], dtype, rng.choice(("parameter", "single")))
        if kind == "table":
            order = w.define([b, t, j], w.read(table, w.read(tokens, b, t), j))

            def expected(given: Mapping[str, Rounded]) -> Rounded:
                chosen = given[tokens].value.astype(int)
                return given[table].move(lambda a: a[chosen])
        else:
            capital = speller.capital("t")
            weight = w.tensor("W", [length], dtype, "parameter")
            product = speller.product([w.read(weight, capital), w.read(table, w.read(tokens, b, capital), j)])
            order = w.define([b, j], product)

            def expected(given: Mapping[str, Rounded]) -> Rounded:
                chosen = given[tokens].value.astype(int)
                rows = given[table].move(lambda a: a[chosen])
                return (rows * given[weight].move(lambda a: a[:, None])).sum([1])
    elif kind == "per sample":
        tokens = w.tensor("N", [length], index, "input", rows)
        image = w.tensor("L", [rows, channels], dtype)
        order = w.define([b, t, j], w.read(image, b, w.read(tokens, b, t), j))

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            chosen = given[tokens].value.astype(int)
            return given[image].move(lambda a: numpy.take_along_axis(a, chosen[:, :, None], 1))
    elif kind == "permutation":
        places = w.tensor("N", [channels], index, "single", channels)
        image = w.tensor("L", [rows, channels], dtype)
        order = w.define([b, t, j], w.read(image, b, t, w.read(places, j)))

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            return given[image].move(lambda a: a[..., given[places].value.astype(int)])
    elif kind == "two":
        first = w.tensor("N", [length], index, "input", rows)
        second = w.tensor("M", [length], index, "single", channels)
        table = w.tensor("T", [rows, channels], dtype, "single")
        order = w.define([b, t], w.read(table, w.read(first, b, t), w.read(second, t)))

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            chosen = given[first].value.astype(int), given[second].value.astype(int)
            return given[table].move(lambda a: a[chosen[0], chosen[1][None]])
    else:
        if dtype not in FLOATS:
            dtype = "float32"
        width = rng.choice((1, 2, 3))
        starts = w.tensor("N", [length], index, "input", rows)
        image = w.tensor("L", [rows + width - 1, channels], dtype)
        reduced = f"sum[{d} in 0..{width}]({w.read(image, b, f'{w.read(starts, b, t)} + {d}', j)})"
        order = w.define([b, t, j], reduced)

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            chosen = given[starts].value.astype(int)[:, :, None] + numpy.arange(width)
            sample = numpy.arange(len(chosen))[:, None, None]
            return given[image].move(lambda a: a[sample, chosen]).sum([2])

    w.features = {"family": "gather", "gather": kind, "index dtype": index}
    return w.finish(expected, dtype, order)


def partial(w: Writer) -> Case:
    """Several equations for one tensor: interleavings, blocks, borders, places on a grid."""
    rng, speller, k = w.rng, w.speller, w.k
    dtype = rng.choice(DTYPES)
    kind = w.kind("interleaved", "interleaved", "blocks", "grid")
    count = 4 if kind == "grid" else rng.choice((2, 2, 3))
    size, second, channels = rng.choice((1, 2, 3, 5, 8, 17)), rng.choice((1, 2, 3, 4)), rng.choice((1, 3, 8, 16))
    speller.name(["b", "x", "y", "j"])
    b, x, y, j = (speller.free(n) for n in ("b", "x", "y", "j"))
    order = speller.order(4 if kind == "grid" else 3)
    sources = []
    for n in range(count):
        shape = [size, second, channels] if kind == "grid" else [size, channels]
        at: list[str]
        if kind == "grid":
            at = [b, *(f"2*{name} + {bit}" if bit else f"2*{name}" for name, bit in ((x, n // 2), (y, n % 2))), j]
        elif kind == "interleaved":
            at = [b, f"{count}*{x} + {n}" if n else f"{count}*{x}", j]
        else:
            at = [b, f"{x} + {n * size}" if n else x, j]
        name = w.tensor("ACDE"[n], shape, dtype)
        sources.append(name)
        right = w.read(name, *([b, x, y, j] if kind == "grid" else [b, x, j]))
        left = ", ".join(at[p] for p in order)
        typed = "" if dtype == "float32" else f": {dtype}"
        w.lines.append(f"y{k}[{left}]{typed} = {right}")
    if speller.chance(0.5):
        w.lines = speller.shuffled(w.lines)

    def expected(given: Mapping[str, Rounded]) -> Rounded:
        parts = [given[name] for name in sources]

        def place(arrays: list[Array]) -> Array:
            if kind == "blocks":
                return numpy.concatenate(arrays, 1)
            shape = list(arrays[0].shape)
            if kind == "interleaved":
                whole = numpy.empty([shape[0], count * size, shape[2]])
                for n, array in enumerate(arrays):
                    whole[:, n::count] = array
                return whole
            whole = numpy.empty([shape[0], 2 * size, 2 * second, shape[3]])
            for n, array in enumerate(arrays):
                whole[:, n // 2 :: 2, n % 2 :: 2] = array
            return whole

        return Rounded(place([p.value for p in parts]), place([p.error for p in parts]), parts[0].precision)

    w.features = {"family": "partial definition", "parts": kind}
    return w.finish(expected, dtype, order)


def fused(w: Writer) -> Case:
    """Axes fused and taken apart: flattening, image to column, channels shuffled, splits on the right."""
    rng, speller, k = w.rng, w.speller, w.k
    dtype = rng.choice(FLOATS)
    kind = w.kind("flatten", "split", "image to column", "shuffle", "flat layer")
    size, second, channels = rng.choice((1, 2, 3, 5)), rng.choice((1, 2, 4, 7)), rng.choice((1, 3, 8))
    speller.name(["b", "x", "y", "i", "j", "d"])
    b, x, y, i, j, d = (speller.free(n) for n in ("b", "x", "y", "i", "j", "d"))
    if kind == "flatten":
        image = w.tensor("L", [size, second, channels], dtype)
        order = w.define([b, f"({x},{y},{i})"], w.read(image, b, x, y, i))

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            return given[image].move(lambda a: a.reshape(len(a), -1))
    elif kind == "flat layer":
        image = w.tensor("L", [size, second, channels], dtype)
        results = rng.choice((1, 4, 16, 17))
        weight = w.tensor("W", [results, size * second * channels], dtype, "parameter")
        group = f"({speller.capital('x')},{speller.capital('y')},{speller.capital('i')})"
        flat = w.read(image, b, *(speller.capital(n) for n in ("x", "y", "i")))
        order = w.define([b, j], speller.product([w.read(weight, j, group), flat]))

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            rows = given[image].move(lambda a: a.reshape(len(a), 1, -1))
            return (rows * given[weight].move(lambda a: a[None])).sum([2])
    elif kind == "split":
        image = w.tensor("L", [size, second * channels], dtype)
        reader = w.tensor("M", [second, channels], dtype, "parameter")
        right = f"{w.read(image, b, x, f'({y},{i})')} + {w.read(reader, y, i)}"
        order = w.define([b, x, y, i], right)

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            return given[image].move(lambda a: a.reshape(len(a), size, second, channels)) + given[reader]
    elif kind == "shuffle":
        image = w.tensor("L", [size, second * channels], dtype)
        left = [b, x, f"({i},{y})"]
        right = w.read(image, b, x, f"({y},{i})")
        reader = w.tensor("M", [second, channels], dtype, "parameter")
        order = w.define(left, f"{right} * {w.read(reader, y, i)}")

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            whole = given[image].move(lambda a: a.reshape(len(a), size, second, channels)) * given[reader]
            return whole.move(lambda a: a.transpose(0, 1, 3, 2).reshape(len(a), size, -1))
    else:
        width, stride = rng.choice((1, 2, 3)), rng.choice((1, 2))
        results = rng.choice((1, 3, 8))
        image = w.tensor("L", [width + stride * (size - 1) + rng.randrange(stride), channels], dtype)
        weight = w.tensor("W", [width * channels, results], dtype, "parameter")
        at = f"{x} + {d}" if stride == 1 else f"{stride}*{x} + {d}"
        w.lines.append(f"K{k}[{b},{x},{d} in 0..{width},{i}] = {w.read(image, b, at, i)}")
        pair = f"({speller.capital('d')},{speller.capital('i')})"
        column = f"K{k}[({b},{x}),{pair}]" if speller.chance(0.5) else f"K{k}[{b},{x},{pair}]"
        order = w.define([b, x, j], speller.product([w.read(weight, pair, j), column]))

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            places = stride * numpy.arange(size)[:, None] + numpy.arange(width)
            column = given[image].move(lambda a: a[:, places].reshape(len(a), size, -1, 1))
            return (column * given[weight].move(lambda a: a[None, None])).sum([2])

    w.features = {"family": "fused axes", "fused": kind}
    return w.finish(expected, dtype, order)


def resampled(w: Writer) -> Case:
    """Strided, reversed, floored and cut reads; transposed convolution as rows of zeros and a full convolution."""
    rng, speller, k = w.rng, w.speller, w.k
    dtype = rng.choice(FLOATS)
    kind = w.kind("enlarged", "transposed convolution", "reversed", "cut", "padded with a number", "fixed kernel")
    size, channels = rng.choice((2, 3, 5, 8, 17)), rng.choice((1, 2, 5, 16))
    speller.name(["b", "x", "i", "j", "d"])
    b, x, i, j, d = (speller.free(n) for n in ("b", "x", "i", "j", "d"))
    peer = None
    if kind == "enlarged":
        image, factor = w.tensor("L", [size, channels], dtype), rng.choice((2, 3))
        at = f"⌊{x}/{factor}⌋" if speller.chance(0.5) else f"{x}//{factor}"
        order = w.define([b, f"{x} in 0..{size * factor}", i], w.read(image, b, at, i))

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            return given[image].move(lambda a: a.repeat(factor, 1))
    elif kind == "reversed":
        image = w.tensor("L", [size, channels], dtype)
        order = w.define([b, f"{x} in 0..{size}", i], w.read(image, b, f"{size - 1} - {x}", i))

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            return given[image].move(lambda a: a[:, ::-1])
    elif kind == "cut":
        before, after = rng.choice(((0, 1), (1, 0), (1, 1) if size > 2 else (0, 1)))
        w.tensors[f"L{k}"] = Tensor((size, channels), dtype, axes=("r", "c"))
        w.orders[f"L{k}"] = (0, 1, 2)
        w.lines.append(f"C{k} = cut(L{k}, r: ({before}, {after}))")
        image = f"L{k}"
        order = w.define([b, f"{x} in 0..{size - before - after}", i], f"C{k}[{b}, {x}, {i}]")

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            return given[image].move(lambda a: a[:, before : size - after])
    elif kind == "padded with a number":
        w.tensors[f"L{k}"] = Tensor((size, channels), dtype, axes=("r", "c"))
        w.lines.append(f"P{k} = pad(L{k}, r: (1, 2), value: 2.5)")
        image = f"L{k}"
        order = w.define([b, x, i], f"2*P{k}[{b}, {x}, {i}]")

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            # the image is exact, so its padding by a number is too
            wide = numpy.pad(given[image].value, ((0, 0), (1, 2), (0, 0)), constant_values=2.5)
            return 2.0 * Rounded.given(wide, given[image].precision)
    elif kind == "fixed kernel":
        kernel = [[rng.randint(-3, 3) for _ in range(2)] for _ in range(3)]
        w.lines.append(f"K{k} = {kernel}".replace(" ", "") if speller.chance(0.5) else f"K{k} = {kernel}")
        image = w.tensor("L", [size + 2, channels + 1], "float32")
        dtype = "float32"
        pair = f"K{k}[{speller.capital('d')},{speller.capital('j')}]"
        read = w.read(image, b, f"{x}+{speller.capital('d')}", f"{i}+{speller.capital('j')}")
        order = w.define([b, x, i], speller.product([pair, read]))

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            windows = given[image].move(lambda a: numpy.lib.stride_tricks.sliding_window_view(a, (3, 2), (1, 2)))
            return (windows * Rounded.given(numpy.array(kernel), windows.precision)).sum([3, 4])
    else:
        stride, width, results = rng.choice((1, 2, 3)), rng.choice((1, 2, 3)), rng.choice((1, 3, 8))
        image = w.tensor("L", [size, channels], dtype)
        weight = w.tensor("W", [width, channels, results], dtype, "parameter")
        typed = "" if dtype == "float32" else f": {dtype}"
        if stride == 1:
            w.lines.append(f"Z{k}[{b},{x},{i}]{typed} = {w.read(image, b, x, i)}")
        for n in range(stride if stride > 1 else 0):
            at = f"{stride}*{x} + {n}" if n else f"{stride}*{x}"
            value = w.read(image, b, x, i) if n == 0 else f"0*{w.read(image, b, x, i)}"
            w.lines.append(f"Z{k}[{b},{at},{i}]{typed} = {value}")
        w.lines.append(f"Q{k}[{b},{x},{i}] = Z{k}[{b},{x},{i}]")
        w.lines.append(f"P{k} = pad(Q{k}, {x}: {width - 1})")
        turned = w.read(weight, f"{width - 1} - {d}", speller.capital("i"), j)
        body = f"{turned} * P{k}[{b}, {x} + {d}, {speller.capital('i')}]"
        order = w.define([b, x, j], f"sum[{d} in 0..{width}]({body})")
        whole = stride * size

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            zero = numpy.zeros((len(given[image].value), whole + width - 1, results))
            total = Rounded(zero, zero, given[image].precision)
            for n in range(width):
                pieces = given[image].move(lambda a: a[..., None]) * given[weight][n]
                part = pieces.sum([2])
                moved = part.move(lambda a, n=n: _spread(a, n, stride, whole + width - 1))
                total = total + moved
            return total.stored()

        def peer(given: Mapping[str, Array]) -> Array:
            import torch

            inside = torch.from_numpy(numpy.ascontiguousarray(given[image].transpose(0, 2, 1)))
            kernel = torch.from_numpy(numpy.ascontiguousarray(given[weight].transpose(1, 2, 0)))
            found = torch.nn.functional.conv_transpose1d(inside, kernel, stride=stride).numpy().transpose(0, 2, 1)
            return numpy.pad(found, ((0, 0), (0, whole + width - 1 - found.shape[1]), (0, 0)))

    w.features = {"family": "resampled", "resampled": kind}
    return w.finish(expected, dtype, order, peer)


def _spread(array: Array, first: int, stride: int, size: int) -> Array:
    """Rows of an array at every `stride`-th place from `first`, zeros elsewhere."""
    whole = numpy.zeros((array.shape[0], size, array.shape[2]))
    whole[:, first : first + stride * array.shape[1] : stride] = array
    return whole


KINDS = (concatenation, concatenation, piecewise, gathers, partial, fused, resampled)


def structure_case(seed: int, number: int, *, spelling: int | str = 0) -> Case:
    """A random structural equation, a function of `seed`; `spelling` chooses how it is written."""
    rng = random.Random(f"structure {seed}")
    make, turn = KINDS[seed % len(KINDS)], seed // len(KINDS)
    return make(Writer(rng, number, speller(seed, spelling), turn))
