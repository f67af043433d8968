"""Random reductions with every reducer: pooling over windows, skipped margins, whole axes, nested in expressions."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy
from cases import Case, Tensor
from description import Affine, axes, gather
from rounding import PRECISIONS, Array, Rounded
from spelling import Speller, speller
from windows import Axis, draw_axis, size_class, stride_class

REDUCERS = (
    "sum", "max", "max", "min", "prod", "mean", "mean", "argmax", "argmin", "logsumexp", "softmax", "any", "all",
)  # fmt: skip
WITH_SKIP = ("sum", "max", "min", "mean", "argmax", "argmin")


def apply_reducer(reducer: str, body: Rounded, count: int, inside: Array | None = None) -> Rounded:
    """A reduction over the last `count` axes; places where `inside` is false are left out."""
    last = tuple(range(body.value.ndim - count, body.value.ndim))
    if inside is not None:
        neutral = {"sum": 0.0, "mean": 0.0, "max": -numpy.inf, "argmax": -numpy.inf}.get(reducer, numpy.inf)
        allowed = numpy.broadcast_to(inside, body.value.shape)
        body = replace(
            body, value=numpy.where(allowed, body.value, neutral), error=numpy.where(allowed, body.error, 0.0)
        )
        if reducer == "mean":
            return body.sum(last) / Rounded.given(allowed.sum(last), body.precision)
    if reducer in ("argmax", "argmin"):
        flat = body.value.reshape(*body.value.shape[: last[0]], -1)
        return Rounded.given(flat.argmax(-1) if reducer == "argmax" else flat.argmin(-1), body.precision)
    if reducer in ("any", "all"):
        return Rounded.given((body.value.any if reducer == "any" else body.value.all)(last), body.precision)
    if reducer == "mean":
        return body.sum(last) / float(math.prod(body.value.shape[axis] for axis in last))
    if reducer in ("logsumexp", "softmax"):
        highest = body.max(last).move(lambda array: numpy.expand_dims(array, last))
        # the maximum is a number that is taken off and put back: its own error cancels but for rounding
        shifted = (body - replace(highest, error=numpy.zeros_like(highest.error))).exp().stored()
        total = shifted.sum(last)
        if reducer == "logsumexp":
            return total.log() + highest.move(lambda array: numpy.squeeze(array, last))
        return shifted / total.move(lambda array: numpy.expand_dims(array, last))
    return {"sum": body.sum, "prod": body.product, "max": body.max, "min": body.min}[reducer](last)


class _Reduction:
    """A reduction being written down: over windows of some axes and the whole of others."""

    def __init__(self, rng: random.Random, number: int, speller: Speller) -> None:
        self.rng, self.k, self.speller = rng, number, speller
        self.reducer = rng.choice(REDUCERS)
        self.dtype = self._dtype()
        kind = rng.choice(("windows", "windows", "whole axes", "skipped windows"))
        self.kind = "windows" if kind == "skipped windows" and self.reducer not in WITH_SKIP else kind
        if self.reducer == "softmax":
            self.kind = "whole axes"
        self.rank = rng.choice((1, 2, 2, 3))
        limits = (40, 17, 8)[self.rank - 1]
        stride, dilation = rng.choice((1, 2, 2, 3)), rng.choice((1, 1, 2))
        if self.kind == "whole axes":
            self.window = [
                Axis(rng.choice((1, 2, 3, 5, 8, 11, 16, 17)[: 9 - 2 * self.rank]), 1, 1, 1, 0, 0)
                for _ in range(self.rank)
            ]
            self.reduced = sorted(rng.sample(range(self.rank), rng.randint(1, self.rank)))
        else:
            widths = (1, 2, 2, 3, 3, 4)[: 7 - self.rank]
            self.window = [
                draw_axis(rng, "none", limits, stride, dilation, rng.choice(widths)) for _ in range(self.rank)
            ]
            self.reduced = list(range(self.rank))
        if self.kind == "skipped windows":
            self.window = [self._margins(axis) for axis in self.window]
        self.channels = rng.choice((0, 1, 3, 8, 17))
        self.body = rng.choice(("read", "read", "times weights", "distance", "two reads"))
        if self.reducer in ("argmax", "argmin") or self.dtype not in ("float32", "float64"):
            self.body = "read"

    def _dtype(self) -> str:
        if self.reducer in ("any", "all"):
            return "bool"
        floats = ("float32", "float32", "float64", "float16", "bfloat16")
        if self.reducer in ("mean", "logsumexp", "softmax"):
            return self.rng.choice(floats[:3] if self.reducer != "mean" else floats)
        integers = ("int32", "int64") if self.reducer in ("prod", "argmax", "argmin") else ("int32", "int64", "uint8")
        return self.rng.choice((*floats, *integers))

    def _margins(self, axis: Axis) -> Axis:
        """Margins narrower than the window, so that no window lies outside."""
        most = (axis.width - 1) * axis.dilation
        while True:
            # with dilation a window can straddle a narrow image, so margins stay below one step of it
            before = self.rng.randint(0, min(most, axis.dilation if axis.dilation > 1 else most))
            after = self.rng.randint(0, min(most, axis.dilation if axis.dilation > 1 else most))
            wider = replace(axis, before=before, after=after)
            starts = [w * axis.stride - before for w in range(wider.results)]
            if all(any(0 <= s + d * axis.dilation < axis.size for d in range(axis.width)) for s in starts):
                return wider

    def case(self) -> Case:
        """The finished case."""
        k, speller, rng = self.k, self.speller, self.rng
        xs, ds = [f"x{a}" for a in range(self.rank)], [f"d{a}" for a in range(self.rank)]
        channel = ["c"] if self.channels else []
        shape = [a.size for a in self.window] + [self.channels] * len(channel)
        values = {"argmax": "distinct", "argmin": "distinct"}.get(
            self.reducer, "positive" if self.reducer == "prod" else "normal"
        )
        letters = ("r", "s", "t", "u")[: self.rank] + (("v",) if channel else ())
        order = speller.order(len(shape))
        tensors = {f"L{k}": Tensor(tuple(shape), self.dtype, "input", order, values, letters)}
        orders: dict[str, tuple[int, ...]] = {f"L{k}": (0, *(1 + p for p in order))}
        lines: list[str] = []
        source = f"L{k}"
        if self.kind == "skipped windows":
            margins = [f"{n}: ({a.before}, {a.after})" for n, a in zip(letters, self.window, strict=False)]
            lines.append(f"S{k} = skip(L{k}, {', '.join(speller.shuffled(margins))})")
            source = f"S{k}"
            orders[source] = orders[f"L{k}"]
        speller.name(["b", *xs, *ds, *channel])
        whole = self.kind == "whole axes"
        bound = [xs[a] for a in self.reduced] if whole else ds
        # the position that argmax gives is row-major over its indices, so their order has a meaning
        positions = self.reducer in ("argmax", "argmin")
        bound = rng.sample(bound, len(bound)) if positions else [bound[p] for p in speller.order(len(bound))]
        kept = ["b", *(x for a, x in enumerate(xs) if not (whole and a in self.reduced)), *channel]
        written = {n: speller.free(n) for n in speller.names}
        small = [n for n in bound if self.reducer == "softmax" or speller.chance(0.5)]
        written |= {n: speller.capital(n) for n in bound if n not in small}
        at = [
            Affine.axis(x) if whole else Affine(((a.stride, x), (a.dilation, d)))
            for a, x, d in zip(self.window, xs, ds, strict=True)
        ]
        subscripts = (*axes(["b"]), *at, *axes(channel))

        def spell(name: str, places: tuple[Affine, ...]) -> str:
            texts = [speller.affine(p, written) for p in places]
            return f"{name}[{', '.join(texts[p] for p in orders[name])}]"

        read = spell(source, subscripts)
        body, inner = self._body(read, spell, tensors, orders, subscripts, bound, channel)
        if self.reducer == "softmax":
            kept = ["b", *xs, *channel]
        widths = {} if whole else {d: a.width for a, d in zip(self.window, ds, strict=True)}
        binders = [
            written[n] if whole else f"{written[n]} {'∈' if speller.chance(0.2) else 'in'} 0..{widths[n]}"
            for n in bound
        ]
        reduced = f"{self.reducer}[{', '.join(binders)}]({body})"
        outside, right = self._outside(reduced, rng, tensors, orders, written, channel)
        out = speller.order(len(kept))
        dtype = {"argmax": "int64", "argmin": "int64"}.get(self.reducer, self.dtype)
        lines.append(f"y{k}[{', '.join(written[kept[p]] for p in out)}] = {right}")
        window, kind, reducer = self.window, self.kind, self.reducer

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            box = {"b": len(given[f"L{k}"].value), **{x: a.results for x, a in zip(xs, window, strict=True)}, **widths}
            box |= {"c": self.channels} if channel else {}
            outer = [n for n in kept if n not in bound]
            box = {n: box[n] for n in (*outer, *bound)}
            if kind == "skipped windows":
                margin = [(0, 0), *((a.before, a.after) for a in window), *([(0, 0)] * len(channel))]
                inside = Rounded.given(numpy.ones(given[f"L{k}"].value.shape), given[f"L{k}"].precision)
                wide = given[f"L{k}"].move(lambda array: numpy.pad(array, margin))
                outside_places = gather(inside.move(lambda array: numpy.pad(array, margin)), subscripts, box).value > 0
                values = gather(wide, subscripts, box)
                full = values.move(lambda array: numpy.broadcast_to(array, tuple(box.values())))
                return outside(apply_reducer(reducer, full, len(bound), outside_places), given)
            values = inner(given, box)
            full = values.move(lambda array: numpy.broadcast_to(array, tuple(box.values())))
            result = apply_reducer(reducer, full, len(bound))
            if reducer == "softmax":
                position = [list(box).index(n) for n in kept]
                result = result.transpose(position)
            return outside(result, given)

        case = Case(f"y{k}", lines, tensors, expected, dtype, out, features=self._features(small, bound, speller))
        if (
            self.kind != "whole axes"
            and reducer in ("max", "mean")
            and self.body == "read"
            and self.dtype in ("float32", "float64")
        ):
            case.peer = self._peer(outside)
        return case

    def _body(self, read, spell, tensors, orders, subscripts, bound, channel):  # type: ignore[no-untyped-def]
        """What is reduced: text and meaning."""
        k, name = self.k, f"L{self.k}"
        if self.kind == "skipped windows":
            self.body = "read"
        if self.reducer in ("any", "all"):
            return read, lambda g, box: gather(g[name], subscripts, box)
        if self.body == "times weights":
            sizes = {f"d{a}": axis.width for a, axis in enumerate(self.window)} | {
                f"x{a}": axis.size for a, axis in enumerate(self.window)
            }
            along = sorted(bound)
            tensors[f"W{k}"] = Tensor(
                tuple(sizes[n] for n in along),
                self.dtype,
                "parameter",
                values="positive" if self.reducer == "prod" else "normal",
            )
            orders[f"W{k}"] = tuple(range(len(along)))
            places = axes(along)
            weight = spell(f"W{k}", places)
            return f"{weight}*{read}", lambda g, box: gather(g[f"W{k}"], places, box) * gather(g[name], subscripts, box)
        if self.body == "distance":
            tensors[f"M{k}"] = Tensor((max(self.channels, 1),), self.dtype, "parameter")
            orders[f"M{k}"] = (0,)
            places = axes(channel) if channel else (Affine((), 0),)
            text = f"abs({read} - {spell(f'M{k}', places)})"

            def distance(g, box):  # type: ignore[no-untyped-def]
                return (gather(g[name], subscripts, box) - gather(g[f"M{k}"], places, box)).map(numpy.abs)

            return (
                (text + " + 0.5", lambda g, box: distance(g, box) + 0.5) if self.reducer == "prod" else (text, distance)
            )
        if self.body == "two reads":
            text = f"0.5*{read} + max({read}, 0.25)"
            return (
                text,
                lambda g, box: gather(g[name], subscripts, box) * 0.5 + gather(g[name], subscripts, box).larger(0.25),
            )
        return read, lambda g, box: gather(g[name], subscripts, box)

    def _outside(self, text, rng, tensors, orders, written, channel):  # type: ignore[no-untyped-def]
        """What stands around the reduction."""
        if self.dtype not in ("float32", "float64") or self.reducer in ("argmax", "argmin") or rng.random() < 0.5:
            return (lambda value, given: value), text
        name = f"C{self.k}"
        if channel and rng.random() < 0.5:
            tensors[name] = Tensor((self.channels,), self.dtype, "parameter")
            return (lambda value, given: value * 2.0 - given[name]), f"2*{text} - {name}[{written['c']}]"
        return (lambda value, given: value.larger(0.0) * 0.3), f"0.3*relu({text})"

    def _features(self, small: list[str], bound: list[str], speller: Speller) -> dict[str, str]:
        return {
            "family": "reduction", "reducer": self.reducer, "over": self.kind, "rank": str(self.rank),
            "dtype": self.dtype, "body": self.body, "script": speller.script,
            "binder": "small" if len(small) == len(bound) else "capital" if not small else "both",
            "stride": "none" if self.kind == "whole axes" else stride_class(self.window),
            "dilation": "dilated" if any(a.dilation > 1 and a.width > 1 for a in self.window) else "dense",
            "size": size_class(self.window),
        }  # fmt: skip

    def _peer(self, outside: Callable[..., Rounded]):  # type: ignore[no-untyped-def]
        """The same by PyTorch's pooling, where it has it."""
        window, reducer, k, rank = self.window, self.reducer, self.k, self.rank
        if reducer == "mean" and any(a.dilation > 1 or a.before != a.after or 2 * a.before > a.width for a in window):
            return None
        if reducer == "max" and any(a.before != a.after or 2 * a.before > a.width for a in window):
            return None

        def run(values: Mapping[str, Array]) -> Array:
            import torch
            import torch.nn.functional as f

            image = values[f"L{k}"] if self.channels else values[f"L{k}"][..., None]
            inside = torch.from_numpy(numpy.ascontiguousarray(numpy.moveaxis(image, -1, 1)))
            widths, strides = [a.width for a in window], [a.stride for a in window]
            margin = [a.before for a in window]
            if reducer == "max":
                pool = (f.max_pool1d, f.max_pool2d, f.max_pool3d)[rank - 1]
                found = pool(inside, widths, strides, margin, [a.dilation for a in window])
            else:
                average = (f.avg_pool1d, f.avg_pool2d, f.avg_pool3d)[rank - 1]
                found = average(inside, widths, strides, margin, count_include_pad=False)
            result = numpy.moveaxis(found.numpy(), 1, -1)
            result = result if self.channels else result[..., 0]
            double = PRECISIONS["float64"]
            given = {n: Rounded.given(v, double) for n, v in values.items()}
            return outside(Rounded.given(result, double), given).value

        return run


def reduction_case(seed: int, number: int, *, spelling: int | str = 0) -> Case:
    """A random reduction, a function of `seed`; `spelling` chooses how it is written."""
    return _Reduction(random.Random(f"reduction {seed}"), number, speller(seed, spelling)).case()
