"""The equations that `equations.py` measures against limits of the machine and against each other.

Everything here is text in the language.  Sizes are those of networks that people run; `Sizes`
can cut them all down for a quick try.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

DIRECT, MEMORY, STEM, SMALL = 0.85, 0.90, 0.65, 0.75  # goals: shares of the limit
NARROW = 0.80  # of the peak of vectors of 256 bits
NARROW_TARGET = "x86-64-v3"


@dataclass(frozen=True)
class Sizes:
    """Lengths of axes, none above `most`; windows, strides and groups of a window stay."""

    most: int | None = None

    def __call__(self, size: int) -> int:
        return size if self.most is None else min(size, self.most)


@dataclass(frozen=True)
class Kernel:
    """An equation and the share of the machine's arithmetic peak, or of its read bandwidth, that it is to reach."""

    name: str
    text: str
    goal: float | None = None
    bound: str | None = None
    """What the goal is a share of: "peak" or "bandwidth"; None: of whichever is nearer."""
    target: str = "cpu"
    batch: int = 1


@dataclass(frozen=True)
class Spelling:
    """The library's convolution said in another way, and how its arrays lie.

    `image`, `weight` and `result` are the axes in the program's order, of `bxyi`, `pqij` and
    `bxyj`; with `flipped`, the weights are read from the last place of the window to the first.
    `edges` is a program that does nothing but bring image and result into another order.
    """

    name: str
    text: str
    image: str = "bxyi"
    weight: str = "pqij"
    result: str = "bxyj"
    flipped: bool = False
    edges: str | None = None


# -- convolutions and matrix products -----------------------------------------------------------


@dataclass(frozen=True)
class Convolution:
    """A square convolution without padding that gives `size` x `size` places."""

    network: str
    size: int
    inputs: int
    outputs: int
    window: int = 1
    stride: int = 1

    def name(self) -> str:
        """`ResNet 3x3 stride 2, 64 to 64, 56²`."""
        stride = f" stride {self.stride}" if self.stride > 1 else ""
        return f"{self.network} {self.window}x{self.window}{stride}, {self.inputs} to {self.outputs}, {self.size}²"

    def text(self, sizes: Sizes) -> str:
        """The program."""
        size, inputs, outputs = sizes(self.size), sizes(self.inputs), sizes(self.outputs)
        step = f"{self.stride}*" if self.stride > 1 else ""
        image = (size - 1) * self.stride + self.window
        if self.window == 1:
            return f"""\
Given L[{image},{image},{inputs}]
param W[{inputs},{outputs}] ~ xavier
S[b,x,y,j] = W[I,j] * L[b,{step}x,{step}y,I]
"""
        return f"""\
Given L[{image},{image},{inputs}]
param W[{self.window},{self.window},{inputs},{outputs}] ~ xavier
S[b,x,y,j] = W[ΔX,ΔY,I,j] * L[b,{step}x+ΔX,{step}y+ΔY,I]
"""

    def goal(self) -> float:
        """The share of the arithmetic peak that is asked for."""
        return STEM if self.inputs == 3 else SMALL if self.size < 14 else DIRECT


CONVOLUTIONS = (
    Convolution("ResNet", 112, 3, 64, 7, 2),
    Convolution("ResNet", 56, 64, 64, 3),
    Convolution("ResNet", 28, 128, 128, 3),
    Convolution("ResNet", 14, 256, 256, 3),
    Convolution("ResNet", 7, 512, 512, 3),
    Convolution("ResNet", 28, 128, 128, 3, 2),
    Convolution("ResNet", 14, 256, 256, 3, 2),
    Convolution("ResNet", 7, 512, 512, 3, 2),
    Convolution("ResNet", 56, 64, 64),
    Convolution("ResNet", 56, 64, 256),
    Convolution("ResNet", 56, 256, 64),
    Convolution("ResNet", 28, 512, 128),
    Convolution("ResNet", 28, 128, 512),
    Convolution("ResNet", 14, 1024, 256),
    Convolution("ResNet", 14, 256, 1024),
    Convolution("ResNet", 7, 2048, 512),
    Convolution("ResNet", 7, 512, 2048),
    Convolution("ResNet", 28, 256, 512, 1, 2),
    Convolution("ResNet", 14, 512, 1024, 1, 2),
    Convolution("ResNet", 7, 1024, 2048, 1, 2),
    Convolution("VGG", 56, 128, 256, 3),
    Convolution("VGG", 56, 256, 256, 3),
    Convolution("VGG", 28, 256, 512, 3),
    Convolution("VGG", 28, 512, 512, 3),
    Convolution("VGG", 14, 512, 512, 3),
)

DENSE = (
    ("AlexNet", 9216, 4096),
    ("AlexNet", 4096, 4096),
    ("AlexNet", 4096, 1000),
    ("VGG", 25088, 4096),
)


def contractions(sizes: Sizes, target: str = "cpu", most: float = 1.0) -> Iterator[Kernel]:
    """Convolutions, a whole layer of a network, and fully connected layers; no goal above `most` of the peak."""
    for shape in CONVOLUTIONS:
        goal = min(shape.goal(), most)
        yield Kernel(shape.name(), shape.text(sizes), goal, "peak", target)
    size, channels = sizes(56), sizes(64)
    layer = f"""\
Given L[x {size}, y {size}, i {channels}]
param W[3,3,{channels},{channels}] ~ xavier
param B[{channels}]
P = pad(L, x: 1, y: 1)
S[b,x,y,j] = relu(W[ΔX,ΔY,I,j] * P[b,x+ΔX,y+ΔY,I] + B[j])
"""
    yield Kernel("ResNet 3x3, padded, bias, ReLU, 64, 56²", layer, min(DIRECT, most), "peak", target)
    for network, inputs, outputs in DENSE:
        text = f"""\
Given L[{sizes(inputs)}]
param W[{sizes(inputs)},{sizes(outputs)}] ~ xavier
S[b,j] = W[I,j] * L[b,I]
"""
        yield Kernel(f"{network} dense, {inputs} to {outputs}", text, MEMORY, "bandwidth", target)


def two_dilations(sizes: Sizes) -> Kernel:
    """A convolution by a column and one by a row, with different dilations, in one equation."""
    size, channels = sizes(56), sizes(64)
    text = f"""\
Given L[{size + 4},{size + 6},{channels}]
param V[3,{channels},{channels}] ~ xavier
param H[3,{channels},{channels}] ~ xavier
S[b,x,y,j] = V[ΔX,I,j] * L[b,x+2*ΔX,y+3,I] + H[ΔY,I,j] * L[b,x+2,y+3*ΔY,I]
"""
    return Kernel("3x1 dilated by 2 plus 1x3 dilated by 3, 64, 56²", text, 0.80, "peak")


# -- other layers -------------------------------------------------------------------------------


def others(sizes: Sizes) -> Iterator[Kernel]:
    """Grouped and depthwise convolutions, pooling, normalisation, softmax.

    What only moves data has a batch that no cache holds, so that memory is what bounds it.
    """

    def kernel(name: str, text: str, batch: int = 1) -> Kernel:
        return Kernel(name, text, batch=sizes(batch))

    for size, groups, channels in ((56, 32, 128), (28, 32, 256), (14, 32, 512), (7, 32, 1024), (28, 4, 128)):
        parts, each = sizes(groups), sizes(channels // groups)
        text = f"""\
Given L[{sizes(size) + 2},{sizes(size) + 2},{parts * each}]
param W[3,3,{each},{parts * each}] ~ xavier
for g in 0..{parts}: S[b,x,y,(g,j)] = W[ΔX,ΔY,K,(g,j)] * L[b,x+ΔX,y+ΔY,(g,K)]
"""
        yield kernel(f"grouped 3x3, {groups} of {channels // groups}, {size}²", text)
    depthwise = (
        (112, 32, 3, 1), (56, 96, 3, 2), (56, 144, 3, 1), (28, 192, 3, 1), (14, 384, 3, 1), (7, 960, 3, 1),
        (28, 240, 5, 1), (14, 672, 5, 1), (7, 672, 5, 2), (28, 144, 5, 2),
    )  # fmt: skip
    for size, channels, window, stride in depthwise:
        image = (sizes(size) - 1) * stride + window
        step = f"{stride}*" if stride > 1 else ""
        text = f"""\
Given L[{image},{image},{sizes(channels)}]
param W[{window},{window},{sizes(channels)}] ~ xavier
S[b,x,y,i] = W[ΔX,ΔY,i] * L[b,{step}x+ΔX,{step}y+ΔY,i]
"""
        yield kernel(f"depthwise {window}x{window} stride {stride}, {channels}, {size}²", text)
    yield kernel("max-pool 2x2 stride 2, 64, 112²", _pooling("max", sizes(112), sizes(64), 2), 16)
    yield kernel("max-pool 3x3 stride 2, 64, 56²", _pooling("max", sizes(56), sizes(64), 3), 32)
    yield kernel("mean-pool 2x2 stride 2, 256, 28²", _pooling("mean", sizes(28), sizes(256), 2), 32)
    text = f"""\
Given L[{sizes(7)},{sizes(7)},{sizes(2048)}]
S[b,i] = mean[x,y](L[b,x,y,i])
"""
    yield kernel("mean over 7², 2048", text, 128)
    text = f"""\
Given L[x {sizes(55)}, y {sizes(55)}, i {sizes(96)}]
P = pad(L, i: 2)
S[b,x,y,i] = L[b,x,y,i] / (2 + 0.0001 * sum[Δi in 0..5](P[b,x,y,i+Δi]^2))^0.75
"""
    yield kernel("local response normalisation, 96, 55²", text, 32)
    text = f"""\
Given s[{sizes(1000)}]
p[b,j] = softmax[j](s[b,j])
"""
    yield kernel("softmax over 1000", text, 16384)
    text = f"""\
Given s[{sizes(12)},{sizes(197)},{sizes(197)}]
p[b,h,t,k] = softmax[k](s[b,h,t,k])
"""
    yield kernel("softmax over 197, 12 heads", text, 32)
    text = f"""\
Given L[{sizes(197)},{sizes(768)}]
param γ[{sizes(768)}] = 1
param β[{sizes(768)}]
μ[b,t] = mean[i](L[b,t,i])
v[b,t] = mean[i]((L[b,t,i] - μ[b,t])^2)
S[b,t,i] = γ[i] * (L[b,t,i] - μ[b,t]) / sqrt(v[b,t] + 1e-5) + β[i]
"""
    yield kernel("layer norm over 768, 197 tokens", text, 64)


def _pooling(reducer: str, size: int, channels: int, window: int) -> str:
    image = 2 * (size - 1) + window
    return f"""\
Given L[{image},{image},{channels}]
S[b,x,y,i] = {reducer}[Δx in 0..{window}, Δy in 0..{window}](L[b,2*x+Δx,2*y+Δy,i])
"""


# -- spellings ----------------------------------------------------------------------------------

SPELLED = ((56, 64), (14, 256))
"""(size, channels) of the convolutions that are spelled in many ways."""


def library_spelling(size: int, channels: int) -> Spelling:
    """What all others are measured against."""
    text = f"""\
Given L[{size},{size},{channels}]
S = Conv(L, Φ, width 3, pad 1, filters {channels}, bias false)
"""
    return Spelling("the library's", text)


def spellings(size: int, channels: int) -> Iterator[Spelling]:
    """The same convolution, 3x3 and padded by 1, in other words."""
    given = f"Given L[x {size}, y {size}, i {channels}]\n"
    weights = f"param W[3,3,{channels},{channels}]\n"
    head = f"{given}{weights}P = pad(L, x: 1, y: 1)\n"
    yield Spelling("as an equation", f"{head}S[b,x,y,j] = W[ΔX,ΔY,I,j] * P[b,x+ΔX,y+ΔY,I]\n")
    yield Spelling(
        "other names",
        f"""\
Given Image[r {size}, c {size}, z {channels}]
param Filter[3,3,{channels},{channels}]
Wide = pad(Image, r: 1, c: 1)
Out[n,r,c,k] = Filter[U,V,Z,k] * Wide[n,r+U,c+V,Z]
""",
    )
    yield Spelling("factors swapped", f"{head}S[b,x,y,j] = P[b,x+ΔX,y+ΔY,I] * W[ΔX,ΔY,I,j]\n")
    yield Spelling(
        "explicit sum, centred window",
        f"{head}S[b,x,y,j] = sum[p in -1..2, q in -1..2, i](W[p+1,q+1,i,j] * P[b,x+p+1,y+q+1,i])\n",
    )
    yield Spelling(
        "padded in place", f"{given}{weights}S[b,x,y,j] = W[ΔX,ΔY,I,j] * pad(L, x: 1, y: 1)[b,x+ΔX,y+ΔY,I]\n"
    )
    yield Spelling(
        "weights as PyTorch's",
        f"{given}param W[{channels},{channels},3,3]\nP = pad(L, x: 1, y: 1)\n"
        "S[b,x,y,j] = W[j,I,ΔX,ΔY] * P[b,x+ΔX,y+ΔY,I]\n",
        weight="jipq",
    )
    yield Spelling("window flipped", f"{head}S[b,x,y,j] = W[2-ΔX,2-ΔY,I,j] * P[b,x+ΔX,y+ΔY,I]\n", flipped=True)
    yield Spelling("image read backwards", f"{head}S[b,x,y,j] = W[ΔX,ΔY,I,j] * P[b,x+2-ΔX,y+2-ΔY,I]\n", flipped=True)
    yield Spelling(
        "image to column",
        f"{head}C[b,x in 0..{size},y in 0..{size},Δx,Δy,i] = P[b,x+Δx,y+Δy,i]\n"
        "S[b,x,y,j] = C[b,x,y,(ΔX,ΔY,I)] * W[(ΔX,ΔY,I),j]\n",
    )
    yield Spelling("columns before rows", f"{head}S[b,y,x,j] = W[ΔX,ΔY,I,j] * P[b,x+ΔX,y+ΔY,I]\n", result="byxj")
    edges = f"""\
Given L[{channels},{size},{size}], S[{size},{size},{channels}]
M[b,x,y,i] = L[b,i,x,y]
T[b,j,x,y] = S[b,x,y,j]
"""
    first = f"Given L[i {channels}, x {size}, y {size}]\n"
    yield Spelling(
        "channels first",
        f"{first}{weights}P = pad(L, x: 1, y: 1)\nS[b,j,x,y] = W[ΔX,ΔY,I,j] * P[b,I,x+ΔX,y+ΔY]\n",
        image="bixy",
        result="bjxy",
        edges=edges,
    )
    yield Spelling(
        "channels first, as PyTorch",
        f"{first}param W[{channels},{channels},3,3]\nP = pad(L, x: 1, y: 1)\n"
        "S[b,j,x,y] = W[j,I,ΔX,ΔY] * P[b,I,x+ΔX,y+ΔY]\n",
        image="bixy",
        weight="jipq",
        result="bjxy",
        edges=edges,
    )
