"""Definitions that belong together are found here, before anything in the group is elaborated.

Several equations may define disjoint parts of one tensor (`partials`); equations that read
each other, or themselves, at earlier values of one index are a recurrence (`recurrences`).
"""

from __future__ import annotations

from . import syntax
from .diagnostics import error
from .group_parts import Member, axis_names, read_part
from .names import index_name
from .partials import define_partial
from .recurrences import Recurrent
from .session import Session
from .values import Scope, TensorValue

MAXIMUM_PARTS = 1_100
"""Equations that may define one tensor: those of a gradient with a stride of 32 in two directions, and a few."""


def find_groups(statements: tuple[syntax.Statement, ...]) -> dict[int, list[int]]:
    """Last position of each group -> positions of all its statements."""
    defines: dict[str, list[int]] = {}
    numbers = _numbers(statements)
    uses: dict[int, set[str]] = {}
    for position, statement in enumerate(statements):
        definition = as_definition(statement)
        if definition is None:
            continue
        target = definition[1].targets[0]
        if target.subscripts is None or target.name.member is not None:
            continue
        defines.setdefault(target.name.name, []).append(position)
        uses[position] = _names_read(definition[1].value)
    edges = {p: {q for name in names for q in defines.get(name, ())} for p, names in uses.items()}
    for positions in defines.values():
        partial = len(positions) > 1 and any(_is_partial(statements[p], numbers) for p in positions)
        if partial or (len(positions) > 1 and any(_reachable(p, edges) & set(positions) for p in positions)):
            for a, b in zip(positions, positions[1:] + positions[:1], strict=True):
                edges[a].add(b)
    groups: dict[int, list[int]] = {}
    for component in _components(edges):
        if len(component) > 1 or component[0] in edges[component[0]]:
            groups[max(component)] = sorted(component)
    return groups


def as_definition(statement: syntax.Statement) -> tuple[tuple[syntax.Binder, ...], syntax.Definition] | None:
    if isinstance(statement, syntax.Definition) and len(statement.targets) == 1:
        return (), statement
    if isinstance(statement, syntax.For) and len(statement.body) == 1:
        inner = statement.body[0]
        if isinstance(inner, syntax.Definition) and len(inner.targets) == 1 and inner.targets[0].subscripts:
            on_left = {
                index_name(n.name) for n in syntax.walk(inner.targets[0].subscripts) if isinstance(n, syntax.Name)
            }
            if {name for binder in statement.binders for name in binder.names} <= on_left:
                return statement.binders, inner
    return None


def _numbers(statements: tuple[syntax.Statement, ...]) -> set[str]:
    """Names that are defined without brackets, so that in brackets they are numbers."""
    found = [definition for statement in statements if (definition := as_definition(statement)) is not None]
    return {d.targets[0].name.name for _, d in found if d.targets[0].subscripts is None}


def _is_partial(statement: syntax.Statement, numbers: set[str]) -> bool:
    """Whether a definition's brackets hold anything but single indices."""
    definition = as_definition(statement)
    assert definition is not None
    subscripts = definition[1].targets[0].subscripts or ()
    has_index = any(isinstance(n, syntax.Name) for n in syntax.walk(subscripts)) or len(subscripts) == 1
    return has_index and any(
        n.name in numbers if isinstance(n, syntax.Name) else not isinstance(n, (syntax.Rest, syntax.SizeList))
        for n in subscripts
    )


def _names_read(value: syntax.RightSide) -> set[str]:
    return {
        node.base.name
        for node in syntax.walk(value)
        if isinstance(node, syntax.Subscripted) and isinstance(node.base, syntax.Name) and node.base.member is None
    }


def _components(edges: dict[int, set[int]]) -> list[list[int]]:
    """Strongly connected components, by reachability among the statements that lie between others."""
    edges = dict(edges)
    readers: dict[int, set[int]] = {node: set() for node in edges}
    for node, read in edges.items():
        for other in read:
            readers[other].add(node)
    # a statement that reads nothing here, or that nothing here reads, is in no circle
    waiting = [node for node in edges if not edges[node] or not readers[node]]
    while waiting:
        node = waiting.pop()
        if node not in edges:
            continue
        neighbours = edges.pop(node) | readers[node]
        for other in neighbours & edges.keys():
            edges[other] = edges[other] - {node}
            readers[other].discard(node)
            if not edges[other] or not readers[other]:
                waiting.append(other)
    reach = {start: _reachable(start, edges) for start in edges}
    components: list[list[int]] = []
    placed: set[int] = set()
    for node in edges:
        if node not in placed:
            members = [node, *(m for m in edges if m != node and m in reach[node] and node in reach[m])]
            placed.update(members)
            components.append(members)
    return components


def _reachable(start: int, edges: dict[int, set[int]]) -> set[int]:
    seen: set[int] = set()
    stack = list(edges[start])
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(edges[node])
    return seen


def define_group(elaborator: Session, scope: Scope, statements: list[syntax.Statement]) -> None:
    """Elaborate a group found by `find_groups`."""
    definitions = [found for statement in statements if (found := as_definition(statement)) is not None]
    members: dict[str, Member] = {}
    inner = scope  # members see each other under their own names while they are read
    for _, definition in definitions:
        target = definition.targets[0]
        name = target.name.name
        if name not in members:
            elaborator.new_name(target.name, scope)
            rank = len(target.subscripts or ())
            shape = tuple(elaborator.builder.unknown(f"{name}, axis {k}") for k in range(rank))
            dtype = elaborator.dtype(definition.dtype, scope) or "float32"
            path = scope.prefix + name + scope.suffix
            value = TensorValue(path, shape, dtype, axis_names(target), target.place, spelling=name)
            members[name] = Member(path, target.name, value)
        elif len(members) == 1 and len(definitions) > MAXIMUM_PARTS:
            raise error(
                "E719",
                target.place,
                f"{name} is defined in {len(definitions):,} parts; at most {MAXIMUM_PARTS:,} are allowed",
            )
        elif len(target.subscripts or ()) != members[name].value.rank:
            raise error(
                "E704", target.place, f"the parts of {name} have different numbers of axes",
                labels=[(members[name].value.place, f"{members[name].value.rank} axes here")],
            )  # fmt: skip
    for member in members.values():
        inner.define(member.spelled.name, member.value, member.spelled.place)
    try:
        for prefix, definition in definitions:
            member = members[definition.targets[0].name.name]
            member.parts.append(read_part(elaborator, scope, member, prefix, definition, members))
    finally:
        for member in members.values():
            scope.names.pop(member.spelled.name, None)
    if any(part.recursive for member in members.values() for part in member.parts):
        Recurrent(elaborator, scope, members).define()
    else:
        for member in members.values():
            define_partial(elaborator, scope, member)
