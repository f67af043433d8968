"""Plans of the arena: nothing overlaps that is needed at once, whatever the sizes, and little is wasted."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from majuscule.compiler.codegen.memory import Lifetime, MemoryPlan, plan_memory
from majuscule.compiler.codegen.sizes import encode_largest
from majuscule.compiler.codegen.winograd import THREADS
from majuscule.dsl.integers import Integer
from majuscule.runtime import sizes as run_time

BATCH, LENGTH = Integer.symbol("batch"), Integer.symbol("length", 0)
SCRATCH = Integer.atom(THREADS)
CALLS = [
    {"batch": batch, "length": length, THREADS.name: threads}
    for batch, length, threads in itertools.product((1, 3, 50), (0, 1, 17), (1, 5))
]


def _check(items: Sequence[Lifetime], plan: MemoryPlan, over: Mapping[str, str]) -> None:
    """No two temporaries that meet share a byte, but for those that were told to."""
    for call in CALLS:
        top = run_time.evaluate(encode_largest(plan.sizes), call)
        placed = {item.name: (plan.offsets[item.name].evaluate(call), item.size.evaluate(call)) for item in items}
        for one, other in itertools.combinations(items, 2):
            (low, size), (start, length) = placed[one.name], placed[other.name]
            if over.get(other.name) == one.name or over.get(one.name) == other.name:
                assert low == start
            elif one.first <= other.last and other.first <= one.last:
                assert low + size <= start or start + length <= low
        for low, size in placed.values():
            assert low >= 0
            assert low % 64 == 0
            assert low + size <= top


def test_sizes_of_all_kinds_never_overlap() -> None:
    items = [
        Lifetime("a", BATCH * 400, 0, 1), Lifetime("b", BATCH * 100 + 7, 1, 2), Lifetime("c", LENGTH * 12, 2, 3),
        Lifetime("d", BATCH * LENGTH * 4, 1, 4), Lifetime("e", Integer.of(1000), 3, 6),
        Lifetime("f", BATCH * 400, 4, 6), Lifetime("g", SCRATCH * 4000, 2, 2),
    ]  # fmt: skip
    _check(items, plan_memory(items), {})


@st.composite
def _programs(draw: st.DrawFn) -> tuple[list[Lifetime], dict[str, str]]:
    """Temporaries of a program, some of which take the place of one that ends where they begin."""
    units = [Integer.of(1), BATCH, LENGTH, BATCH * LENGTH, SCRATCH]
    items: list[Lifetime] = []
    over: dict[str, str] = {}
    for position in range(draw(st.integers(1, 9))):
        first = draw(st.integers(0, 6))
        last = draw(st.integers(first, 7))
        size = draw(st.sampled_from(units)) * draw(st.sampled_from([1, 4, 64, 100, 4096, 10_000]))
        ending = [item for item in items if item.first < first == item.last and item.name not in over.values()]
        if ending and draw(st.booleans()):
            old = draw(st.sampled_from(ending))
            size, over[f"t{position}"] = old.size, old.name
        items.append(Lifetime(f"t{position}", size, first, last))
    return items, over


@given(_programs())
@settings(deadline=None)
def test_plans_of_any_program_are_sound(program: tuple[list[Lifetime], dict[str, str]]) -> None:
    items, over = program
    _check(items, plan_memory(items, over, cores=4), over)


def test_a_result_in_the_place_of_an_operand_takes_no_memory() -> None:
    chain = [Lifetime(f"t{i}", BATCH * 640, i, i + 1) for i in range(5)]
    assert plan_memory(chain).sizes == (BATCH * 1280,)
    assert plan_memory(chain, {f"t{i + 1}": f"t{i}" for i in range(4)}).sizes == (BATCH * 640,)


def test_working_memory_is_not_added_where_there_is_room_for_it() -> None:
    # The two large ones meet where no working memory is needed; elsewhere there are small ones only.
    items = [
        Lifetime("large", BATCH * 64_000, 0, 1), Lifetime("next", BATCH * 16_000, 1, 2),
        Lifetime("small", BATCH * 16_000, 2, 3), Lifetime("scratch", SCRATCH * 6_400, 2, 2),
    ]  # fmt: skip
    plan = plan_memory(items, cores=2)
    assert max(size.evaluate({"batch": 1, THREADS.name: 2}) for size in plan.sizes) == 80_000
    assert max(size.evaluate({"batch": 1, THREADS.name: 9}) for size in plan.sizes) == 32_000 + 57_600
