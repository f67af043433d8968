"""Random calls of library layers with windows, against loops in NumPy and PyTorch's own operations."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence

import numpy
from cases import Case, Tensor
from rounding import Array, Rounded
from spelling import Speller, speller
from windows import NUMPY_MODES, Axis, draw_axis, stride_class

KINDS = ("convolution", "convolution", "transposed convolution", "maximum", "mean")
NAMES = {
    "convolution": ("Conv1d", "Conv", "Conv3d"),
    "transposed convolution": ("ConvTranspose1d", "ConvTranspose", "ConvTranspose3d"),
    "maximum": ("MaxPool1d", "MaxPool", "MaxPool3d"), "mean": ("MeanPool1d", "MeanPool", "MeanPool3d"),
}  # fmt: skip


def _offsets(widths: Sequence[int]) -> itertools.product[tuple[int, ...]]:
    return itertools.product(*(range(width) for width in widths))


def convolve(image: Array, weight: Array, window: Sequence[Axis], groups: int) -> Array:
    """A convolution as a loop over the places of its window; image [b, …, i], weight [window, i/g, j]."""
    rank = len(window)
    results = [a.results for a in window]
    batch, inner, outer = len(image), weight.shape[rank], weight.shape[rank + 1] // groups
    total = numpy.zeros((batch, *results, groups, outer))
    for offset in _offsets(weight.shape[:rank]):
        rows = tuple(
            slice(d * a.dilation, d * a.dilation + a.stride * (n - 1) + 1, a.stride)
            for d, a, n in zip(offset, window, results, strict=True)
        )
        part = image[(slice(None), *rows)].reshape(batch, *results, groups, inner)
        total += numpy.einsum("...gi,igj->...gj", part, weight[offset].reshape(inner, groups, outer))
    return total.reshape(batch, *results, groups * outer)


def spread(image: Array, weight: Array, window: Sequence[Axis], groups: int, extra: Sequence[int]) -> Array:
    """A transposed convolution: every place of the image adds a window to the result."""
    rank, batch = len(window), len(image)
    inner, outer = weight.shape[rank], weight.shape[rank + 1] // groups
    sizes = [(a.size - 1) * a.stride + a.dilation * (a.width - 1) + 1 + e for a, e in zip(window, extra, strict=True)]
    total = numpy.zeros((batch, *sizes, groups * outer))
    parts = image.reshape(*image.shape[:-1], groups, inner)
    for offset in _offsets(weight.shape[:rank]):
        rows = tuple(
            slice(d * a.dilation, d * a.dilation + a.stride * (a.size - 1) + 1, a.stride)
            for d, a in zip(offset, window, strict=True)
        )
        value = numpy.einsum("...gi,igj->...gj", parts, weight[offset].reshape(inner, groups, outer))
        total[(slice(None), *rows)] += value.reshape(*value.shape[:-2], groups * outer)
    kept = tuple(slice(a.before, size - a.before) for a, size in zip(window, sizes, strict=True))
    return total[(slice(None), *kept)]


def pool(image: Array, window: Sequence[Axis]) -> Array:
    """The values of every window along a last axis, NaN where a window leaves the image."""
    margins = [(0, 0), *((a.before, a.after) for a in window), (0, 0)]
    wide = numpy.pad(image, margins, constant_values=numpy.nan)
    values = []
    for offset in _offsets([a.width for a in window]):
        rows = tuple(
            slice(d * a.dilation, d * a.dilation + a.stride * (a.results - 1) + 1, a.stride)
            for d, a in zip(offset, window, strict=True)
        )
        values.append(wide[(slice(None), *rows)])
    return numpy.stack(values, -1)


class _Layer:
    """A call of a layer being written down."""

    def __init__(self, rng: random.Random, number: int, speller: Speller) -> None:
        self.rng, self.k, self.speller = rng, number, speller
        self.kind = rng.choice(KINDS)
        self.rank = rng.choice((1, 2, 2, 3))
        self.dtype = "float32"
        pooling = self.kind in ("maximum", "mean")
        stride, dilation = rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 2)) if self.kind != "mean" else 1
        self.mode = (
            rng.choice(("none", "zeros", "zeros", "reflect", "replicate", "circular", "same"))
            if self.kind == "convolution"
            else "none"
        )
        limits = (33, 13, 7)[self.rank - 1]
        self.window = [self._axis(limits, stride, dilation) for _ in range(self.rank)]
        self.groups = 1 if pooling else rng.choice((1, 1, 2, 3))
        self.inner = rng.choice((1, 2, 3, 8))
        self.outer = rng.choice((1, 2, 5, 8, 16)) if not pooling else 1
        self.bias = not pooling and rng.random() < 0.6
        self.extra = [
            rng.randrange(min(a.stride, 3)) if self.kind == "transposed convolution" and rng.random() < 0.4 else 0
            for a in self.window
        ]

    def _axis(self, limit: int, stride: int, dilation: int) -> Axis:
        rng = self.rng
        width = rng.choice((1, 2, 3, 3, 5)[: 6 - self.rank])
        while True:
            axis = draw_axis(rng, "same" if self.mode == "same" else "none", limit, stride, dilation, width)
            if self.mode == "same":
                return axis
            most = width // 2 if self.kind in ("maximum", "mean") else dilation * (width - 1) // 2
            if self.kind == "convolution" and self.mode != "none":
                most = min(3, axis.size - (self.mode == "reflect"))
            margin = rng.randint(0, most) if self.kind != "convolution" or self.mode != "none" else 0
            wide = Axis(axis.size, width, stride, dilation, margin, margin)
            if self.kind == "convolution" or (wide.results > 0 and axis.size >= dilation * (width - 1) + 1):
                return wide

    def _option(self, word: str, values: Sequence[object]) -> str:
        """A keyword and a number, or one for each axis."""
        if len(set(values)) == 1:
            return f"{word} {values[0]}"
        return f"{word} ({', '.join(map(str, values))})"

    def case(self) -> Case:
        """The finished case."""
        k, window, rank = self.k, self.window, self.rank
        channels = self.groups * self.inner
        tensors = {f"L{k}": Tensor((*(a.size for a in window), channels), self.dtype)}
        options = [self._option("width", [a.width for a in window]), self._option("stride", [a.stride for a in window])]
        if self.mode == "same":
            options.append("pad same")
        elif any(a.before for a in window):
            options.append(self._option("pad", [a.before for a in window]))
        if self.mode not in ("none", "same", "zeros"):
            options.append(f"mode {self.mode}")
        if any(a.dilation > 1 for a in window):
            options.append(self._option("dilation", [a.dilation for a in window]))
        pooling = self.kind in ("maximum", "mean")
        filters = self.groups * self.outer
        call = [f"L{k}"]
        if not pooling:
            weights = (*(a.width for a in window), self.inner, filters)
            tensors[f"Φ{k}.W"] = Tensor(weights, self.dtype, "parameter")
            if self.bias:
                tensors[f"Φ{k}.B"] = Tensor((filters,), self.dtype, "parameter")
            call.append(f"Φ{k}")
            options += (
                [f"filters {filters}"]
                + [f"groups {self.groups}"] * (self.groups > 1)
                + ["bias false"] * (not self.bias)
            )
            if any(self.extra):
                options.append(self._option("outpad", self.extra))
        arguments = [*call, *self.speller.shuffled(options)]
        lines = [f"y{k} = {NAMES[self.kind][rank - 1]}({', '.join(arguments)})"]
        run = {
            "convolution": self._convolution,
            "transposed convolution": self._transposed,
            "maximum": self._maximum,
            "mean": self._mean,
        }

        def expected(given: Mapping[str, Rounded]) -> Rounded:
            return run[self.kind](given)

        features = {
            "family": "layer", "layer": self.kind, "rank": str(rank), "padding": self.mode,
            "stride": stride_class(window),
            "groups": "one group" if self.groups == 1 else "depthwise" if self.inner == 1 else "grouped",
            "dilation": "dilated" if any(a.dilation > 1 and a.width > 1 for a in window) else "dense",
            "dtype": self.dtype, "script": "unicode",
        }  # fmt: skip
        return Case(f"y{k}", lines, tensors, expected, self.dtype, None, self._peer(), features)

    # -- meanings ------------------------------------------------------------------------------
    def _summed(self, given: Mapping[str, Rounded], function: Callable[[Array, Array], Array]) -> Rounded:
        """A bilinear function of image and weights, with the error of summing its terms in any order."""
        image, weight = given[f"L{self.k}"], given[f"Φ{self.k}.W"]
        unit = image.precision.unit
        terms = self.inner * int(numpy.prod([a.width for a in self.window]))
        value, magnitude = function(image.value, weight.value), function(abs(image.value), abs(weight.value))
        whole = Rounded(value, (terms + 1) * unit * magnitude, image.precision).stored()
        return whole + given[f"Φ{self.k}.B"] if self.bias else whole

    def _convolution(self, given: Mapping[str, Rounded]) -> Rounded:
        margins = [(0, 0), *((a.before, a.after) for a in self.window), (0, 0)]

        def run(image: Array, weight: Array) -> Array:
            wide = numpy.pad(image, margins, NUMPY_MODES.get(self.mode, "constant"))  # type: ignore[call-overload]
            return convolve(wide, weight, self.window, self.groups)

        return self._summed(given, run)

    def _transposed(self, given: Mapping[str, Rounded]) -> Rounded:
        return self._summed(given, lambda image, weight: spread(image, weight, self.window, self.groups, self.extra))

    def _maximum(self, given: Mapping[str, Rounded]) -> Rounded:
        values = pool(given[f"L{self.k}"].value, self.window)
        return Rounded.given(numpy.nanmax(values, -1), given[f"L{self.k}"].precision)

    def _mean(self, given: Mapping[str, Rounded]) -> Rounded:
        image = given[f"L{self.k}"]
        values = pool(image.value, self.window)
        inside = ~numpy.isnan(values)
        terms = Rounded.given(numpy.where(inside, values, 0), image.precision)
        return terms.sum([values.ndim - 1]) / Rounded.given(inside.sum(-1), image.precision)

    # -- PyTorch ---------------------------------------------------------------------------------
    def _peer(self) -> Callable[[Mapping[str, Array]], Array]:
        window, rank, k = self.window, self.rank, self.k

        def run(values: Mapping[str, Array]) -> Array:
            import torch
            import torch.nn.functional as f

            image = values[f"L{k}"]
            if self.kind == "convolution":
                margins = [(0, 0), *((a.before, a.after) for a in window), (0, 0)]
                image = numpy.pad(image, margins, NUMPY_MODES.get(self.mode, "constant"))  # type: ignore[call-overload]
            inside = torch.from_numpy(numpy.ascontiguousarray(numpy.moveaxis(image, -1, 1)))
            strides, dilations = [a.stride for a in window], [a.dilation for a in window]
            margin, widths = [a.before for a in window], [a.width for a in window]
            bias = torch.from_numpy(values[f"Φ{k}.B"]) if self.bias else None
            if self.kind == "convolution":
                kernel = numpy.moveaxis(values[f"Φ{k}.W"], (-1, -2), (0, 1))
                found = (f.conv1d, f.conv2d, f.conv3d)[rank - 1](
                    inside, torch.from_numpy(numpy.ascontiguousarray(kernel)), bias, strides, 0, dilations, self.groups
                )
            elif self.kind == "transposed convolution":
                split = values[f"Φ{k}.W"].reshape(*widths, self.inner, self.groups, self.outer)
                kernel = numpy.moveaxis(split, (-2, -3, -1), (0, 1, 2)).reshape(-1, self.outer, *widths)
                run = (f.conv_transpose1d, f.conv_transpose2d, f.conv_transpose3d)[rank - 1]
                tensor = torch.from_numpy(numpy.ascontiguousarray(kernel))
                found = run(inside, tensor, bias, strides, margin, self.extra, self.groups, dilations)
            elif self.kind == "maximum":
                pools = (f.max_pool1d, f.max_pool2d, f.max_pool3d)
                found = pools[rank - 1](inside, widths, strides, margin, dilations)
            else:
                means = (f.avg_pool1d, f.avg_pool2d, f.avg_pool3d)
                found = means[rank - 1](inside, widths, strides, margin, count_include_pad=False)
            return numpy.moveaxis(found.numpy(), 1, -1)

        return run


def layer_case(seed: int, number: int, *, spelling: int | str = 0) -> Case:
    """A random call of a layer, a function of `seed`; `spelling` chooses the order of its options."""
    return _Layer(random.Random(f"layer {seed}"), number, speller(seed, spelling)).case()
