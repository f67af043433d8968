"""Definitions of tensors: the left side, equations, concatenations and whole-tensor forms."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from . import syntax
from .diagnostics import Fix, error
from .equations import Equation, Partial, Piece, Place, Recurrence, Reshape
from .integers import Integer
from .lowering import Lowering, refuse_stray_skips
from .names import case, free_form, index_name, is_capital
from .session import Session
from .terms import Term
from .translate import Translator, _Rest
from .values import Scope, TensorValue

REST = "..."
"""Stands for the axes of `...` among the names of a fused axis, as in `V[b, (...)] = L[b, ...]`."""


@dataclass
class LeftSide:
    """What stands in the brackets on the left.

    `items` has, per axis, one index name, several for a fused axis (`REST` among them for
    `(...)`), `None` for `...`, the capitals of a concatenated axis in `joined`, or an affine
    expression in `targets`.
    """

    items: list[tuple[str, ...] | None] = field(default_factory=list)
    joined: tuple[int, tuple[str, ...]] | None = None
    targets: dict[int, Integer] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)

    def domain(self, rest: list[str] | None) -> tuple[str, ...]:
        """All indices in order, fused axes taken apart."""
        names: list[str] = []
        for item in self.items:
            names.extend((rest or []) if item is None else expand(item, rest))
        return tuple(names)

    @property
    def has_rest(self) -> bool:
        """Whether `...` stands anywhere in the brackets."""
        return any(item is None or REST in item for item in self.items)


def expand(item: tuple[str, ...], rest: list[str] | None) -> tuple[str, ...]:
    """The names of a fused axis, `...` replaced by what it stands for."""
    return tuple(name for part in item for name in ((rest or []) if part == REST else (part,)))


def read_left_side(
    translator: Translator, subscripts: tuple[syntax.Expr, ...], prefix: tuple[syntax.Binder, ...]
) -> LeftSide:
    """Bind the indices of the left side; affine subscripts go to `targets`."""
    _scan_left(translator, subscripts)
    left = LeftSide()
    for axis, node in enumerate(subscripts):
        left.places.append(node.place)
        _read_left_item(translator, left, axis, node)
    _bind_prefix(translator, prefix)
    return left


def _scan_left(translator: Translator, subscripts: tuple[syntax.Expr, ...]) -> None:
    for subscript in subscripts:
        if isinstance(subscript, syntax.Ranged):  # in its bounds, capitals are sizes
            translator.mentioned.add(subscript.index)
            continue
        names = (node.name for node in syntax.walk(subscript) if isinstance(node, syntax.Name))
        translator.mentioned.update(index_name(name) for name in names)


def _read_left_item(translator: Translator, left: LeftSide, axis: int, node: syntax.Expr) -> None:
    if isinstance(node, syntax.Rest):
        _refuse_second_rest(left, node.place)
        left.items.append(None)
    elif isinstance(node, syntax.Ranged):
        name = _left_index(translator, node.index, node.place)
        translator.ranges.bindable.add(name)
        translator.give_range(name, node.lower, node.upper, node.place)
        left.items.append((name,))
    elif isinstance(node, syntax.Group):
        if any(isinstance(item, syntax.Rest) for item in node.items):
            _refuse_second_rest(left, node.place)
        left.items.append(tuple(
            REST if isinstance(i, syntax.Rest) else _left_index(translator, _plain(i, translator), i.place)
            for i in node.items
        ))  # fmt: skip
    elif isinstance(node, syntax.Name) and node.member is None and not _is_number(translator, node):
        left.items.append((_left_index(translator, index_name(node.name), node.place),))
        translator.ranges.bindable.update(left.items[-1] or ())
    elif (capitals := _joined(node)) is not None:
        if left.joined is not None:
            raise error(
                "E311", node.place, "two axes are concatenated at once", notes=["concatenate them one after the other"]
            )
        left.joined = (axis, tuple(capitals))
        for name in capitals:
            translator.bind_left(name, node.place)
        left.items.append(())
    else:
        _affine_item(translator, left, axis, node)


def _refuse_second_rest(left: LeftSide, place: Place) -> None:
    if left.has_rest:
        raise error("E310", place, "`...` stands twice on the left")


def _affine_item(translator: Translator, left: LeftSide, axis: int, node: syntax.Expr) -> None:
    names: list[str] = []
    for found in syntax.walk(node):
        if isinstance(found, syntax.Name) and found.member is None and not _is_number(translator, found):
            name = index_name(found.name)
            if name not in translator.left and case(name) == "free":
                names.append(_left_index(translator, name, found.place))
    target = translator.subscript(node, {})
    for index in target.indices():
        coefficient = target.coefficient(index)
        if coefficient is None or (coefficient.constant or 0) < 1:
            raise error(
                "E312", node.place, "the left side places values at whole-number steps, such as `2*x + 1`",
                here=f"{target} is no such step",
            )  # fmt: skip
    left.targets[axis] = target
    left.items.append(tuple(names))


def _joined(node: syntax.Expr) -> list[str] | None:
    """The capitals of `J1 + J2 + …`, or None if it is something else."""
    if isinstance(node, syntax.Binary) and node.operator == "+":
        left, right = _joined_part(node.left), _joined_part(node.right)
        return left + right if left is not None and right is not None else None
    return None


def _joined_part(node: syntax.Expr) -> list[str] | None:
    if isinstance(node, syntax.Name) and node.member is None and is_capital(index_name(node.name)):
        return [index_name(node.name)]
    return _joined(node)


def _is_number(translator: Translator, node: syntax.Name) -> bool:
    value = translator.scope.find(translator.elaborator.spell(node, translator.scope))
    return isinstance(value, (int, float, Integer)) and not is_capital(index_name(node.name))


def _plain(node: syntax.Expr, translator: Translator) -> str:
    if isinstance(node, syntax.Name) and node.member is None:
        return index_name(node.name)
    raise error("E209", node.place, "only single indices can be fused in round brackets")


def _left_index(translator: Translator, name: str, place: Place) -> str:
    """Bind an index; a capital becomes its free form where that is not used for something else."""
    if is_capital(name) and free_form(name) not in translator.mentioned and free_form(name) not in translator.left:
        free = free_form(name)
        translator.bind_left(free, place)
        translator.bound[name] = free
        translator.ranges.spellings[free] = name
        return free
    translator.bind_left(name, place)
    return name


def _bind_prefix(translator: Translator, prefix: tuple[syntax.Binder, ...]) -> None:
    """`for b, x in 0..5:` names indices of the left side, possibly with ranges."""
    for binder in prefix:
        for name in binder.names:
            known = translator.bound.get(name, name)
            if known not in translator.left:
                raise error(
                    "E313", binder.place, f"index {name} of this prefix does not stand on the left",
                    notes=["`for x, y:` repeats the small indices of the left side; a range makes sense only there"],
                )  # fmt: skip
            if binder.lower is not None and binder.upper is not None:
                translator.give_range(known, binder.lower, binder.upper, binder.place)


class Definer:
    """Defines tensors in a scope."""

    def __init__(self, elaborator: Session, scope: Scope, prefix: tuple[syntax.Binder, ...] = ()) -> None:
        self.elaborator = elaborator
        self.builder = elaborator.builder
        self.scope = scope
        self.prefix = prefix

    def indexed(
        self, name: str, subscripts: tuple[syntax.Expr, ...], value: syntax.RightSide, dtype: str | None, place: Place
    ) -> TensorValue:
        """`name[subscripts] = value`."""
        if isinstance(value, syntax.Pattern):
            raise error(
                "E314",
                value.place,
                "a pattern gives a whole tensor",
                notes=["write the name without subscripts: `s = input -> …`"],
            )
        translator = Translator(self.elaborator, self.scope, place)
        translator.scan(value)
        left = read_left_side(translator, subscripts, self.prefix)
        if left.targets:
            axis = min(left.targets)
            raise error(
                "E315", left.places[axis], f"this defines only part of {name}",
                here="other positions of this axis are left undefined",
                notes=["several equations may define parts of one tensor, next to each other, and "
                       "must cover it together"],
            )  # fmt: skip
        if isinstance(value, syntax.Concatenation) or left.joined is not None:
            return self._concatenate(translator, left, value, name, dtype, place)
        if not left.has_rest:
            translator.rests[0].names = list(left.domain(None))
        term = self._read(translator, value)
        return self._emit(translator, left, term, name, dtype, place)

    def _read(self, translator: Translator, value: syntax.Expr) -> Term:
        term = translator.finish(translator.read(value))
        refuse_stray_skips(term)
        return term

    def _emit(
        self, translator: Translator, left: LeftSide, term: Term, name: str, dtype: str | None, place: Place
    ) -> TensorValue:
        rest = translator.rests[0].names
        if None in left.items and rest is None:
            raise error(
                "E316",
                left.places[left.items.index(None)],
                "`...` on the left has nothing to stand for: nothing on the right is read with `...`",
            )
        translator.ranges.solve()
        lowering = Lowering(self.builder, translator.ranges, name, place)
        domain = left.domain(rest)
        fused = any(item is not None and (len(item) > 1 or REST in item) for item in left.items)
        made = lowering.define(f"{name}.unfused" if fused else name, domain, term, dtype)
        tensor = self._value(made, tuple(free_form(index) for index in domain), place, name)
        return self._fuse(tensor, left, rest, lowering, name, place) if fused else tensor

    def _fuse(
        self, tensor: TensorValue, left: LeftSide, rest: list[str] | None, lowering: Lowering, name: str, place: Place
    ) -> TensorValue:
        shape: list[Integer] = []
        axes: list[str | None] = []
        for item in left.items:
            names = tuple(rest or ()) if item is None else expand(item, rest)
            groups = [names] if item is not None and (len(item) > 1 or REST in item) else [(n,) for n in names]
            for group in groups:
                size = Integer.of(1)
                for axis in lowering.axes(group):
                    size = size * axis.size
                shape.append(size)
                axes.append(free_form(group[0]) if len(group) == 1 else None)
        made = self.builder.add(name, Reshape(tensor.name, tuple(shape), tensor.dtype), place)
        return replace(tensor, name=made, shape=tuple(shape), axes=tuple(axes))

    def _value(self, made: str, axes: tuple[str | None, ...], place: Place, spelling: str) -> TensorValue:
        operation = self.builder.operations[made]
        assert not isinstance(operation, Recurrence)
        self.builder.axes[made] = axes
        return TensorValue(made, operation.shape, operation.dtype, axes, place, spelling=spelling.rsplit(".", 1)[-1])

    # -- concatenation ---------------------------------------------------------------------------
    def _concatenate(
        self,
        translator: Translator,
        left: LeftSide,
        value: syntax.RightSide,
        name: str,
        dtype: str | None,
        place: Place,
    ) -> TensorValue:
        assert not isinstance(value, syntax.Pattern)
        pieces: tuple[syntax.Expr, ...] = value.pieces if isinstance(value, syntax.Concatenation) else (value,)
        if left.joined is None:
            raise error(
                "E317", value.place, "the pieces between ';' have no axis to be joined along",
                notes=["name the joined axis on the left, as in `L[b,x,y,J1+J2] = L1[b,x,y,J1] ; L2[b,x,y,J2]`"],
            )  # fmt: skip
        axis, capitals = left.joined
        if len(pieces) != len(capitals):
            raise error(
                "E318", value.place, f"{len(capitals)} pieces are announced on the left, but there "
                                     f"{'is' if len(pieces) == 1 else 'are'} {len(pieces)}",
                labels=[(left.places[axis], f"this joins {', '.join(capitals)}")],
            )  # fmt: skip
        terms = []
        for k, (capital, piece) in enumerate(zip(capitals, pieces, strict=True)):
            if not left.has_rest:
                names = list(left.domain(None))
                position = sum(len(item or ()) for item in left.items[:axis])
                translator.rests[0] = _Rest([*names[:position], capital, *names[position:]])
            terms.append(self._read(translator, piece))
            _refuse_foreign_piece(translator, terms[-1], capital, capitals, piece, k)
        translator.ranges.solve()
        return self._join(translator, left, terms, name, dtype, place)

    def _join(
        self, translator: Translator, left: LeftSide, terms: list[Term], name: str, dtype: str | None, place: Place
    ) -> TensorValue:
        assert left.joined is not None
        axis, capitals = left.joined
        lowering = Lowering(self.builder, translator.ranges, name, place)
        rest = translator.rests[0].names
        position = sum(len((rest or ()) if item is None else item) for item in left.items[:axis])
        others = left.domain(rest)
        equations = []
        for k, (capital, term) in enumerate(zip(capitals, terms, strict=True)):
            domain = (*others[:position], capital, *others[position:])
            equations.append((f"{name}.{k}", lowering.equation(f"{name}.{k}", domain, term, dtype)))
        settled = max(
            (e.dtype for _, e in equations),
            key=lambda d: ("bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64").index(d),
        )
        offset = Integer.of(0)
        parts: list[Piece] = []
        for part_name, equation in equations:
            made = self.builder.add(part_name, _cast_equation(equation, settled), place)
            target = tuple(
                Integer.index(a.name) + (offset if k == position else 0) for k, a in enumerate(equation.domain)
            )
            parts.append(Piece(made, equation.domain, target))
            offset = offset + equation.domain[position].size
        shape = tuple(offset if k == position else a.size for k, a in enumerate(equations[0][1].domain))
        made = self.builder.add(name, Partial(shape, settled, tuple(parts)), place)
        axes = tuple(
            free_form(capitals[0].rstrip("0123456789")) if k == position else free_form(a.name)
            for k, a in enumerate(equations[0][1].domain)
        )
        return self._value(made, axes, place, name)

    # -- whole tensors ------------------------------------------------------------------------------
    def whole(self, name: str, value: syntax.Expr, dtype: str | None, place: Place) -> TensorValue:
        """`name = value`, without subscripts: element by element over the axes of what is read."""
        translator = Translator(self.elaborator, self.scope, place)
        translator.scan(value)
        term = self._read(translator, value)
        translator.ranges.solve()
        domain = tuple(translator.rests[0].names or ())
        made = Lowering(self.builder, translator.ranges, name, place).define(name, domain, term, dtype)
        return self._value(made, tuple(domain), place, name)


def _refuse_foreign_piece(
    translator: Translator, term: Term, capital: str, capitals: tuple[str, ...], piece: syntax.Expr, k: int
) -> None:
    from .terms import free_indices

    used = free_indices(term)
    if capital in used:
        return
    foreign = [other for other in capitals if other in used]
    if foreign:
        raise error(
            "E319", piece.place, f"piece {k + 1} should run over {capital}, but uses {foreign[0]}",
            notes=["pieces stand in the order of the capitals on the left"],
            fix=_rename(piece, foreign[0], capital),
        )  # fmt: skip
    if capital not in translator.ranges.known:
        raise error("E319", piece.place, f"piece {k + 1} does not use {capital}, so its size is not known")


def _rename(piece: syntax.Expr, index: str, meant: str) -> Fix | None:
    """Write another index at the first place where one stands in an expression."""
    for node in syntax.walk(piece):
        if isinstance(node, syntax.Name) and index_name(node.name) == index:
            return Fix(node.place, meant, f"write {meant} in this piece")
    return None


def _cast_equation(equation: Equation, dtype: str) -> Equation:
    from .equations import Apply

    if equation.dtype == dtype:
        return equation
    if equation.combiner is None:
        return replace(equation, body=Apply("cast", (equation.body,), dtype), dtype=dtype)
    return replace(equation, body=Apply("cast", (equation.body,), dtype), dtype=dtype)
