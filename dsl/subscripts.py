"""Subscripts and reads of tensors: from brackets to integer expressions and accesses (rules R1, R2, R9, R11)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from . import syntax
from .constants import refuse_complicated
from .diagnostics import Fix, error
from .equations import INTEGERS, Place, Read
from .integers import Element, Index, Integer
from .names import case, index_name, is_capital
from .ranges import Access, Fused
from .statement_reader import Result, StatementReader
from .terms import LiteralTerm, NumberTerm, ReadTerm
from .values import (
    TensorValue,
)


class Subscripts(StatementReader):
    """Reads tensors and what stands in their brackets."""

    _whole_subscript = True

    def subscript(self, node: syntax.Expr, open_capitals: dict[str, Place], *, term: bool = True) -> Integer:
        """A subscript as an integer expression; capitals that stand as terms are indices (R9)."""
        if isinstance(node, syntax.Num):
            if not isinstance(node.value, int):
                raise error(
                    "E210",
                    node.place,
                    "a subscript is a whole number",
                    notes=["every other position is `x[2*i]`, and each position twice `x[i // 2]`"],
                )
            return Integer.of(node.value)
        if isinstance(node, syntax.Parenthesis):
            return self.subscript(node.inner, open_capitals, term=term)
        if isinstance(node, syntax.Name):
            return self._subscript_name(node, open_capitals, term)
        if isinstance(node, syntax.Unary) and node.operator == "-":
            return -self.subscript(node.operand, open_capitals)
        if isinstance(node, syntax.Binary):
            return self._subscript_binary(node, open_capitals)
        if isinstance(node, syntax.Floor):
            if isinstance(node.operand, syntax.Binary) and node.operand.operator == "/":
                return self._divide(node.operand, open_capitals)
            return self.subscript(node.operand, open_capitals)
        if isinstance(node, (syntax.Subscripted, syntax.Call)):
            return self._gather(node, open_capitals)
        if isinstance(node, syntax.Ranged):
            raise error(
                "E211",
                node.place,
                "a range is given on the left, or in a reducer",
                notes=[f"to sum over it, write `sum[{node.index} in …](…)` around the product"],
                fix=Fix(node.place, node.index, f"write {node.index} here") if node.index in self.left else None,
            )
        if isinstance(node, syntax.SizeList):
            raise error(
                "E212",
                node.place,
                "sizes such as 55x55x96 stand on the left only",
                notes=["an element has one subscript for each axis, as in `x[b,i,j]`"],
            )
        raise error(
            "E210", node.place, "this is no subscript", notes=["subscripts are sums of indices times whole numbers"]
        )

    def _subscript_name(self, node: syntax.Name, open_capitals: dict[str, Place], term: bool) -> Integer:
        name = self.elaborator.spell(node, self.scope)
        index = index_name(name)
        if index in self.bound:
            return Integer.index(self.bound[index])
        value = self.scope.find(name)
        alone = term and is_capital(index) and node.member is None
        if isinstance(value, (bool, float)):
            raise error("E210", node.place, f"{name} is {value}, and a subscript is a whole number")
        if isinstance(value, (int, Integer)) and not (alone and not isinstance(value, bool) and self._whole_subscript):
            return Integer.of(value)
        if node.member is not None:
            raise self.elaborator.unknown_name(name, node.place, self.scope)
        if isinstance(value, TensorValue) and value.rank == 0 and index not in self.left and not is_capital(index):
            return self._gather(node, open_capitals)
        kind = case(index)
        if kind == "mixed":
            raise self.mixed_index(index, node.place)
        if not term and kind == "capital":
            self.ranges.sizes.setdefault(index, node.place)
            size = self.size_of(index)
            if size is None:
                raise self.ranges.unknown_size(index, node.place)
            return size
        if kind == "capital":
            if index not in self.left:
                if isinstance(value, TensorValue) or value is None or isinstance(value, (int, Integer)):
                    if index in open_capitals:
                        self.repeated.setdefault(index, node.place)
                    open_capitals.setdefault(index, node.place)
                else:
                    raise error("E210", node.place, f"{name} cannot be a subscript")
            self.ranges.mention(index, node.place)
            return Integer.index(index)
        if index not in self.left:
            if self.inside_function:
                raise error("E320", node.place, f"index {index} is not known inside a function")
            raise self._stray_index(index, node.place)
        return Integer.index(index)

    def _subscript_binary(self, node: syntax.Binary, open_capitals: dict[str, Place]) -> Integer:
        if node.operator in ("+", "-"):
            with self._inner_subscript():
                left, right = self.subscript(node.left, open_capitals), self.subscript(node.right, open_capitals)
            return left + right if node.operator == "+" else left - right
        if node.operator in ("//", "/"):
            return self._divide(node, open_capitals)
        if node.operator == "%":
            with self._inner_subscript():
                left = self.subscript(node.left, open_capitals, term=not self._has_free(node.left))
                right = self.subscript(node.right, open_capitals, term=False)
            self._positive_divisor(right, node.right.place)
            return left % right
        if node.operator == "*":
            return self._multiply(node, open_capitals)
        raise error(
            "E210",
            node.place,
            f"'{node.operator}' cannot stand in a subscript",
            notes=["subscripts are sums of indices times whole numbers, and floors of such sums"],
        )

    @contextmanager
    def _inner_subscript(self) -> Iterator[None]:
        """Inside arithmetic a declared capital is its number, not an axis."""
        before, self._whole_subscript = self._whole_subscript, False
        try:
            yield
        finally:
            self._whole_subscript = before

    def _multiply(self, node: syntax.Binary, open_capitals: dict[str, Place]) -> Integer:
        factors = [node.left, node.right]
        while isinstance(factors[0], syntax.Binary) and factors[0].operator == "*":
            factors[:1] = [factors[0].left, factors[0].right]
        free = any(self._has_free(factor) for factor in factors)
        self._refuse_undeclared(factors)
        product = Integer.of(1)
        with self._inner_subscript():
            for factor in factors:
                value = self.subscript(factor, open_capitals, term=not free)
                refuse_complicated(product, value, node.place)
                product = product * value
        self._linear(product, node.place)
        return product

    def _refuse_undeclared(self, factors: list[syntax.Expr]) -> None:
        """In `s*x`, s is a declared number."""
        for factor in factors:
            if not isinstance(factor, syntax.Name) or factor.member is not None:
                continue
            name, index = factor.name, index_name(factor.name)
            known = index in self.left or index in self.bound or self.scope.find(name) is not None
            if case(index) == "free" and not known and not self.inside_function:
                raise error(
                    "E233",
                    factor.place,
                    f"{name} multiplies an index, but is not declared",
                    here="a number is needed here",
                    notes=[f"declare it above, `{name} = 2`, or as an argument of the layer that this stands in"],
                )

    def _has_free(self, node: syntax.Expr) -> bool:
        """Whether a small index occurs (then capitals beside it are sizes)."""
        for found in syntax.walk(node):
            if isinstance(found, syntax.Name) and found.member is None:
                index = index_name(found.name)
                if (index in self.left or index in self.bound) and not is_capital(index):
                    return True
        return False

    def _linear(self, product: Integer, place: Place) -> None:
        for monomial, _ in product.terms:
            names = [atom.name for atom in monomial if isinstance(atom, Index)]
            if len(names) > 1:
                raise error(
                    "E214",
                    place,
                    f"the product of {names[0]} and {names[1]} is no subscript",
                    here="one of them must be a number",
                    notes=["a coefficient must be a number, declared before it is used, as in `s = 2`"],
                )

    def _divide(self, node: syntax.Binary, open_capitals: dict[str, Place]) -> Integer:
        with self._inner_subscript():
            left = self.subscript(node.left, open_capitals, term=not self._has_free(node.left))
            right = self.subscript(node.right, open_capitals, term=False)
        self._positive_divisor(right, node.right.place)
        if node.operator == "/" and left.indices() and (left // right) * right != left:
            pass  # ⌊a/b⌋ is written with floor brackets; plain `/` between them reads the same
        return left // right

    def _positive_divisor(self, divisor: Integer, place: Place) -> None:
        if divisor.indices():
            raise error("E214", place, "a subscript cannot be divided by an index")
        if divisor.constant is not None and divisor.constant < 1:
            raise error("E234", place, f"a subscript is divided by {divisor.constant}")

    def _gather(self, node: syntax.Expr, open_capitals: dict[str, Place]) -> Integer:
        result = self.read(node)
        term = result.term
        if isinstance(term, LiteralTerm) and isinstance(term.value, int):
            return Integer.of(term.value)
        if isinstance(term, NumberTerm):
            return term.value
        if not isinstance(term, ReadTerm):
            raise error(
                "E235",
                node.place,
                "only an element of a tensor can be a subscript",
                notes=["give the expression a name of its own first"],
            )
        if term.tensor.dtype not in INTEGERS:
            raise error(
                "E236", node.place, f"{term.tensor.shown} holds {term.tensor.dtype} numbers, and a "
                                    f"subscript is a whole number",
                labels=[(term.tensor.place, f"{term.tensor.shown} is defined here")],
                notes=["declare it with whole numbers, as in `Given tokens[T]: int64`, or convert it, `int64(…)`"],
            )  # fmt: skip
        open_capitals.update(result.open)
        return Integer.atom(Element(Read(term.tensor.name, term.subscripts, term.tensor.dtype)))

    def whole(self, tensor: TensorValue, place: Place) -> Result:
        """A tensor without brackets: all its axes, element by element."""
        if tensor.rank == 0:
            self.builder.read_names.add(tensor.name)
            return Result(ReadTerm(tensor, (), place))
        names = self._rest_names(tensor, tensor.rank, range(tensor.rank), place)
        return self._element(tensor, [Integer.index(n) for n in names], place, {})

    def transposed(self, node: syntax.Transposed) -> TensorValue:
        value = self.elaborator.subscript_base(syntax.Subscripted(node.place, node.operand, ()), self)
        if not isinstance(value, TensorValue):
            raise error("E226", node.place, "only a tensor can be transposed")
        return self.elaborator.transpose(value, node.place)

    def _subscripted(self, node: syntax.Subscripted) -> Result:
        value = self.elaborator.subscript_base(node, self)
        if isinstance(value, (int, float, Integer)):
            return Result(self.number(value))
        return self._read_tensor(value, node.subscripts, node.place)

    def _read_tensor(self, tensor: TensorValue, subscripts: tuple[syntax.Expr, ...], place: Place) -> Result:
        open_capitals: dict[str, Place] = {}
        expressions: list[Integer] = []
        written: list[syntax.Expr] = []
        items = self._ungroup(tensor, subscripts)
        for item in items:
            if isinstance(item, syntax.Rest):
                first = len(expressions)
                count = tensor.rank - (len(items) - 1)
                if count < 0:
                    raise self._wrong_rank(tensor, len(items) - 1, place)
                names = self._rest_names(tensor, count, range(first, first + count), item.place)
                expressions += [Integer.index(name) for name in names]
                written += [item] * len(names)
                continue
            written.append(item)
            if isinstance(item, syntax.Group):
                expressions.append(self._fused(tensor, len(expressions), item, open_capitals))
            else:
                expressions.append(self.subscript(item, open_capitals))
        if len(expressions) != tensor.rank:
            raise self._wrong_rank(tensor, len(expressions), place)
        return self._element(tensor, expressions, place, open_capitals, written)

    def _wrong_rank(self, tensor: TensorValue, given: int, place: Place) -> Exception:
        axes = ", ".join(a or "_" for a in tensor.axes)
        return error(
            "E205", place, f"{tensor.shown} has {tensor.rank} ax{'i' if tensor.rank == 1 else 'e'}s, but {given} "
            f"subscript{'s are' if given != 1 else ' is'} given",
            labels=[(tensor.place, f"{tensor.shown}[{axes}] is defined here")] if tensor.place != place else [],
            notes=["the first axis of an input is the batch, unless it is declared `without batch`"]
            if given == tensor.rank - 1 and tensor.name in self.builder.inputs and self.elaborator.is_batched(tensor)
            else [],
        )  # fmt: skip

    def _ungroup(self, tensor: TensorValue, subscripts: tuple[syntax.Expr, ...]) -> list[syntax.Expr]:
        """Groups are transparent where the tensor has an axis for each of their members."""
        flat: list[syntax.Expr] = []
        for item in subscripts:
            flat.extend(item.items if isinstance(item, syntax.Group) else (item,))
        has_rest = any(isinstance(item, syntax.Rest) for item in flat)
        if any(isinstance(item, syntax.Group) for item in subscripts) and not has_rest and len(flat) == tensor.rank:
            return flat
        return list(subscripts)

    def _element(
        self,
        tensor: TensorValue,
        expressions: list[Integer],
        place: Place,
        open_capitals: dict[str, Place],
        items: list[syntax.Expr] | None = None,
    ) -> Result:
        self.builder.read_names.add(tensor.name)
        views = {view.axis: view for view in tensor.views}
        shifted: list[Integer] = []
        for axis, expression in enumerate(expressions):
            view = views.get(axis)
            size = tensor.shape[axis]
            item = items[axis] if items is not None and len(items) == len(expressions) else None
            spot = item.place if item is not None else place
            alone = not isinstance(item, (syntax.Binary, syntax.Parenthesis))
            if view is None:
                self.ranges.accesses.append(Access(tensor, axis, expression, size, spot, tuple(self.guards), alone))
                shifted.append(expression)
            elif view.guarded:
                self.ranges.accesses.append(
                    Access(tensor, axis, expression, view.size, spot, tuple(self.guards), alone)
                )
                shifted.append(expression + view.offset)
            else:
                moved = expression + view.offset
                self.ranges.accesses.append(Access(tensor, axis, moved, size, spot, tuple(self.guards), alone))
                shifted.append(moved)
        return Result(ReadTerm(tensor, tuple(shifted), place), dict(open_capitals))

    def _fused(self, tensor: TensorValue, axis: int, group: syntax.Group, open_capitals: dict[str, Place]) -> Integer:
        names: list[str] = []
        for item in group.items:
            index = self.subscript(item, open_capitals).plain_index
            if index is None:
                raise error("E209", item.place, "only single indices can be fused in round brackets")
            names.append(index)
        total = Integer.of(0)
        for name in names:
            total = total * self.ranges.extent(name) + Integer.index(name)
        if axis < tensor.rank:
            self.ranges.fused.append(Fused(tensor, axis, tuple(names), tensor.shape[axis], group.place))
        return total
