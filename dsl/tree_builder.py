"""Builds the typed syntax tree from lark's parse tree; one method per rule of the grammar."""

from __future__ import annotations

import re
from typing import Any

from lark import Token, Transformer, v_args
from lark.tree import Meta

from . import syntax
from .diagnostics import error
from .equations import Place
from .names import index_name, normal

_REDUCERS = {"Σ": "sum", "∑": "sum", "Π": "prod", "∏": "prod"}
_OPERATORS = {"−": "-", "–": "-", "·": "*", "∗": "*", "⋅": "*", "**": "^", "∨": "or", "∧": "and", "¬": "not"}
_COMPARISONS = {"≤": "<=", "≥": ">=", "≠": "!="}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")

MAXIMUM_NAME = 100
MAXIMUM_DIGITS = 40
"""Characters of a name, and of a number."""


@v_args(meta=True)
class TreeBuilder(Transformer[Token, Any]):
    """Makes nodes of `syntax`; `line_offset` is the number of lines before the statement."""

    def __init__(self, file: str, line_offset: int) -> None:
        super().__init__()
        self.file = file
        self.line_offset = line_offset

    # -- places ----------------------------------------------------------------------------
    def place(self, meta: Meta) -> Place:
        if getattr(meta, "empty", True):
            return Place(self.file, self.line_offset + 1, 1, self.line_offset + 1, 2)
        end_line, end_column = meta.end_line, meta.end_column
        return Place(self.file, meta.line + self.line_offset, meta.column, end_line + self.line_offset, end_column)

    def token_place(self, token: Token) -> Place:
        line = (token.line or 1) + self.line_offset
        column = token.column or 1
        return Place(self.file, line, column, line, column + len(token))

    # -- expressions -----------------------------------------------------------------------
    def name(self, meta: Meta, parts: list[Any]) -> syntax.Name:
        stem, _, member, primes = (*parts, None, None, None)[:4]
        if len(stem) + len(primes or "") > MAXIMUM_NAME:
            raise error("E120", self.place(meta), f"this name is longer than {MAXIMUM_NAME} characters")
        return syntax.Name(self.place(meta), normal(str(stem)), member, str(primes or "").replace("′", "'"))

    def number(self, meta: Meta, parts: list[Any]) -> syntax.Num:
        text = str(parts[0])
        self._refuse_digits(text, self.place(meta))
        return syntax.Num(self.place(meta), int(text) if text.isdecimal() else float(text))

    def _refuse_digits(self, text: str, place: Place) -> None:
        if len(text) > MAXIMUM_DIGITS:
            raise error("E113", place, f"this number has more than {MAXIMUM_DIGITS} digits")

    def string(self, meta: Meta, parts: list[Any]) -> syntax.Text:
        return syntax.Text(self.place(meta), str(parts[0])[1:-1])

    def hole(self, meta: Meta, parts: list[Any]) -> syntax.Hole:
        return syntax.Hole(self.place(meta))

    def call(self, meta: Meta, parts: list[Any]) -> syntax.Call:
        return syntax.Call(self.place(meta), parts[0], parts[1] or ())

    def arguments(self, meta: Meta, parts: list[Any]) -> tuple[syntax.Argument, ...]:
        return tuple(parts)

    def argument(self, meta: Meta, parts: list[Any]) -> syntax.Argument:
        return syntax.Argument(self.place(meta), None, parts[0])

    def named_argument(self, meta: Meta, parts: list[Any]) -> syntax.Argument:
        return syntax.Argument(self.place(meta), parts[0], parts[1])

    def parenthesis(self, meta: Meta, parts: list[Any]) -> syntax.Parenthesis:
        return syntax.Parenthesis(self.place(meta), parts[0])

    def fused(self, meta: Meta, parts: list[Any]) -> syntax.Group:
        return syntax.Group(self.place(meta), tuple(parts))

    def items(self, meta: Meta, parts: list[Any]) -> syntax.Items:
        items = parts[0] or ()
        for item in items:
            if isinstance(item, (syntax.Rest, syntax.Ranged, syntax.SizeList)):
                raise error("E101", item.place, "a list holds expressions", here="this cannot stand in a list")
        return syntax.Items(self.place(meta), items)

    def floor(self, meta: Meta, parts: list[Any]) -> syntax.Floor:
        return syntax.Floor(self.place(meta), parts[0])

    def cases(self, meta: Meta, parts: list[Any]) -> syntax.Cases:
        for arm in parts[:-1]:
            if arm.condition is None:
                raise error(
                    "E114", arm.place, "'otherwise' must be the last case", here="cases after it are never used"
                )
        return syntax.Cases(self.place(meta), tuple(parts))

    def arm(self, meta: Meta, parts: list[Any]) -> syntax.Arm:
        return syntax.Arm(self.place(meta), parts[0], parts[2] if len(parts) == 3 else None)

    def reduce(self, meta: Meta, parts: list[Any]) -> syntax.Reduce:
        return syntax.Reduce(self.place(meta), self._reducer(parts[0]), parts[1], parts[2])

    def reduce_term(self, meta: Meta, parts: list[Any]) -> syntax.Reduce:
        return syntax.Reduce(self.place(meta), self._reducer(parts[0]), parts[1], parts[2])

    def reduce_one(self, meta: Meta, parts: list[Any]) -> syntax.Reduce:
        sign, _, index = str(parts[0]).partition("_")
        binder = syntax.Binder(self.token_place(parts[0]), (index_name(index),), None, None)
        return syntax.Reduce(self.place(meta), _REDUCERS[sign], (binder,), parts[1])

    def _reducer(self, token: Token) -> str:
        word = str(token).rstrip("_")
        return _REDUCERS.get(word, word)

    def binders(self, meta: Meta, parts: list[Any]) -> tuple[syntax.Binder, ...]:
        return tuple(parts)

    def binder(self, meta: Meta, parts: list[Any]) -> syntax.Binder:
        lower, upper = parts[2] if parts[2] is not None else (None, None)
        return syntax.Binder(self.place(meta), (index_name(str(parts[0])),), lower, upper)

    def binder_below(self, meta: Meta, parts: list[Any]) -> syntax.Binder:
        if str(parts[1]) != "<":
            raise error("E101", self.token_place(parts[1]), f"'{parts[1]}' cannot stand here", here="expected '<'")
        place = self.place(meta)
        return syntax.Binder(place, (index_name(str(parts[0])),), syntax.Num(place, 0), parts[2])

    def binder_rest(self, meta: Meta, parts: list[Any]) -> syntax.Binder:
        return syntax.Binder(self.place(meta), ())

    def binder_group(self, meta: Meta, parts: list[Any]) -> syntax.Binder:
        return syntax.Binder(self.place(meta), tuple(index_name(str(part)) for part in parts))

    def range(self, meta: Meta, parts: list[Any]) -> tuple[syntax.Expr, syntax.Expr]:
        return parts[0], parts[2]

    def subscripts(self, meta: Meta, parts: list[Any]) -> tuple[syntax.Expr, ...]:
        return tuple(parts)

    def fused_rest(self, meta: Meta, parts: list[Any]) -> syntax.Group:
        return syntax.Group(self.place(meta), (syntax.Rest(self.place(meta)),))

    def ellipsis(self, meta: Meta, parts: list[Any]) -> syntax.Rest:
        return syntax.Rest(self.place(meta))

    def ranged(self, meta: Meta, parts: list[Any]) -> syntax.Ranged:
        return syntax.Ranged(self.place(meta), index_name(str(parts[0])), *parts[2])

    def shape(self, meta: Meta, parts: list[Any]) -> syntax.SizeList:
        numbers = re.findall(r"[0-9]+", str(parts[0]))
        self._refuse_digits(max(numbers, key=len), self.place(meta))
        return syntax.SizeList(self.place(meta), tuple(map(int, numbers)))

    def subscripted(self, meta: Meta, parts: list[Any]) -> syntax.Subscripted:
        return syntax.Subscripted(self.place(meta), parts[0], parts[1] or ())

    def transposed(self, meta: Meta, parts: list[Any]) -> syntax.Transposed:
        return syntax.Transposed(self.place(meta), parts[0])

    def binary(self, meta: Meta, parts: list[Any]) -> syntax.Binary:
        operator = str(parts[1])
        return syntax.Binary(self.place(meta), _OPERATORS.get(operator, operator), parts[0], parts[2])

    def superscript(self, meta: Meta, parts: list[Any]) -> syntax.Binary:
        self._refuse_digits(str(parts[1]), self.token_place(parts[1]))
        power = syntax.Num(self.token_place(parts[1]), int(str(parts[1]).translate(_SUPERSCRIPTS)))
        return syntax.Binary(self.place(meta), "^", parts[0], power)

    def juxtaposed(self, meta: Meta, parts: list[Any]) -> syntax.Binary:
        return syntax.Binary(self.place(meta), "*", parts[0], parts[1], juxtaposed=True)

    def unary(self, meta: Meta, parts: list[Any]) -> syntax.Expr:
        operator = _OPERATORS.get(str(parts[0]), str(parts[0]))
        if operator == "+":
            operand: syntax.Expr = parts[1]
            return operand
        return syntax.Unary(self.place(meta), operator, parts[1])

    def chain(self, meta: Meta, parts: list[Any]) -> syntax.Comparison:
        operators = tuple(_COMPARISONS.get(str(token), str(token)) for token in parts[1::2])
        return syntax.Comparison(self.place(meta), tuple(parts[0::2]), operators)

    def conditional(self, meta: Meta, parts: list[Any]) -> syntax.Conditional:
        return syntax.Conditional(self.place(meta), parts[0], parts[2], parts[4])

    # -- right sides -----------------------------------------------------------------------
    def concatenation(self, meta: Meta, parts: list[Any]) -> syntax.Concatenation:
        return syntax.Concatenation(self.place(meta), tuple(parts))

    def pattern(self, meta: Meta, parts: list[Any]) -> syntax.Pattern:
        return syntax.Pattern(self.place(meta), parts[0], tuple(p for p in parts[1:] if not isinstance(p, Token)))

    def stage(self, meta: Meta, parts: list[Any]) -> syntax.Stage:
        core, _, repeat, optional, present = parts
        layer, arguments, block = core
        return syntax.Stage(self.place(meta), layer, arguments, block, repeat, optional is not None, present)

    def stage_layer(self, meta: Meta, parts: list[Any]) -> Any:
        return parts[0], parts[1] or (), ()

    def stage_block(self, meta: Meta, parts: list[Any]) -> Any:
        return None, (), tuple(p for p in parts if not isinstance(p, Token))

    # -- declarations ------------------------------------------------------------------------
    def given(self, meta: Meta, parts: list[Any]) -> syntax.Given:
        return syntax.Given(self.place(meta), tuple(parts[1:]))

    def given_item(self, meta: Meta, parts: list[Any]) -> syntax.GivenItem:
        name, axes, dtype, without = parts
        return syntax.GivenItem(self.place(meta), name, axes or (), dtype, without is None)

    def given_axes(self, meta: Meta, parts: list[Any]) -> tuple[tuple[str | None, syntax.Expr], ...]:
        axes: list[tuple[str | None, syntax.Expr]] = []
        for part in parts:
            axes.extend(part)
        return tuple(axes)

    def given_axis(self, meta: Meta, parts: list[Any]) -> list[tuple[str | None, syntax.Expr]]:
        name, size = parts
        if name is None and isinstance(size, syntax.Binary) and size.juxtaposed and isinstance(size.left, syntax.Name):
            return [(index_name(size.left.name), size.right)]
        return [(index_name(name.name) if name is not None else None, size)]

    def given_shape(self, meta: Meta, parts: list[Any]) -> list[tuple[str | None, syntax.Expr]]:
        shape = self.shape(meta, parts)
        return [(None, syntax.Num(shape.place, size)) for size in shape.sizes]

    def sizes(self, meta: Meta, parts: list[Any]) -> tuple[syntax.Expr, ...]:
        found: list[syntax.Expr] = []
        for part in parts:
            if isinstance(part, syntax.SizeList):
                found.extend(syntax.Num(part.place, size) for size in part.sizes)
            elif part is not None:
                found.append(part)
        return tuple(found)

    def drawn(self, meta: Meta, parts: list[Any]) -> tuple[bool, syntax.Expr]:
        return True, parts[-1]

    def filled(self, meta: Meta, parts: list[Any]) -> tuple[bool, syntax.Expr]:
        return False, parts[-1]

    def param(self, meta: Meta, parts: list[Any]) -> syntax.Param:
        _, name, sizes, dtype, initial, untrained = parts
        drawn, value = initial or (True, None)
        return syntax.Param(self.place(meta), name, sizes, dtype, value, drawn, untrained is None)

    def state(self, meta: Meta, parts: list[Any]) -> syntax.StateDeclaration:
        _, name, sizes, dtype, initial = parts
        drawn, value = initial or (False, None)
        return syntax.StateDeclaration(self.place(meta), name, sizes, dtype, value, drawn)

    def update(self, meta: Meta, parts: list[Any]) -> syntax.Update:
        _, name, *middle, value = parts
        return syntax.Update(self.place(meta), name, middle[0] if middle else None, value)

    def output(self, meta: Meta, parts: list[Any]) -> syntax.Output:
        return syntax.Output(self.place(meta), tuple(parts[1:]))

    def import_file(self, meta: Meta, parts: list[Any]) -> syntax.Import:
        return syntax.Import(self.place(meta), str(parts[1])[1:-1], None)

    def import_names(self, meta: Meta, parts: list[Any]) -> syntax.Import:
        names = tuple(part for part in parts[3:] if isinstance(part, syntax.Name))
        return syntax.Import(self.place(meta), str(parts[1])[1:-1], names)

    def function(self, meta: Meta, parts: list[Any]) -> syntax.Function:
        _, name, *parameters, body = parts
        return syntax.Function(
            self.place(meta), normal(str(name)), tuple(normal(str(p)) for p in parameters if p is not None), body
        )

    def alias(self, meta: Meta, parts: list[Any]) -> syntax.Alias:
        *names, target = (normal(str(part)) for part in parts[1:])
        return syntax.Alias(self.place(meta), tuple(names), target)

    def loss(self, meta: Meta, parts: list[Any]) -> syntax.Loss:
        _, name, value, *rest = parts
        trains = tuple(part for part in rest if isinstance(part, syntax.Name))
        return syntax.Loss(self.place(meta), name, value, trains or None)

    def metric(self, meta: Meta, parts: list[Any]) -> syntax.Metric:
        return syntax.Metric(self.place(meta), parts[1], parts[2])

    def require(self, meta: Meta, parts: list[Any]) -> syntax.Require:
        message = str(parts[2])[1:-1] if parts[2] is not None else None
        return syntax.Require(self.place(meta), parts[1], message)

    def target(self, meta: Meta, parts: list[Any]) -> syntax.Target:
        # brackets without subscripts, `e[]`, leave a placeholder in a list of two
        name, subscripts = parts[0], parts[1] if len(parts) > 1 else None
        return syntax.Target(self.place(meta), name, subscripts)

    def definition(self, meta: Meta, parts: list[Any]) -> syntax.Definition:
        *targets, dtype, value = parts
        return syntax.Definition(self.place(meta), tuple(targets), dtype, value)

    # -- blocks ------------------------------------------------------------------------------
    def return_statement(self, meta: Meta, parts: list[Any]) -> syntax.Return:
        return syntax.Return(self.place(meta), None, None, tuple(parts[1:]))

    def partial_return(self, meta: Meta, parts: list[Any]) -> syntax.Return:
        return syntax.Return(self.place(meta), parts[1] or (), parts[2], (parts[3],))

    def suite(self, meta: Meta, parts: list[Any]) -> tuple[syntax.Statement, ...]:
        return tuple(parts)

    def statement(self, meta: Meta, parts: list[Any]) -> syntax.Statement:
        statement: syntax.Statement = parts[0]
        return statement

    def start(self, meta: Meta, parts: list[Any]) -> syntax.Statement:
        statement: syntax.Statement = parts[0]
        return statement

    def layer(self, meta: Meta, parts: list[Any]) -> syntax.Layer:
        _, name, parameters, body = parts
        return syntax.Layer(self.place(meta), normal(str(name)), parameters or (), body)

    def layer_parameters(self, meta: Meta, parts: list[Any]) -> tuple[syntax.LayerParameter, ...]:
        return tuple(parts)

    def tensor_parameter(self, meta: Meta, parts: list[Any]) -> syntax.LayerParameter:
        name = normal(str(parts[0]))
        kind = "bundle" if name.startswith("Φ") else "tensor"
        return syntax.LayerParameter(self.place(meta), kind, name, (name,), parts[1] or (), None)

    def value_parameter(self, meta: Meta, parts: list[Any]) -> syntax.LayerParameter:
        name = normal(str(parts[0]))
        kind = "bundle" if name.startswith("Φ") else "value"
        return syntax.LayerParameter(self.place(meta), kind, name, (name,), None, parts[1])

    def keyword_parameter(self, meta: Meta, parts: list[Any]) -> syntax.LayerParameter:
        keyword, variable = normal(str(parts[0])), normal(str(parts[1]))
        return syntax.LayerParameter(self.place(meta), "value", keyword, (variable,), None, parts[2])

    def keyword_tuple_parameter(self, meta: Meta, parts: list[Any]) -> syntax.LayerParameter:
        keyword = normal(str(parts[0]))
        variables = tuple(normal(str(part)) for part in parts[1:] if isinstance(part, Token))
        default = parts[-1] if not isinstance(parts[-1], Token) else None
        return syntax.LayerParameter(self.place(meta), "value", keyword, variables, None, default)

    def for_statement(self, meta: Meta, parts: list[Any]) -> syntax.For:
        return syntax.For(self.place(meta), tuple(parts[1:-1]), parts[-1])

    def if_statement(self, meta: Meta, parts: list[Any]) -> syntax.If:
        branches: list[tuple[syntax.Expr | None, tuple[syntax.Statement, ...]]] = []
        rest = [part for part in parts if part is not None and not isinstance(part, Token)]
        while len(rest) >= 2:
            branches.append((rest[0], rest[1]))
            rest = rest[2:]
        if rest:
            branches.append((None, rest[0]))
        return syntax.If(self.place(meta), tuple(branches))

    def when_statement(self, meta: Meta, parts: list[Any]) -> syntax.When:
        _, mode, body = parts
        if str(mode) not in ("training", "inferring"):
            raise error(
                "E115",
                self.token_place(mode),
                f"'when {mode}' is not known",
                notes=["write `when training:` or `when inferring:`"],
            )
        return syntax.When(self.place(meta), str(mode), body)
