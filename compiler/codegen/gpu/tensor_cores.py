"""Tiles of sums of products that tensor cores multiply.

A warp, 32 threads in step, multiplies 16 rows by 8 columns in one instruction: for 16 steps of numbers of 16 bits,
for 8 of tf32.  Which numbers a thread gives and which sums it gets is fixed by the instruction (PTX ISA, matrix
fragments for mma.m16n8k16 and mma.m16n8k8).  Numbers of a row (or column) lie next to each other in shared
memory, step by step, and two of 16 bits are read as one word.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx
from tvm.ir import Expr
from tvm.tirx import BufferLoad, BufferStore

from ..statements import UNROLLED, Block, SharedArray, integer
from .shared_tiles import Factor, SharedTilesNest

_ROWS, _COLUMNS = 16, 8  # of an instruction
_WARP, _GROUPS = 32, 4  # threads of a warp, and of those that share a row
_APART = 4  # words between rows of shared memory, so that the eight rows that a warp reads lie in other banks


class TensorCoresNest(SharedTilesNest):
    """As `SharedTilesNest`, with warps instead of threads as what multiplies."""

    @property
    def _halves(self) -> int:
        """Numbers in a word."""
        return 1 if self.shape.numbers == "tf32" else 2

    # -- shared memory -------------------------------------------------------------------------

    def _memory(self, block: Block, name: str, factor: Factor) -> SharedArray:
        return SharedArray(block, name, "float32" if self._halves == 1 else "uint16", factor.extent * self._pitch())

    def _pitch(self) -> int:
        return self.shape.depth + _APART * self._halves

    def _kept_at(self, factor: Factor, step: Expr, line: Expr) -> Expr:
        return line * self._pitch() + step

    def _kept(self, value: Expr) -> Expr:
        dtype = "float32" if self._halves == 1 else "uint16"
        return tirx.call_pure_extern(dtype, f"majuscule_{self.shape.numbers}", value)

    # -- which results are a thread's ----------------------------------------------------------

    def _begin(self, block: Block) -> None:
        warps = self.shape.columns // (_GROUPS * self.shape.width)  # side by side
        warp = block.bind("warp", tirx.Div(self.thread, integer(_WARP)))
        lane = block.bind("lane", tirx.Mod(self.thread, integer(_WARP)))
        self.group = block.bind("group", tirx.Div(lane, integer(_GROUPS)))
        self.member = block.bind("member", tirx.Mod(lane, integer(_GROUPS)))
        self.down = block.bind("down", tirx.Div(warp, integer(warps)) * (_ROWS // 2 * self.shape.height))
        self.across = block.bind("across", tirx.Mod(warp, integer(warps)) * (_GROUPS * self.shape.width))

    def _row(self, position: Expr) -> Expr:
        return self.down + position * (_ROWS // 2) + self.group

    def _column(self, position: Expr) -> Expr:
        inside = self.member * 2 + tirx.Mod(position, integer(2))
        return self.across + tirx.Div(position, integer(2)) * _COLUMNS + inside

    def _sum(self, down: Expr, across: Expr) -> Expr:
        tile = tirx.Div(down, integer(2)) * (self.shape.width // 2) + tirx.Div(across, integer(2))
        return tile * 4 + tirx.Mod(down, integer(2)) * 2 + tirx.Mod(across, integer(2))

    # -- multiplying ---------------------------------------------------------------------------

    def _multiply(self, block: Block, memory: Sequence[SharedArray], factors: Sequence[Factor], sums: tirx.Var) -> None:
        height, width = self.shape.height // 2, self.shape.width // 2  # in instructions
        a = self._words(block, "a_here", 4 * height)
        b = self._words(block, "b_here", 2 * width)
        steps = 8 * self._halves
        with block.loop("step", self.shape.depth // steps, UNROLLED) as (body, step):
            with body.loop("i", height, UNROLLED) as (inner, i):
                for word in range(4):
                    line = self.down + i * _ROWS + self.group + (word % 2) * (_ROWS // 2)
                    self._read(inner, a, i * 4 + word, memory[0], factors[0], line, step * steps, word // 2)
            with body.loop("j", width, UNROLLED) as (inner, j):
                for word in range(2):
                    line = self.across + j * _COLUMNS + self.group
                    self._read(inner, b, j * 2 + word, memory[1], factors[1], line, step * steps, word)
            with body.loop("i", height, UNROLLED) as (outer, i), outer.loop("j", width, UNROLLED) as (inner, j):
                operands = ((sums, (i * width + j) * 4), (a, i * 4), (b, j * 2))
                places = [tirx.address_of(BufferLoad(array, [place])) for array, place in operands]
                call = tirx.call_extern("int32", f"majuscule_multiply_{self.shape.numbers}", *places)
                inner.append(tirx.Evaluate(call))

    def _read(
        self,
        block: Block,
        words: tirx.Var,
        place: Expr,
        shared: SharedArray,
        factor: Factor,
        line: Expr,
        first: Expr,
        part: int,
    ) -> None:
        """A word of a fragment: the numbers of two steps, or of one, of a row (or column)."""
        step = first + self.member * self._halves + part * (_GROUPS * self._halves)
        found = tirx.call_pure_extern("uint32", "majuscule_word", shared.address(self._kept_at(factor, step, line)))
        block.append(BufferStore(words, found, [place]))

    def _words(self, block: Block, name: str, length: int) -> tirx.Var:
        buffer = tirx.decl_buffer((length,), "uint32", name, scope="local", layout=None)
        block.append(tirx.AllocBuffer(buffer))
        return buffer
