"""From syntax to terms: names, implicit sums and subscripts of one statement (rules R1–R9).

A `Translator` reads the right side of one statement.  Each part of an expression gives its
term together with the capitals still *open* in it: capitals that occur there and are not
summed yet.  A product closes those that occur in two or more of its factors; everything
else passes them on.  What is open at the end is an error (R5).
"""

from __future__ import annotations

from . import syntax
from .conditions import _end, _indices, facts
from .diagnostics import Fix, error
from .equations import Place
from .integers import FloorDiv, Integer
from .names import capital_form, case, free_form, index_name, is_capital
from .statement_reader import AbandonStatement as AbandonStatement
from .statement_reader import Result as Result
from .statement_reader import _Rest as _Rest
from .subscripts import Subscripts
from .terms import ApplyTerm, LiteralTerm, NumberTerm, RandomTerm, ReduceTerm
from .values import (
    Broken,
    BuiltinValue,
    FunctionValue,
    LayerValue,
    ScalarArgument,
    Scope,
    TensorValue,
    Value,
    Word,
)

SCALAR_FUNCTIONS: dict[str, tuple[str, int]] = {
    "exp": ("exp", 1), "log": ("log", 1), "ln": ("log", 1), "sqrt": ("sqrt", 1), "abs": ("abs", 1), "sign": ("sign", 1),
    "tanh": ("tanh", 1), "σ": ("sigmoid", 1), "sigmoid": ("sigmoid", 1), "erf": ("erf", 1), "sin": ("sin", 1),
    "cos": ("cos", 1), "floor": ("floor", 1), "ceil": ("ceil", 1), "round": ("round", 1), "max": ("max", 2),
    "min": ("min", 2), "pow": ("pow", 2),
}  # fmt: skip
"""Name in the language -> (operation, number of arguments); max and min take two or more."""

MAXIMUM_TERM = 50_000
"""Parts of the right side of one equation."""

CASTS = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool")

STRUCTURAL = ("pad", "skip", "cut", "size", "len", "rank", "batched", "uniform")

_BINARY = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "//": "floordiv",
    "%": "mod",
    "^": "pow",
    "and": "and",
    "or": "or",
}

__all__ = ["FloorDiv", "Result", "Translator"]


class Translator(Subscripts):
    """Reads the expressions of one statement in a scope."""

    def read(self, node: syntax.Expr) -> Result:
        """The term of any scalar expression."""
        self.elaborator.step(node.place)
        if isinstance(node, syntax.Num):
            return Result(LiteralTerm(node.value))
        if isinstance(node, syntax.Parenthesis):
            return self.read(node.inner)
        if isinstance(node, syntax.Name):
            return self._name(node)
        if isinstance(node, syntax.Subscripted):
            return self._subscripted(node)
        if isinstance(node, syntax.Binary):
            return self._product(node) if node.operator in ("*", "/") else self._binary(node)
        if isinstance(node, syntax.Unary):
            return self._apply("neg" if node.operator == "-" else "not", [self.read(node.operand)])
        if isinstance(node, syntax.Comparison):
            return self._comparison(node)
        if isinstance(node, syntax.Reduce):
            return self._reduce(node)
        if isinstance(node, syntax.Call):
            return self._call(node)
        if isinstance(node, syntax.Cases):
            return self._cases(list(node.arms))
        if isinstance(node, syntax.Conditional):
            arms = [syntax.Arm(node.then.place, node.then, node.condition)]
            return self._cases([*arms, syntax.Arm(node.otherwise.place, node.otherwise, None)])
        if isinstance(node, syntax.Items):
            return self.whole(self.elaborator.literal(node, self.scope), node.place)
        if isinstance(node, syntax.Floor):
            if isinstance(node.operand, syntax.Binary) and node.operand.operator == "/":
                return self._apply("floordiv", [self.read(node.operand.left), self.read(node.operand.right)])
            return self._apply("floor", [self.read(node.operand)])
        if isinstance(node, syntax.Transposed):
            return self.whole(self.transposed(node), node.place)
        if isinstance(node, syntax.Group):
            raise error(
                "E208", node.place, "a tuple is not a number", notes=["tuples stand in subscripts and as arguments"]
            )
        if isinstance(node, syntax.Text):
            raise error("E208", node.place, "a string is not a number")
        if isinstance(node, syntax.Hole):
            raise error("E208", node.place, "`_` stands for a value to be inferred, and only as an argument")
        raise error("E208", node.place, "this cannot stand in an equation")

    def _apply(self, operation: str, results: list[Result], dtype: str = "") -> Result:
        merged = Result(ApplyTerm(operation, tuple(r.term for r in results), dtype))
        merged.size += sum(result.size for result in results)
        if merged.size > MAXIMUM_TERM:
            raise error(
                "E617",
                self.place,
                "this expression is too large once its functions are put in",
                here=f"it has more than {MAXIMUM_TERM:,} parts",
                notes=["give parts of it names of their own, so that they are computed once"],
            )
        for result in results:
            merged.open.update({n: p for n, p in result.open.items() if n not in merged.open})
            merged.closed.update(result.closed)
        return merged

    def _binary(self, node: syntax.Binary) -> Result:
        chain: list[tuple[str, syntax.Expr]] = []
        current: syntax.Expr = node
        # sums are left-deep: walk down in a loop, so that a long sum does not recurse
        while isinstance(current, syntax.Binary) and current.operator in ("+", "-") and node.operator in ("+", "-"):
            chain.append((current.operator, current.right))
            current = current.left
        if not chain:
            return self._apply(_BINARY[node.operator], [self.read(node.left), self.read(node.right)])
        self._refuse_sizes([current, *(part for _, part in chain)])
        result = self.read(current)
        for operator, part in reversed(chain):
            result = self._apply(_BINARY[operator], [result, self.read(part)])
        return result

    def _refuse_sizes(self, parts: list[syntax.Expr]) -> None:
        """Refuse a part beside elements of tensors that is a size by R9 and a tensor to the eye, as a bias `+ B`."""
        names = [part for part in parts if isinstance(part, syntax.Name)]
        if names and any(isinstance(n, syntax.Subscripted) for part in parts for n in syntax.walk(part)):
            for name in names:
                self._refuse_size(name)

    def _refuse_size(self, term: syntax.Name) -> None:
        """See `_refuse_sizes`."""
        if term.member is not None or self.inside_function:
            return
        value = self.scope.find(self.elaborator.spell(term, self.scope))
        index = index_name(term.name)
        if not isinstance(value, TensorValue) or not value.rank or not is_capital(index):
            return
        if self.size_of(index) is None:
            return
        indices = [name for name in self.left if not is_capital(name)][-value.rank :]
        written = f"{term.spelling}[{','.join(indices if len(indices) == value.rank else ['…'] * value.rank)}]"
        raise error(
            "E322", term.place, f"{term.spelling} is a tensor, and also the size of an axis in this statement",
            here="which of the two is meant?", labels=[(value.place, f"the tensor {value.shown}")],
            notes=[f"a capital outside brackets is a size; if it is meant, write `({term.spelling})`"],
            fix=Fix(term.place, written, f"write {written} for the tensor") if "…" not in written else None,
        )  # fmt: skip

    def _name(self, node: syntax.Name) -> Result:
        name = self.elaborator.spell(node, self.scope)
        value = self.scope.find(name)
        if isinstance(value, ScalarArgument):
            return Result(value.term, size=value.size)
        if isinstance(value, (int, float, Integer)):
            return Result(self.number(value))
        index = index_name(name)
        if node.member is None and not self.inside_function:
            if index in self.bound:
                return Result(NumberTerm(Integer.index(self.bound[index])))
            if index in self.left and not is_capital(index):
                return Result(NumberTerm(Integer.index(index)))
            if is_capital(index) and not isinstance(value, TensorValue):
                size = self.size_of(index)
                if size is not None:
                    return Result(NumberTerm(size))
        if isinstance(value, TensorValue):
            if is_capital(index) and value.rank and (index in self.mentioned or free_form(index) in self.mentioned):
                size = self.size_of(index)
                if size is not None:
                    return Result(NumberTerm(size))
            return self.whole(value, node.place)
        if value is None:
            raise self._unknown_name(node, name)
        raise self._not_a_number(node, name, value)

    def _unknown_name(self, node: syntax.Name, name: str) -> Exception:
        index = index_name(name)
        short = node.member is None and case(index) == "free" and len(index) <= 2
        has_indices = bool(self.left or self.mentioned) and not self.inside_function
        if short and has_indices and name not in self.elaborator.later:
            return self._stray_index(index, node.place)
        return self.elaborator.unknown_name(name, node.place, self.scope)

    def _not_a_number(self, node: syntax.Name, name: str, value: Value) -> Exception:
        if isinstance(value, Broken):
            return AbandonStatement()
        if isinstance(value, (LayerValue, FunctionValue, BuiltinValue)):
            return error(
                "E207",
                node.place,
                f"{name} is a function: it needs arguments in parentheses",
                notes=[f"write `{name}(…)`, with what it is applied to between the parentheses"],
            )
        if isinstance(value, Word):
            return error("E208", node.place, f"{name} is the word {value.text}, not a number")
        return error("E208", node.place, f"{name} is not a number or a tensor")

    def _product(self, node: syntax.Binary) -> Result:
        factors: list[tuple[str, syntax.Expr]] = []
        current: syntax.Expr = node
        while isinstance(current, syntax.Binary) and current.operator in ("*", "/"):
            factors.append((current.operator, current.right))
            current = current.left
        factors.append(("*", current))
        factors.reverse()
        self._refuse_sizes([factor for operator, factor in factors if operator == "*"])
        results = [(operator, self.read(factor)) for operator, factor in factors]
        counts: dict[str, list[Place]] = {}
        for operator, result in results:
            if operator == "*":
                for name, place in result.open.items():
                    counts.setdefault(name, []).append(place)
        self._refuse_rebinding(results)
        summed = [name for name, places in counts.items() if len(places) >= 2]
        merged = results[0][1]
        for operator, result in results[1:]:
            merged = self._apply(_BINARY[operator], [merged, result])
        if not summed:
            return merged
        for name in summed:
            merged.closed[name] = merged.open.pop(name)
        merged.term = ReduceTerm("sum", tuple(summed), merged.term, node.place, tuple(self.guards))
        return merged

    def _refuse_rebinding(self, results: list[tuple[str, Result]]) -> None:
        for _, inner in results:
            for name, place in inner.closed.items():
                for _, other in results:
                    if name in other.open:
                        raise error(
                            "E304", other.open[name], f"capital {name} is summed inside a parenthesis "
                                                      f"and used outside it",
                            here="this one is outside", labels=[(place, "this one is summed inside")],
                            fix=Fix(place, f"{name}'", f"rename {name} inside the parenthesis to {name}'"),
                        )  # fmt: skip

    def _comparison(self, node: syntax.Comparison) -> Result:
        results = [self.read(operand) for operand in node.operands]
        whole: Result | None = None
        for k, operator in enumerate(node.operators):
            left, right = results[k], results[k + 1]
            if operator in (">", ">="):
                left, right = right, left
            one = self._apply(
                {"<": "lt", "<=": "le", ">": "lt", ">=": "le", "==": "eq", "!=": "ne"}[operator], [left, right]
            )
            whole = one if whole is None else self._apply("and", [whole, one])
        assert whole is not None
        return whole

    def _reduce(self, node: syntax.Reduce) -> Result:
        before = dict(self.bound)
        internal: list[str] = []
        rest: _Rest | None = None
        for binder in node.binders:
            if not binder.names:
                if node.reducer == "softmax":
                    raise error(
                        "E321", binder.place, "softmax keeps its indices, so they are named", here="`...` has no names"
                    )
                rest = _Rest(bound=True)
                continue
            for name in binder.names:
                internal.append(self._bind(name, binder, node.reducer))
        if rest is not None:
            self.rests.append(rest)
        try:
            result = self.read(node.body)
        finally:
            self.bound = before
            if rest is not None:
                self.rests.pop()
        if rest is not None:
            if rest.names is None:
                raise error("E305", node.place, "`...` binds nothing here: no tensor inside is read with `...`")
            internal += rest.names
        used = _indices(result.term)
        for name in internal:
            if name not in used and name not in self.ranges.known:
                shown = self.ranges.shown(name)
                other = capital_form(shown) if case(shown) == "free" else free_form(shown)
                inside = {index_name(n.name) for n in syntax.walk(node.body) if isinstance(n, syntax.Name)}
                raise error(
                    "E305", node.place, f"index {shown} is bound here and used nowhere inside",
                    notes=[f"{other} is another index; write the two alike"] if other in inside else [],
                )  # fmt: skip
        term = ReduceTerm(node.reducer, tuple(internal), result.term, node.place, tuple(self.guards))
        return Result(term, result.open, result.closed, result.size + 1)

    def _bind(self, name: str, binder: syntax.Binder, reducer: str) -> str:
        if case(name) == "mixed":
            raise self.mixed_index(name, binder.place, alone=binder.upper is None and len(binder.names) == 1)
        keeps = reducer == "softmax"
        if name in self.left and not keeps:
            raise error(
                "E306", binder.place, f"index {name} stands on the left and is bound again here",
                labels=[(self.left[name], f"{name} on the left")],
                fix=Fix(binder.place, f"{name}'", f"rename the bound one, here and inside, to {name}'"),
            )  # fmt: skip
        inner = name
        if keeps and (name in self.left or name in self.bound):
            inner = self.bound.get(name, name)
        elif keeps:
            raise error(
                "E321", binder.place, f"softmax keeps its index {name}, which must stand on the left",
                notes=[f"softmax gives a value for each {name}; `logsumexp[{name}](…)` gives one for them all"],
            )  # fmt: skip
        else:
            number = 2
            while inner in self.ranges.places:
                inner, number = f"{name}_{number}", number + 1
        self.ranges.mention(inner, binder.place, name)
        self.ranges.windows.add(inner)
        if len(binder.names) == 1:
            self.ranges.bindable.add(inner)
        self.bound[name] = inner
        if binder.upper is not None and binder.lower is not None:
            self.give_range(inner, binder.lower, binder.upper, binder.place)
        return inner

    def _cases(self, arms: list[syntax.Arm]) -> Result:
        before = list(self.guards)
        results: list[tuple[Result | None, Result]] = []
        negated: list[Integer] = []
        try:
            for arm in arms:
                self.guards = [*before, *negated]
                if arm.condition is None:
                    results.append((None, self.read(arm.value)))
                    break
                condition, facts = self._condition(arm)
                self.guards = [*before, *negated, *facts]
                results.append((condition, self.read(arm.value)))
                if len(facts) == 1:
                    negated.append(-facts[0] - 1)
        finally:
            self.guards = before
        if results[-1][0] is not None:
            raise error(
                "E307", arms[-1].place, "the cases do not say what holds otherwise",
                fix=Fix(_end(arms[-1].place), " ; 0 otherwise", "add a last case such as `; 0 otherwise`"),
            )  # fmt: skip
        whole = results[-1][1]
        for test, value in reversed(results[:-1]):
            assert test is not None
            whole = self._apply("select", [test, value, whole])
        return whole

    def _condition(self, arm: syntax.Arm) -> tuple[Result, list[Integer]]:
        """The condition of an arm, and what it says of integers: each fact is `>= 0`."""
        assert arm.condition is not None
        condition = self._own_size(arm.condition, arm.value)
        result = self.read(condition)
        return result, facts(result.term)

    def _own_size(self, condition: syntax.Expr, value: syntax.Expr) -> syntax.Expr:
        """`j < J` in a case: J is the size of the axis that j alone addresses in that case (E13)."""
        if not isinstance(condition, syntax.Comparison) or condition.operators != ("<",):
            return condition
        left, right = condition.operands
        if not (isinstance(left, syntax.Name) and isinstance(right, syntax.Name)):
            return condition
        index, capital = index_name(left.name), index_name(right.name)
        declared = self.scope.find(right.name)
        if capital_form(index) != capital or index not in self.left or isinstance(declared, (int, Integer)):
            return condition
        for found in syntax.walk(value):
            if isinstance(found, syntax.Subscripted):
                base = self.elaborator.subscript_base(found, self)
                for axis, item in enumerate(found.subscripts):
                    if (
                        isinstance(item, syntax.Name)
                        and index_name(item.name) == index
                        and isinstance(base, TensorValue)
                    ):
                        size = self.elaborator.named_size(base.shape[axis], right.place, self.scope)
                        return syntax.Comparison(condition.place, (left, size), condition.operators)
        return condition

    def _call(self, node: syntax.Call) -> Result:
        name = self.elaborator.spell(node.function, self.scope)
        if self._is_coefficient(name, node):
            return self._product(
                syntax.Binary(node.place, "*", node.function, node.arguments[0].value, juxtaposed=True)
            )
        value = self.elaborator.find_function(name, node.function.place, self.scope)
        if isinstance(value, FunctionValue):
            return self._function(node, name, value)
        if isinstance(value, BuiltinValue) and value.name in SCALAR_FUNCTIONS:
            return self._intrinsic(node, *SCALAR_FUNCTIONS[value.name])
        if isinstance(value, BuiltinValue) and value.name in CASTS:
            self._count(node, name, 1)
            return self._apply("cast", [self.read(node.arguments[0].value)], value.name)
        if isinstance(value, BuiltinValue) and value.name == "uniform":
            return self._uniform(node)
        result = self.elaborator.call(node, value, self.scope, self)
        if isinstance(result, TensorValue):
            return self.whole(result, node.place)
        if isinstance(result, (int, float, Integer)):
            return Result(self.number(result))
        if isinstance(result, tuple):
            raise error(
                "E508", node.place, f"{name} gives {len(result)} results", notes=["take them apart: `a, b = …`"]
            )
        raise error("E208", node.place, f"{name} gives no number or tensor")

    def _is_coefficient(self, name: str, node: syntax.Call) -> bool:
        """`α(e - 1)` with a number α is a product, as on the slides, and no call."""
        value = self.scope.find(name)
        is_number = isinstance(value, (int, float, Integer, ScalarArgument)) and not isinstance(value, bool)
        return is_number and len(node.arguments) == 1 and node.arguments[0].name is None

    def _uniform(self, node: syntax.Call) -> Result:
        key = self.elaborator.random_key(self.scope)
        draw = Result(RandomTerm(key))
        if not node.arguments:
            return draw
        self._count(node, "uniform", 2)
        low, high = (self.read(argument.value) for argument in node.arguments)
        width = self._apply("sub", [high, low])
        return self._apply("add", [low, self._apply("mul", [width, draw])])

    def _count(self, node: syntax.Call, name: str, count: int) -> None:
        if len(node.arguments) != count:
            raise error(
                "E502",
                node.place,
                f"{name} takes {count} argument{'s' if count != 1 else ''}, not {len(node.arguments)}",
            )
        for argument in node.arguments:
            if argument.name is not None:
                raise error("E503", argument.place, f"{name} has no argument named {argument.name.name}")

    def _intrinsic(self, node: syntax.Call, operation: str, count: int) -> Result:
        name = node.function.name
        if operation in ("max", "min"):
            if len(node.arguments) < 2:
                raise error(
                    "E502", node.place, f"{name}(…) compares two or more numbers",
                    notes=[f"to go over an axis, write `{name}[j](…)`"],
                )  # fmt: skip
            results = [self.read(argument.value) for argument in node.arguments]
            whole = results[0]
            for result in results[1:]:
                whole = self._apply(operation, [whole, result])
            return whole
        self._count(node, name, count)
        return self._apply(operation, [self.read(argument.value) for argument in node.arguments])

    def _function(self, node: syntax.Call, name: str, function: FunctionValue) -> Result:
        definition = function.definition
        arguments = self.elaborator.bind_function(node, name, function, self)
        scope = Scope(function.scope)
        merged = Result(LiteralTerm(0))
        for parameter, result in zip(definition.parameters, arguments, strict=True):
            scope.define(parameter, ScalarArgument(result.term, result.size) if isinstance(result, Result) else result)
            if isinstance(result, Result):
                merged.open.update({n: p for n, p in result.open.items() if n not in merged.open})
                merged.closed.update(result.closed)
        saved = self.scope, self.inside_function, self.left, self.bound
        with self.elaborator.entering(node.place, name):
            # a function knows its arguments, and not the indices of the equation that calls it
            self.scope, self.inside_function, self.left, self.bound = scope, True, {}, {}
            try:
                body = self.read(definition.body)
                merged.term, merged.size = self.finish(body), body.size
            finally:
                self.scope, self.inside_function, self.left, self.bound = saved
        return merged
