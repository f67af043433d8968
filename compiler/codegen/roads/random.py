"""Random tensors: Philox 4x32-10, one of the four words of a counter per element.

The same rounds as `compiler.random_numbers` has in NumPy (Salmon, Moraes, Dror and Shaw,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011): the key is the seed, the counter of
element e is (e div 4 low, e div 4 high, stream, step), and the upper 24 bits of its word
e mod 4 make a number in [0, 1).
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr, PrimType
from tvm.tirx import PrimFunc

from ...random_numbers import KEY_INCREMENTS, MULTIPLIERS, ROUNDS, UNIFORM_SCALE, WORDS
from ..statements import PARALLEL, SERIAL, Block, add, array_at, cast, integer, multiply, number, pointer
from ..storage import memory_dtype, store, working_dtype

_CHUNK = 4096


def lower(dtype: str, name: str) -> PrimFunc:
    """A function of the output's address, its element count, the seed, the step and the stream."""
    body = Block()
    address = pointer("output_address", memory_dtype(dtype))
    output = array_at(body, address, memory_dtype(dtype), "output")
    count, seed, step, stream = (tirx.Var(n, "int64") for n in ("count", "seed", "step", "stream"))

    with body.loop("chunk", tirx.Div(count + (_CHUNK - 1), integer(_CHUNK)), PARALLEL) as (chunk_body, chunk):
        first = chunk_body.bind("first", chunk * (_CHUNK // WORDS))
        whole = chunk_body.bind("whole", tirx.Min(integer(_CHUNK // WORDS), tirx.Div(count, integer(WORDS)) - first))
        with chunk_body.loop("counter", whole, SERIAL) as (inner, position):
            counter = inner.bind("counter", first + position)
            for place, word in enumerate(words(inner, counter, seed, step, stream)):
                draw(inner, output, counter * WORDS + place, word, dtype)
    # the last elements, fewer than a counter has words
    counter = body.bind("counter", tirx.Div(count, integer(WORDS)))
    for place, word in enumerate(words(body, counter, seed, step, stream)[:-1]):
        last = body.child()
        draw(last, output, counter * WORDS + place, word, dtype)
        body.branch(tirx.LT(counter * WORDS + place, count), last)
    parameters = [address, count, seed, step, stream]
    return PrimFunc(parameters, body.statement(), ret_type=PrimType("int32")).with_attr("global_symbol", name)


def draw(block: Block, output: tirx.Var, element: Expr, word: Expr, dtype: str) -> None:
    """Write the number that a word makes."""
    fraction = cast(tirx.Div(word, number(256, "uint64")), "int64")
    value = multiply(cast(fraction, working_dtype(dtype)), number(UNIFORM_SCALE, working_dtype(dtype)))
    store(block, output, element, value, dtype)


def words(block: Block, position: Expr, seed: Expr, step: Expr, stream: Expr) -> list[Expr]:
    """The four words of the counter at a position, as uint64."""
    low, high = _halves(block, position)
    counter = [low, high, _halves(block, stream)[0], _halves(block, step)[0]]
    key = list(_halves(block, seed))
    for turn in range(ROUNDS):
        product0 = block.bind("product0", multiply(counter[0], number(MULTIPLIERS[0], "uint64")))
        product1 = block.bind("product1", multiply(counter[2], number(MULTIPLIERS[1], "uint64")))
        keys = [
            _low(block, add(k, number(turn * increment & 0xFFFFFFFF, "uint64")))
            for k, increment in zip(key, KEY_INCREMENTS, strict=True)
        ]
        counter = [
            block.bind("c0", _xor(_xor(_high(product1), counter[1]), keys[0])),
            _low(block, product1),
            block.bind("c2", _xor(_xor(_high(product0), counter[3]), keys[1])),
            _low(block, product0),
        ]
    return counter


def _halves(block: Block, value: Expr) -> tuple[Expr, Expr]:
    """The lower and upper 32 bits of an int64."""
    bits = block.bind("bits", cast(value, "uint64"))
    return _low(block, bits), block.bind("high", _high(bits))


def _high(value: Expr) -> Expr:
    return tirx.Div(value, number(1 << 32, "uint64"))


def _low(block: Block, value: Expr) -> Expr:
    return block.bind("low", tirx.bitwise_and(value, number(0xFFFFFFFF, "uint64")))


def _xor(left: Expr, right: Expr) -> Expr:
    return tirx.bitwise_xor(left, right)
