"""Layers that no library has, as equations and in PyTorch, each in every formulation that is known to be fast there.

A formulation is a function of the tensors of the program's inputs and parameters, by name and in
the program's order of axes; `equations.py` runs them all, eagerly and through `torch.compile`,
and lets the fastest compete.  `views` gives windows without copying them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from equation_programs import Sizes
from peers import Array
from torch import Tensor
from torch.nn import functional

Tensors = Mapping[str, Tensor]
Formulation = Callable[[Tensors], Tensor]
Calls = Mapping[str, Callable[[], Tensor]]
MINUS_INFINITY = float("-inf")


@dataclass(frozen=True)
class Rivalry:
    """An equation, and what is done in PyTorch instead."""

    name: str
    text: str
    formulations: Mapping[str, Formulation]
    batch: int = 1


def rivalries(sizes: Sizes) -> Iterator[Rivalry]:
    """All of them."""
    yield _adder(sizes(56), sizes(64))
    yield _max_plus(sizes(56), sizes(64))
    yield _dilation(sizes(112), sizes(64))
    yield _local_attention(sizes(56), 4, 16)
    yield _involution(sizes(56), 4, 16)


def ready(rivalry: Rivalry, arrays: Mapping[str, Array]) -> tuple[Calls, Calls]:
    """All formulations, eager and compiled, as calls on these arrays in inference mode."""
    given = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

    def calls(change: Callable[[Formulation], Formulation]) -> Calls:
        return {name: partial(_infer, change(found), given) for name, found in rivalry.formulations.items()}

    return calls(lambda formulation: formulation), calls(partial(torch.compile, dynamic=False))


def _infer(formulation: Formulation, given: Tensors) -> Tensor:
    with torch.inference_mode():
        return formulation(given)


def views(images: Tensor, window: int) -> Tensor:
    """`[batch, x, y, channels]` as `[batch, x, y, channels, Δx, Δy]`, sharing memory."""
    return images.unfold(1, window, 1).unfold(2, window, 1)


def offsets(window: int) -> Iterator[tuple[int, int]]:
    """All places in a window."""
    for dx in range(window):
        for dy in range(window):
            yield dx, dy


# -- every filter against every window -----------------------------------------------------------


def _filters(size: int, channels: int, equation: str) -> str:
    return f"""\
Given L[{size + 2},{size + 2},{channels}]
param W[3,3,{channels},{channels}] ~ standard_normal
S[b,x,y,j] = {equation}
"""


def _patches(given: Tensors) -> Tensor:
    """The windows of `L` as rows [batch·x·y, Δx·Δy·i], a copy."""
    return views(given["L"], 3).permute(0, 1, 2, 4, 5, 3).reshape(-1, given["W"][..., 0].numel())


def _image(rows: Tensor, given: Tensors) -> Tensor:
    """Rows for all places as an image."""
    batch, size = len(given["L"]), given["L"].shape[1] - 2
    return rows.reshape(batch, size, size, -1)


def _adder(size: int, channels: int) -> Rivalry:
    """AdderNet's layer (Chen et al. 2020, equation 2): likeness by absolute differences."""

    def distances(given: Tensors) -> Tensor:
        filters = given["W"].flatten(0, 2).T.contiguous()
        return _image(-torch.cdist(_patches(given), filters, p=1.0), given)

    def offset_by_offset(given: Tensors) -> Tensor:
        images, weights = given["L"], given["W"]
        result = torch.zeros(())
        for dx, dy in offsets(3):
            part = images[:, dx : dx + size, dy : dy + size, None, :] - weights[dx, dy].T
            result = result - part.abs().sum(-1)
        return result

    def at_once(given: Tensors) -> Tensor:
        filters = given["W"].flatten(0, 2).T.contiguous()
        return _image(-(_patches(given)[:, None, :] - filters).abs().sum(-1), given)

    def filters_last(given: Tensors) -> Tensor:
        return _image(-(_patches(given)[:, :, None] - given["W"].flatten(0, 2)).abs().sum(1), given)

    text = _filters(size, channels, "Σ_{Δx,Δy,i} -abs(L[b,x+Δx,y+Δy,i] - W[Δx,Δy,i,j])")
    return Rivalry(
        f"adder convolution 3x3, {channels} to {channels}, {size}²",
        text,
        {"cdist": distances, "offset by offset": offset_by_offset, "at once": at_once, "filters last": filters_last},
    )


def _max_plus(size: int, channels: int) -> Rivalry:
    """A convolution in the max-plus algebra: the largest of sums, not the sum of products."""

    def offset_by_offset(given: Tensors) -> Tensor:
        images, weights = given["L"], given["W"]
        result = torch.full((), MINUS_INFINITY)
        for dx, dy in offsets(3):
            part = images[:, dx : dx + size, dy : dy + size, None, :] + weights[dx, dy].T
            result = torch.maximum(result, part.amax(-1))
        return result

    def at_once(given: Tensors) -> Tensor:
        filters = given["W"].flatten(0, 2).T.contiguous()
        return _image((_patches(given)[:, None, :] + filters).amax(-1), given)

    def filters_last(given: Tensors) -> Tensor:
        return _image((_patches(given)[:, :, None] + given["W"].flatten(0, 2)).amax(1), given)

    text = _filters(size, channels, "max_{Δx,Δy,i} (L[b,x+Δx,y+Δy,i] + W[Δx,Δy,i,j])")
    return Rivalry(
        f"max-plus convolution 3x3, {channels} to {channels}, {size}²",
        text,
        {"offset by offset": offset_by_offset, "at once": at_once, "filters last": filters_last},
    )


def _dilation(size: int, channels: int) -> Rivalry:
    """Grey-scale dilation of each channel by a learned structuring element (Serra 1982)."""

    def offset_by_offset(given: Tensors) -> Tensor:
        images, weights = given["L"], given["W"]
        result = images[:, :size, :size] + weights[0, 0]
        for dx, dy in offsets(5):
            result = torch.maximum(result, images[:, dx : dx + size, dy : dy + size] + weights[dx, dy])
        return result

    def at_once(given: Tensors) -> Tensor:
        return (views(given["L"], 5) + given["W"].permute(2, 0, 1)).amax((-2, -1))

    text = f"""\
Given L[{size + 4},{size + 4},{channels}]
param W[5,5,{channels}] ~ standard_normal
S[b,x,y,i] = max_{{Δx,Δy}} (L[b,x+Δx,y+Δy,i] + W[Δx,Δy,i])
"""
    return Rivalry(
        f"morphological dilation 5x5, {channels}, {size}²",
        text,
        {"offset by offset": offset_by_offset, "at once": at_once},
    )


# -- weights that depend on the place ------------------------------------------------------------


def _local_attention(size: int, heads: int, channels: int) -> Rivalry:
    """Every place attends to the 7x7 around it (Ramachandran et al. 2019, equation 2, without positions)."""
    width, image = 7, size + 6
    scale = channels**-0.5

    def windows(given: Tensors) -> Tensor:
        keys, values = views(given["K"], width), views(given["V"], width)  # b x y h c p q
        scores = torch.einsum("bxyhc,bxyhcpq->bxyhpq", given["Q"] * scale, keys)
        weights = scores.flatten(-2).softmax(-1).unflatten(-1, (width, width))
        return torch.einsum("bxyhpq,bxyhcpq->bxyhc", weights, values)

    def products(given: Tensors) -> Tensor:
        keys, values = views(given["K"], width), views(given["V"], width)
        scores = ((given["Q"] * scale)[..., None, None] * keys).sum(4)
        weights = scores.flatten(-2).softmax(-1).unflatten(-1, (width, width))
        return (weights.unsqueeze(4) * values).sum((-2, -1))

    def offset_by_offset(given: Tensors) -> Tensor:
        queries = given["Q"] * scale
        places = [(slice(None), slice(dx, dx + size), slice(dy, dy + size)) for dx, dy in offsets(width)]
        scores = torch.stack([(queries * given["K"][place]).sum(-1) for place in places], -1)
        weights = scores.softmax(-1)
        result = torch.zeros_like(queries)
        for k, place in enumerate(places):
            result = torch.addcmul(result, weights[..., k, None], given["V"][place])
        return result

    def one_query_each(given: Tensors) -> Tensor:
        keys, values = (
            views(given[name], width).permute(0, 1, 2, 3, 5, 6, 4).reshape(-1, heads, width * width, channels)
            for name in "KV"
        )
        queries = given["Q"].reshape(-1, heads, 1, channels)
        return functional.scaled_dot_product_attention(queries, keys, values).reshape(given["Q"].shape)

    rows = torch.arange(size)[:, None, None, None], torch.arange(image)[None, None, :, None]
    columns = torch.arange(size)[None, :, None, None], torch.arange(image)[None, None, None, :]
    near = [(key >= query) & (key < query + width) for query, key in (rows, columns)]
    mask = (near[0] & near[1]).reshape(size * size, image * image)

    def masked(given: Tensors) -> Tensor:
        queries, keys, values = (given[name].flatten(1, 2).transpose(1, 2) for name in "QKV")
        found = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return found.transpose(1, 2).reshape(given["Q"].shape)

    text = f"""\
Given Q[{size},{size},{heads},{channels}], K[{image},{image},{heads},{channels}], V[{image},{image},{heads},{channels}]
A[b,x,y,h,Δx,Δy] = softmax[Δx in 0..{width}, Δy in 0..{width}]({scale} * Q[b,x,y,h,I] * K[b,x+Δx,y+Δy,h,I])
S[b,x,y,h,i] = A[b,x,y,h,ΔX,ΔY] * V[b,x+ΔX,y+ΔY,h,i]
"""
    formulations = {
        "windows": windows, "products": products, "offset by offset": offset_by_offset,
        "one query each": one_query_each, "masked": masked,
    }  # fmt: skip
    return Rivalry(f"local attention 7x7, {heads} heads of {channels}, {size}²", text, formulations)


def _involution(size: int, groups: int, channels: int) -> Rivalry:
    """A filter for each place, shared by the channels of a group (Li et al. 2021, equation 4)."""
    width = 7

    def windows(given: Tensors) -> Tensor:
        images = views(given["L"].unflatten(-1, (groups, channels)).flatten(3), width)
        images = images.unflatten(3, (groups, channels))
        return torch.einsum("bxypqg,bxygipq->bxygi", given["K"], images).flatten(3)

    def products(given: Tensors) -> Tensor:
        images = views(given["L"], width).unflatten(3, (groups, channels))
        kernels = given["K"].permute(0, 1, 2, 5, 3, 4).unsqueeze(4)
        return (kernels * images).sum((-2, -1)).flatten(3)

    def offset_by_offset(given: Tensors) -> Tensor:
        images, kernels = given["L"].unflatten(-1, (groups, channels)), given["K"]
        result = torch.zeros_like(images[:, :size, :size])
        for dx, dy in offsets(width):
            part = images[:, dx : dx + size, dy : dy + size]
            result = torch.addcmul(result, kernels[:, :, :, dx, dy, :, None], part)
        return result.flatten(3)

    def published(given: Tensors) -> Tensor:
        """As its authors' code has it: `unfold`, multiply, sum."""
        images = functional.unfold(given["L"].permute(0, 3, 1, 2), width)
        images = images.view(-1, groups, channels, width * width, size, size)
        kernels = given["K"].permute(0, 5, 3, 4, 1, 2).reshape(-1, groups, 1, width * width, size, size)
        return (kernels * images).sum(3).flatten(1, 2).permute(0, 2, 3, 1)

    text = f"""\
Given L[{size + 6},{size + 6},{groups * channels}], K[{size},{size},{width},{width},{groups}]
S[b,x,y,(g,i)] = K[b,x,y,ΔX,ΔY,g] * L[b,x+ΔX,y+ΔY,(g,i)]
"""
    formulations = {
        "windows": windows, "products": products, "offset by offset": offset_by_offset, "published": published,
    }  # fmt: skip
    return Rivalry(f"involution 7x7, {groups} groups of {channels}, {size}², batch 8", text, formulations, batch=8)
