"""Random convolutions: windows over one, two or three axes, with everything that may stand around them."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy
from cases import Case, Tensor
from description import Affine, Factor, Product, axes, multiply_and_sum
from rounding import PRECISIONS, Array, Rounded, relu, sigmoid, tanh
from spelling import Speller, speller

CHANNELS = (1, 2, 3, 4, 5, 7, 8, 16, 17, 32, 33)
NUMPY_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
LIMIT = 60_000
"""Multiplications of one case and sample, at most."""


@dataclass(frozen=True)
class Axis:
    """One window axis: `size` places, padded by `before` and `after`."""

    size: int
    width: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def results(self) -> int:
        """How many windows fit (fact F1 of the course)."""
        return (self.size + self.before + self.after - self.dilation * (self.width - 1) - 1) // self.stride + 1

    @property
    def rest(self) -> int:
        """Places that no window reaches."""
        reach = self.stride * (self.results - 1) + self.dilation * (self.width - 1) + 1
        return self.size + self.before + self.after - reach


def draw_axis(rng: random.Random, mode: str, largest: int, stride: int, dilation: int, width: int) -> Axis:
    """Sizes of one axis, for a padding mode ("none", "same" or one of the language's)."""
    while True:
        span = dilation * (width - 1)
        before, after = 0, 0
        if mode == "same":
            before, after = span // 2, span - span // 2
        elif mode != "none":
            before = rng.randint(0, 3)
            after = before if rng.random() < 0.5 else rng.randint(0, 3)
        results = rng.choice((1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17))
        size = (results - 1) * stride + span + 1 + rng.randrange(stride) - before - after
        room = max(before, after)
        if (mode == "reflect" and room >= size) or (mode == "circular" and room > size):
            continue
        if 1 <= size <= largest:
            return Axis(size, width, stride, dilation, before, after)


def pad_text(name: str, source: str, names: tuple[str, ...], window: list[Axis], mode: str, speller: Speller) -> str:
    """A statement that pads a tensor whose window axes have `names`."""
    margins = []
    for axis, free in zip(window, names, strict=True):
        alike = axis.before == axis.after and not speller.chance(0.3)
        margins.append(f"{free}: {axis.before if alike else (axis.before, axis.after)}")
    word = "zeros" if mode == "same" else mode
    option = "" if word == "zeros" and not speller.chance(0.3) else f", mode {word}"
    return (
        f"{name} = {'Padd' if speller.chance(0.2) else 'pad'}({source}, {', '.join(speller.shuffled(margins))}{option})"
    )


def padded(tensor: Rounded, window: list[Axis], mode: str) -> Rounded:
    """The same by NumPy; the window axes follow the batch."""
    if mode == "none":
        return tensor
    margins = [(0, 0), *((a.before, a.after) for a in window)]
    margins += [(0, 0)] * (tensor.value.ndim - len(margins))
    return tensor.move(lambda array: numpy.pad(array, margins, NUMPY_MODES.get(mode, "constant")))  # type: ignore[call-overload]


def stride_class(window: list[Axis]) -> str:
    """How strides compare with windows."""
    if all(a.stride == 1 for a in window):
        return "1"
    if any(a.width * a.dilation < a.stride for a in window):
        return "wider than the window"
    return "overlapping" if any(a.stride < a.width for a in window) else "meeting"


def size_class(window: list[Axis]) -> str:
    """Whether an axis has one place, or an odd number of them."""
    return "1" if any(a.size == 1 for a in window) else "odd" if any(a.size % 2 for a in window) else "even"


@dataclass(frozen=True)
class Channels:
    """How channels go through: `kind`, groups, channels in and out of each group."""

    kind: str
    groups: int
    inner: int
    outer: int

    @property
    def total(self) -> int:
        return self.groups * self.inner


def draw_channels(rng: random.Random, kind: str) -> Channels:
    """Numbers of channels for a kind of grouping."""
    if kind == "none":
        return Channels(kind, 1, 1, 1)
    if kind == "one group":
        return Channels(kind, 1, rng.choice(CHANNELS), rng.choice(CHANNELS))
    if kind == "grouped":
        return Channels(kind, rng.choice((2, 3, 4)), rng.choice((1, 2, 3, 8)), rng.choice((1, 2, 3, 8)))
    multiplier = 1 if kind == "depthwise" else rng.choice((2, 3))
    return Channels(kind, rng.choice((1, 3, 5, 8, 16, 17, 33)), 1, multiplier)


KINDS = ("none", "one group", "one group", "grouped", "depthwise", "depthwise multiplied")
MODES = ("none", "zeros", "reflect", "replicate", "circular", "same")
DTYPES = ("float32",) * 6 + ("float64", "float64", "float16", "bfloat16", "int32", "int64", "uint8")
EXTRAS = ("nothing", "bias added", "bias subtracted", "second term", "third factor", "residual")


class _Window:
    """A convolution being written down."""

    def __init__(self, rng: random.Random, number: int, speller: Speller) -> None:
        self.rng, self.k, self.speller = rng, number, speller
        self.rank = rng.choice((1, 1, 2, 2, 2, 3))
        self.mode = rng.choice(MODES)
        self.dtype = rng.choice(DTYPES)
        self.extra = rng.choice(EXTRAS)
        kind = rng.choice(KINDS)
        strides = rng.choice((1, 1, 2, 3, 4)), rng.random() < 0.3
        dilations = rng.choice((1, 1, 2, 3)), rng.random() < 0.3
        while True:
            self.channels = draw_channels(rng, kind)
            self.window = [
                draw_axis(
                    rng, self.mode, (40, 19, 9)[self.rank - 1],
                    rng.randint(1, 4) if strides[1] else strides[0],
                    rng.randint(1, 3) if dilations[1] else dilations[0],
                    rng.choice((1, 2, 3, 4, 5)[: 6 - self.rank]),
                )
                for _ in range(self.rank)
            ]  # fmt: skip
            work = math.prod(a.results * a.width for a in self.window) * self.channels.total * self.channels.outer
            if work <= LIMIT:
                break
        self.batched = rng.random() < 0.85
        self.lines: list[str] = []
        self.tensors: dict[str, Tensor] = {}
        self.orders: dict[str, tuple[int, ...]] = {}
        self.xs = [f"x{a}" for a in range(self.rank)]
        self.ds = [f"d{a}" for a in range(self.rank)]
        self.outer = ["b"] if self.batched else []

    # -- the description -----------------------------------------------------------------------
    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of all axes but the batch's."""
        c = self.channels
        named = dict(zip(self.xs, (a.results for a in self.window), strict=True))
        named |= {"g": c.groups, "o": c.outer}
        return named | dict(zip(self.ds, (a.width for a in self.window), strict=True)) | {"i": c.inner}

    @property
    def result_axes(self) -> list[str]:
        """Axes of the result, groups apart from the channels in each."""
        kind = self.channels.kind
        channel = {"none": [], "one group": ["o"], "depthwise": ["g"]}.get(kind, ["g", "o"])
        return [*self.outer, *self.xs, *channel]

    def weight_axes(self) -> list[str]:
        kind = self.channels.kind
        rest = {
            "none": [], "one group": ["i", "o"], "grouped": ["g", "i", "o"], "depthwise": ["g"],
            "depthwise multiplied": ["g", "o"],
        }[kind]  # fmt: skip
        return [*self.ds, *rest]

    def image(self, tensor: str, at: list[Affine]) -> Factor:
        """A read of the image at places `at` of the window axes."""
        kind = self.channels.kind
        channel: list[Affine] = []
        if kind == "one group":
            channel = [Affine.axis("i")]
        elif kind == "grouped":
            channel = [Affine(((self.channels.inner, "g"), (1, "i")))]
        elif kind != "none":
            channel = [Affine.axis("g")]
        return Factor(tensor, (*axes(self.outer), *at, *channel))

    # -- the text ------------------------------------------------------------------------------
    def declare(self, prefix: str, shape: list[int], kind: str, named: tuple[str, ...] | None = None) -> str:
        """A new tensor in a layout of its own."""
        name = f"{prefix}{self.k}"
        order = self.speller.order(len(shape))
        self.tensors[name] = Tensor(tuple(shape), self.dtype, kind, order, axes=named)
        shift = 1 if kind == "input" else 0
        self.orders[name] = (*range(shift), *(shift + place for place in order))
        return name

    def image_tensor(self) -> str:
        """The image, padded and perhaps transposed before it is read."""
        letters = ("r", "s", "t")[: self.rank]
        has_channel = self.channels.kind != "none"
        shape = [a.size for a in self.window] + ([self.channels.total] if has_channel else [])
        named = (*letters, "c")[: len(shape)]
        source = self.declare("L", shape, "input" if self.batched else "single", named)
        if self.mode != "none":
            name = f"P{self.k}"
            self.lines.append(pad_text(name, source, letters, self.window, self.mode, self.speller))
            self.orders[name] = self.orders[source]
            source = name
        self.transposed = self.speller.chance(0.15)
        if self.transposed:
            order = self.speller.order(len(self.orders[source]))
            letters_now = [("b", *named)[p] if self.batched else named[p] for p in self.orders[source]]
            canonical = ["b", *named] if self.batched else list(named)
            left = ", ".join(canonical[p] for p in order)
            self.lines.append(f"T{self.k}[{left}] = {source}[{', '.join(letters_now)}]")
            source = f"T{self.k}"
            self.orders[source] = order
        return source

    def written(self, free: set[str]) -> dict[str, str]:
        """Every axis as this statement spells it."""
        return {n: self.speller.free(n) if n in free else self.speller.capital(n) for n in self.speller.names}

    def grouped_image(self, factor: Factor, written: Mapping[str, str], constants: Mapping[int, str]) -> str:
        """A read whose channel is `(g,i)` where there are groups."""
        if self.channels.kind != "grouped":
            return self.speller.factor(factor, self.orders, written, constants)
        inner = factor.subscripts[:-1]
        parts = [self.speller.affine(subscript, written, constants) for subscript in inner]
        parts.append(f"({written['g']},{written['i']})")
        return f"{factor.tensor}[{', '.join(parts[p] for p in self.orders[factor.tensor])}]"

    def case(self) -> Case:
        """The finished case."""
        speller, window, k = self.speller, self.window, self.k
        image = self.image_tensor()
        weight = self.declare(
            "W", [self.sizes[a] for a in self.weight_axes()], self.rng.choice(("parameter", "single"))
        )
        speller.name([*self.outer, *self.sizes])
        coefficients = {a.stride for a in window} | {a.dilation for a in window}
        constants = {n: f"step{k}_{n}" for n in sorted(coefficients) if n > 1 and speller.chance(0.5)}
        self.lines += [f"{name} = {n}" for n, name in constants.items()]
        at = [Affine(((a.stride, x), (a.dilation, d))) for a, x, d in zip(window, self.xs, self.ds, strict=True)]
        main = [Factor(weight, axes(self.weight_axes())), self.image(image, at)]
        products = [Product(tuple(main))]
        used = Product(tuple(main)).axes()
        summed = [n for n in self.sizes if n in used and n not in self.result_axes]
        explicit = bool(summed) and speller.chance(0.25)
        free = set(self.result_axes) | ({n for n in summed if speller.chance(0.5)} if explicit else set())
        written = self.written(free)
        if self.batched and speller.chance(0.15):
            written["b"] = speller.capital("b")
        if self.extra == "third factor":
            name = (
                self.declare("M", [self.sizes[self.result_axes[-1]]], "parameter") if len(self.result_axes) > 1 else ""
            )
            if name:
                main.append(Factor(name, axes([self.result_axes[-1]])))
                products[0] = Product(tuple(main))
        texts = [self._factor_text(f, image, written, constants) for f in main]
        body = speller.product(texts)
        terms = [(speller.explicit_sum([written[n] for n in summed], body) if explicit else body, False)]
        self._extras(image, products, terms, written, constants)
        right = speller.sum(terms)
        outside, right = self._activation(right)
        order = self._left(written, right)
        tensors = self.tensors
        sizes, results, mode = self.sizes, self.result_axes, self.mode
        source = f"L{k}"

        def expected(values: Mapping[str, Rounded]) -> Rounded:
            known = dict(values)
            first = values[source] if self.batched else values[source][None]
            known[image] = padded(first, window, mode)
            if not self.batched:
                known[image] = known[image][0]
            box = {"b": len(first.value), **sizes} if self.batched else sizes
            parts = [multiply_and_sum(product, known, box, results) for product in products]
            whole = outside(sum(parts[1:], parts[0]))
            shape = [box[n] for n in results]
            if results[-2:] == ["g", "o"]:
                shape[-2:] = [shape[-2] * shape[-1]]
            full = tuple(box[n] for n in results)
            return whole.move(lambda array: numpy.broadcast_to(array, full).reshape(shape))

        case = Case(f"y{k}", self.lines, tensors, expected, self.dtype, order, features=self.features(explicit))
        if self.extra in ("nothing", "bias added") and outside is _identity and self.dtype in ("float32", "float64"):
            case.peer = self.peer(source, weight)
        return case

    def _factor_text(self, f: Factor, image: str, written: Mapping[str, str], constants: Mapping[int, str]) -> str:
        if f.tensor == image:
            return self.grouped_image(f, written, constants)
        return self.speller.factor(f, self.orders, written, constants)

    def _extras(
        self, image: str, products: list[Product], terms: list[tuple[str, bool]], written: Mapping[str, str],
        constants: Mapping[int, str],
    ) -> None:  # fmt: skip
        """Terms beside the convolution: none of them takes part in its sum."""
        results = self.result_axes
        if self.extra.startswith("bias"):
            along = [a for a in results if a in ("g", "o")] or [self.xs[0]]
            shape = [self.sizes[a] for a in along]
            bias = Factor(self.declare("B", shape, "parameter"), axes(along))
            negative = self.extra == "bias subtracted"
            if self.dtype == "uint8":
                negative = False
            products.append(Product((bias,), negative))
            terms.append((self.speller.factor(bias, self.orders, written), negative))
        elif self.extra == "residual":
            kept = [a for a in results if a != "b"]
            shape = [self.sizes[a] for a in kept]
            other = Factor(self.declare("R", shape, "input" if self.batched else "single"), axes(results))
            products.append(Product((other,)))
            terms.append((self.speller.factor(other, self.orders, written), False))
        elif self.extra == "second term" and self.channels.kind in ("one group", "grouped"):
            # an index alone in a subscript would run over the whole axis, further than the windows reach
            spans = [a.dilation * (a.width - 1) for a in self.window]
            where = [self.rng.randint(min(s, a.stride == 1), s) for s, a in zip(spans, self.window, strict=True)]
            at = [Affine(((a.stride, x),), offset) for a, x, offset in zip(self.window, self.xs, where, strict=True)]
            along = ["i", "o"] if self.channels.kind == "one group" else ["g", "i", "o"]
            weight = Factor(self.declare("V", [self.sizes[a] for a in along], "parameter"), axes(along))
            read = self.image(image, at)
            products.append(Product((weight, read)))
            # where the main sum binds i by a small letter, the implicit one still needs the capital
            inner = {**written, "i": self.speller.capital("i")}
            pair = [self.speller.factor(weight, self.orders, inner), self.grouped_image(read, inner, constants)]
            terms.append((self.speller.product(pair), False))

    def _activation(self, right: str):  # type: ignore[no-untyped-def]
        if self.dtype in ("int32", "int64", "uint8"):
            return _identity, right
        name = self.rng.choice(("", "", "", "relu", "tanh", "σ", "half"))
        if name == "half":
            return (lambda v: v * 0.5), f"0.5*({right})"
        functions = {"": _identity, "relu": relu, "tanh": tanh, "σ": sigmoid}
        spelled = {
            "relu": self.speller.random.choice(("relu", "ReLU")),
            "σ": self.speller.random.choice(("σ", "sigmoid")),
        }
        return functions[name], f"{spelled.get(name, name)}({right})" if name else right

    def _left(self, written: Mapping[str, str], right: str) -> tuple[int, ...]:
        """Write the statement; the order of the result's axes."""
        results = self.result_axes
        parts = [written[a] for a in results]
        if results[-2:] == ["g", "o"]:
            parts[-2:] = [f"({parts[-2]},{parts[-1]})"]
        order = self.speller.order(len(parts))
        prefix = ""
        if self.speller.chance(0.1):
            prefix = f"for {', '.join(written[a] for a in self.xs)}: "
        dtype = "" if self.dtype == "float32" or self.speller.chance(0.5) else f": {self.dtype}"
        self.lines.append(f"{prefix}y{self.k}[{', '.join(parts[p] for p in order)}]{dtype} = {right}")
        return order

    def features(self, explicit: bool) -> dict[str, str]:
        """What this case covers."""
        window = self.window
        sides = {(a.before == a.after) for a in window if a.before or a.after}
        return {
            "family": "window", "rank": str(self.rank), "stride": stride_class(window),
            "dilation": "dilated" if any(a.dilation > 1 and a.width > 1 for a in window) else "dense",
            "padding": self.mode,
            "padding sides": "none" if not sides else "equal" if sides == {True} else "unequal",
            "groups": self.channels.kind, "dtype": self.dtype, "extra": self.extra,
            "sum": "explicit" if explicit else "implicit", "script": self.speller.script,
            "size": size_class(window),
            "fit": "exact" if all(a.rest == 0 for a in window) else "rest dropped",
            "axes": "permuted" if any(o != tuple(range(len(o))) for o in self.orders.values()) else "in order",
            "batch": "batched" if self.batched else "without batch",
            "written": "transposed first" if self.transposed else "direct",
        }  # fmt: skip

    def peer(self, source: str, weight: str):  # type: ignore[no-untyped-def]
        """The same by PyTorch's convolution."""
        channels, rank, window, mode, bias = self.channels, self.rank, self.window, self.mode, f"B{self.k}"

        def run(values: Mapping[str, Array]) -> Array:
            import torch

            image = values[source] if self.batched else values[source][None]
            image = image if channels.kind != "none" else image[..., None]
            whole = padded(Rounded.given(image, PRECISIONS["float64"]), window, mode).value
            kernel = values[weight].astype(float)
            widths = kernel.shape[:rank]
            if channels.kind in ("none", "one group"):
                kernel = kernel.reshape(*widths, channels.inner, channels.outer)
                kernel = numpy.moveaxis(kernel, (-1, -2), (0, 1))
            elif channels.kind == "grouped":
                kernel = kernel.transpose(rank, rank + 2, rank + 1, *range(rank))
                kernel = kernel.reshape(-1, channels.inner, *widths)
            else:
                kernel = kernel.reshape(*widths, -1).transpose(rank, *range(rank))[:, None]
            run = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)[rank - 1]
            inside = numpy.ascontiguousarray(numpy.moveaxis(whole, -1, 1))
            result = run(
                torch.from_numpy(inside), torch.from_numpy(numpy.ascontiguousarray(kernel)),
                stride=[a.stride for a in window], dilation=[a.dilation for a in window],
                groups=channels.groups,
            ).numpy()  # fmt: skip
            result = numpy.moveaxis(result, 1, -1)
            result = result[..., 0] if channels.kind == "none" else result
            if bias in values:
                shape = [-1] if channels.kind != "none" else [-1, *[1] * (rank - 1)]
                result = result + values[bias].astype(float).reshape(shape)
            return result if self.batched else result[0]

        return run


def _identity(value: Rounded) -> Rounded:
    return value


def window_case(seed: int, number: int, *, spelling: int | str = 0) -> Case:
    """A random convolution, a function of `seed`; `spelling` chooses how it is written."""
    return _Window(random.Random(f"window {seed}"), number, speller(seed, spelling)).case()
