"""Calls of layers and scalar functions: binding arguments, sizes and bundles of parameters.

A layer is elaborated anew for each call, in a scope of its own; the compiler sees only
equations.  Arguments bind by kind (tensors, bundles, numbers), so their order matters only
within a kind; `keyword value` and `keyword = value` bind by name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import syntax
from .constants import Evaluator, NotConstant
from .diagnostics import Fix, error, nearest
from .equations import Place
from .integers import Integer
from .names import capital_form, free_form, index_name, is_bundle, is_capital
from .session import Session
from .values import BundleValue, FunctionValue, LayerValue, Scope, TensorValue, Value, Word

if TYPE_CHECKING:
    from .translate import Result, Translator


def split_keyword(argument: syntax.Argument, keywords: tuple[str, ...]) -> tuple[str | None, syntax.Expr]:
    """The keyword of an argument and its value: `pad = 1`, `pad: 1` or, for a known keyword, `pad 1`.

    `width 11` is read as a product and `stride (2,1)` as a call; where the first name is a
    keyword of the layer, they are pairs.
    """
    if argument.name is not None:
        return argument.name.name, argument.value
    found = _peel(argument.value, keywords)
    return found if found is not None else (None, argument.value)


def _peel(node: syntax.Expr, keywords: tuple[str, ...]) -> tuple[str, syntax.Expr] | None:
    if isinstance(node, syntax.Binary):
        if isinstance(node.left, syntax.Name) and _is_keyword(node.left, keywords):
            if node.juxtaposed:
                return node.left.name, node.right
            if node.operator == "-":  # `width -2`
                return node.left.name, syntax.Unary(node.right.place, "-", node.right)
        inner = _peel(node.left, keywords)
        return None if inner is None else (inner[0], replace(node, left=inner[1]))
    if isinstance(node, syntax.Comparison):
        inner = _peel(node.operands[0], keywords)
        return None if inner is None else (inner[0], replace(node, operands=(inner[1], *node.operands[1:])))
    if isinstance(node, syntax.Conditional):
        inner = _peel(node.then, keywords)
        return None if inner is None else (inner[0], replace(node, then=inner[1]))
    if isinstance(node, syntax.Call) and _is_keyword(node.function, keywords):
        values = tuple(a.value for a in node.arguments)
        return node.function.name, values[0] if len(values) == 1 else syntax.Group(node.place, values)
    if isinstance(node, syntax.Subscripted) and isinstance(node.base, syntax.Name) and _is_keyword(node.base, keywords):
        return node.base.name, syntax.Items(node.place, node.subscripts)
    return None


_OTHER_KEYWORDS = {
    "kernel_size": "width", "kernel": "width", "size": "width", "window": "width", "pool_size": "width",
    "padding": "pad", "strides": "stride", "dilation_rate": "dilation", "out_channels": "filters",
    "channels": "filters", "out_features": "units", "num_heads": "heads", "hidden_size": "units",
    "use_bias": "bias", "padding_mode": "mode", "eps": "epsilon", "p": "rate", "negative_slope": "slope",
    "ceil_mode": "ceil", "output_padding": "outpad",
}  # fmt: skip
"""What arguments are called elsewhere."""


def other_keyword(keyword: str, keywords: list[str]) -> str | None:
    """The keyword among `keywords` for what other libraries call `keyword`."""
    meant = _OTHER_KEYWORDS.get(keyword)
    return meant if meant in keywords else None


def _is_keyword(name: syntax.Name, keywords: tuple[str, ...]) -> bool:
    return name.member is None and name.name in keywords


class LayerCall:
    """Binds the arguments of one call and runs the layer's body."""

    def __init__(
        self, elaborator: Session, node: syntax.Call, layer: LayerValue, scope: Scope,
        translator: Translator | None, hint: str,
    ) -> None:  # fmt: skip
        self.elaborator = elaborator
        self.builder = elaborator.builder
        self.node = node
        self.definition = layer.definition
        self.caller = scope
        self.translator = translator
        self.hint = hint
        self.inner = Scope(layer.scope, prefix=f"{hint}.")
        self.parameters = {p.keyword: p for p in self.definition.parameters}
        self.bound: set[str] = set()

    def run(self) -> Any:
        """The result of the layer: a tensor, or several."""
        tensors, bundles, values = self._sort_arguments()
        self._bind_tensors(tensors)
        self._bind_bundle(bundles, tensors)
        self._bind_values(values)
        self._defaults()
        with self.elaborator.entering(self.node.place, self.definition.name):
            return self.elaborator.run_layer(self.definition, self.inner, self.hint, self.node.place)

    # -- sorting -------------------------------------------------------------------------------
    def _sort_arguments(self) -> tuple[list[TensorValue], list[BundleValue], list[tuple[Any, Place]]]:
        tensors: list[TensorValue] = []
        bundles: list[BundleValue] = []
        values: list[tuple[Any, Place]] = []
        keywords = tuple(p.keyword for p in self.definition.parameters if p.kind != "bundle")
        for argument in self.node.arguments:
            keyword, value = split_keyword(argument, (*keywords, *self._size_names()))
            if keyword is not None:
                self._bind_keyword(keyword, value, argument)
                continue
            self._refuse_keyword(argument)
            bundle = self._as_bundle(value)
            if bundle is not None:
                bundles.append(bundle)
                continue
            try:
                values.append((Evaluator(self.elaborator, self.caller).value(value), value.place))
            except NotConstant:
                name = self._argument_name(value, len(tensors))
                tensors.append(self.elaborator.tensor_argument(argument, self.caller, self.translator, name))
        return tensors, bundles, values

    def _argument_name(self, value: syntax.Expr, position: int) -> str:
        """A name for what an argument makes: after its layer, or else after its position."""
        if isinstance(value, syntax.Call):
            function = self.elaborator.find_function(
                self.elaborator.spell(value.function, self.caller), value.function.place, self.caller
            )
            if isinstance(function, LayerValue):
                return f"{self.hint}.{value.function.name}"
        return f"{self.hint}.input" if position == 0 else f"{self.hint}.input{position + 1}"

    def _size_names(self) -> tuple[str, ...]:
        """Capitals in the declarations of the body, which a call may fix by name."""
        return self.elaborator.size_names(self.definition)

    def _as_bundle(self, node: syntax.Expr) -> BundleValue | None:
        base = node.base if isinstance(node, syntax.Subscripted) else node
        if not isinstance(base, syntax.Name):
            return None
        name = self.elaborator.spell(base, self.caller)
        if not is_bundle(name):
            return None
        bundle = self.elaborator.bundle(name, self.caller, base.place)
        if isinstance(node, syntax.Subscripted):
            bundle.sizes = self.elaborator.bundle_sizes(node, self.caller)
        return bundle

    def _bind_keyword(self, keyword: str, value: syntax.Expr, argument: syntax.Argument) -> None:
        parameter = self.parameters.get(keyword)
        if parameter is None:
            size = index_name(keyword)
            owner = next((p for p in self.definition.parameters if p.kind == "value" and p.variables == (size,)), None)
            if owner is not None:  # `J 96` for `filters J`
                self._bind_keyword(owner.keyword, value, argument)
                return
            if size in self._size_names():
                self.inner.sizes[size] = self.elaborator.size_expression(value, self.caller)
                return
            raise self._no_keyword(keyword, argument)
        if keyword in self.bound:
            raise error("E505", argument.place, f"{keyword} is given twice")
        if parameter.kind == "bundle":
            bundle = self._as_bundle(value)
            if bundle is None:
                raise error("E506", value.place, f"{keyword} is a bundle of parameters, such as Φ1")
            self._set_bundle(parameter, bundle)
            return
        if parameter.kind == "tensor":
            self._set_tensor(
                parameter, self.elaborator.tensor_argument(argument, self.caller, self.translator, self.hint)
            )
            return
        try:
            self._set_value(parameter, Evaluator(self.elaborator, self.caller, words=True).value(value), value.place)
        except NotConstant:
            wrapped = replace(argument, name=None, value=value)
            tensor = self.elaborator.tensor_argument(wrapped, self.caller, self.translator, f"{self.hint}.{keyword}")
            self._set_value(parameter, tensor, value.place)

    def _refuse_keyword(self, argument: syntax.Argument) -> None:
        """Refuse `kernel 3`, which is no product if nothing is called kernel."""
        node = argument.value
        name = node.left if isinstance(node, syntax.Binary) and node.juxtaposed else None
        if isinstance(node, syntax.Call):
            name = node.function
        if not isinstance(name, syntax.Name) or name.member is not None:
            return
        if self.caller.find(name.name) is not None or self.elaborator.library(name.name) is not None:
            return
        keywords = [p.keyword for p in self.definition.parameters if p.kind == "value"]
        if isinstance(node, syntax.Binary) or other_keyword(name.name, keywords) is not None:
            raise self._no_keyword(name.name, replace(argument, name=name))

    def _no_keyword(self, keyword: str, argument: syntax.Argument) -> Exception:
        names = [p.keyword for p in self.definition.parameters]
        meant = other_keyword(keyword, names) or nearest(keyword, names)
        place = argument.name.place if argument.name is not None else argument.place
        return error(
            "E503", place, f"{self.definition.name} has no argument named {keyword}",
            labels=[(self.definition.place, f"{self.definition.name} is "
                                            f"defined here")] if self.definition.place.file == place.file else [],
            notes=[f"its arguments are {', '.join(names)}"] if names else [],
            fix=Fix(place, meant, f"write {meant}") if meant else None,
        )  # fmt: skip

    # -- binding --------------------------------------------------------------------------------
    def _slots(self) -> list[syntax.LayerParameter]:
        """Parameters that a positional tensor may fill."""
        return [
            p for p in self.definition.parameters
            if p.keyword not in self.bound
            and (p.kind == "tensor" or (p.kind == "value" and p.default is None and p.variables == (p.keyword,)))
        ]  # fmt: skip

    def _bind_tensors(self, tensors: list[TensorValue]) -> None:
        slots = self._slots()
        surplus = len(tensors) - len(slots)
        if surplus > 0:
            # tensors of parameters beyond the layer's own inputs are its weights, in order
            given = [t for t in tensors if t.parameter][: max(0, surplus)]
            for tensor in given:
                tensors.remove(tensor)
            self.given = given
            if len(tensors) > len(slots):
                extra = tensors[len(slots)]
                wanted = len(slots)
                raise error(
                    "E502", self.node.place, f"{self.definition.name} takes {wanted} "
                                             f"tensor{'s' if wanted != 1 else ''}, "
                    f"not {len(tensors)}",
                    here=f"{extra.shown} is one too many",
                )  # fmt: skip
        for tensor, parameter in zip(tensors, slots, strict=False):
            if parameter.kind == "tensor":
                self._set_tensor(parameter, tensor)
            else:
                self._set_value(parameter, tensor, self.node.place)

    given: list[TensorValue] = []  # noqa: RUF012 (replaced, never changed)

    def _set_tensor(self, parameter: syntax.LayerParameter, tensor: TensorValue) -> None:
        self.bound.add(parameter.keyword)
        axes = self._match(parameter, tensor)
        inner = replace(tensor, axes=axes, spelling=parameter.variables[0])
        self.inner.define(parameter.variables[0], inner, parameter.place)

    def _match(self, parameter: syntax.LayerParameter, tensor: TensorValue) -> tuple[str | None, ...]:
        """Names for the axes of a tensor, after the pattern of a layer's signature; binds their sizes."""
        patterns = parameter.subscripts or ()
        rests = [k for k, p in enumerate(patterns) if isinstance(p, syntax.Rest)]
        if (not rests and len(patterns) != tensor.rank) or (rests and len(patterns) - 1 > tensor.rank):
            wanted = ", ".join(
                p.name if isinstance(p, syntax.Name) else "…" if isinstance(p, syntax.Rest) else "_" for p in patterns
            )
            sizes = ", ".join(str(self.builder.resolve(s)) for s in tensor.shape)
            at_least = "at least " if rests else ""
            count = len(patterns) - len(rests)
            raise error(
                "E507", self.node.place,
                f"{self.definition.name} needs a tensor with {at_least}{count} ax{'i' if count == 1 else 'e'}s "
                f"[{wanted}], but {tensor.shown} has {tensor.rank}",
                here=f"{tensor.shown} has the sizes [{sizes}]",
            )  # fmt: skip
        axes: list[str | None] = []
        for k, pattern in enumerate(patterns):
            if isinstance(pattern, syntax.Rest):
                count = tensor.rank - (len(patterns) - 1)
                axes += tensor.axes[k : k + count]
                if self.inner.rest is None:
                    self.inner.rest = tensor.shape[k : k + count], tensor.dtype
                continue
            axes.append(self._match_axis(parameter, pattern, tensor, len(axes)))
        return tuple(axes)

    def _match_axis(
        self, parameter: syntax.LayerParameter, pattern: syntax.Expr, tensor: TensorValue, axis: int
    ) -> str | None:
        if isinstance(pattern, syntax.Hole):
            return None
        size = tensor.shape[axis]
        if not isinstance(pattern, syntax.Name):
            expected = self.elaborator.size_expression(pattern, self.inner)
            self._same_size(expected, size, tensor, axis)
            return None
        name = index_name(pattern.name)
        capital = capital_form(name)
        known = self.inner.sizes.get(capital)
        if known is not None:
            self._same_size(known, size, tensor, axis)
        else:
            self.inner.sizes[capital] = size
        return free_form(name)

    def _same_size(self, expected: Integer, size: Integer, tensor: TensorValue, axis: int) -> None:
        if not self.builder.unify(expected, size):
            raise error(
                "E509", self.node.place,
                f"{self.definition.name} needs {self.builder.resolve(expected)} places on {tensor.axis_shown(axis)}, "
                f"which has {self.builder.resolve(size)}",
            )  # fmt: skip

    def _bind_bundle(self, bundles: list[BundleValue], tensors: list[TensorValue]) -> None:
        slots = [p for p in self.definition.parameters if p.kind == "bundle" and p.keyword not in self.bound]
        own = (
            self.elaborator.auto_bundle(self.hint, self.caller, self.node.place) if not bundles or slots else bundles[0]
        )
        for parameter, bundle in zip(slots, bundles, strict=False):
            self._set_bundle(parameter, bundle)
        if len(bundles) > max(1, len(slots)):
            raise error(
                "E502", self.node.place, f"{self.definition.name} takes one bundle of parameters, not {len(bundles)}"
            )
        self.inner.bundle = bundles[0] if bundles and len(slots) <= 1 else own
        if self.given:
            self.inner.bundle = replace_given(self.inner.bundle, self.given, self.node.place)
        for parameter in slots[len(bundles) :]:
            self._set_bundle(parameter, self.inner.bundle)

    def _set_bundle(self, parameter: syntax.LayerParameter, bundle: BundleValue) -> None:
        self.bound.add(parameter.keyword)
        self.inner.define(parameter.variables[0], bundle, parameter.place)
        self.inner.bundle = bundle

    def _bind_values(self, values: list[tuple[Any, Place]]) -> None:
        slots = [p for p in self.definition.parameters if p.kind == "value" and p.keyword not in self.bound]
        if len(values) > len(slots):
            raise error(
                "E502", values[len(slots)][1], f"{self.definition.name} takes {len(slots)} "
                                               f"number{'s' if len(slots) != 1 else ''} "
                f"beside its tensors, not {len(values)}",
            )  # fmt: skip
        for (value, place), parameter in zip(values, slots, strict=False):
            self._set_value(parameter, value, place)

    def _set_value(self, parameter: syntax.LayerParameter, value: Any, place: Place) -> None:
        self.bound.add(parameter.keyword)
        variables = parameter.variables
        if len(variables) == 1:
            if isinstance(value, tuple) and is_capital(variables[0]):
                raise error("E518", place, f"{parameter.keyword} takes one value, not {len(value)}")
            parts: tuple[Any, ...] = (value,)
        elif isinstance(value, tuple):
            parts = value
            if len(parts) != len(variables):
                raise error(
                    "E518", place, f"{parameter.keyword} takes one value, or {len(variables)}, not {len(parts)}"
                )
        else:
            parts = (value,) * len(variables)
        for variable, part in zip(variables, parts, strict=True):
            self.inner.define(variable, part, place)
            if is_capital(variable) and isinstance(part, float):
                raise error("E229", place, f"a size is a whole number, and {parameter.keyword} is {part}")
            if is_capital(variable) and isinstance(part, (int, Integer)) and not isinstance(part, bool):
                self._size_parameter(variable, part, parameter.keyword, place)

    def _size_parameter(self, variable: str, value: int | Integer, keyword: str, place: Place) -> None:
        if isinstance(value, int) and value < 1:
            raise error("E519", place, f"{keyword} is {value}; a size is at least 1")
        self.inner.sizes[variable] = Integer.of(value)

    def _defaults(self) -> None:
        for parameter in self.definition.parameters:
            if parameter.keyword in self.bound:
                continue
            if isinstance(parameter.default, syntax.Hole):  # to be inferred, whatever its letters
                unknown = self.builder.unknown(parameter.keyword)
                self._set_value(parameter, unknown, parameter.place)
            elif parameter.default is not None:
                value = Evaluator(self.elaborator, self.inner, words=True).value(parameter.default)
                self._set_value(parameter, value, parameter.place)
            elif parameter.kind == "value" and all(is_capital(v) for v in parameter.variables):
                for variable in parameter.variables:
                    self.inner.sizes[variable] = unknown = self.builder.unknown(parameter.keyword)
                    self.inner.define(variable, unknown, self.node.place)
            elif parameter.kind != "bundle":
                kind = "a tensor" if parameter.kind == "tensor" else "a value"
                raise error(
                    "E504", self.node.place, f"{self.definition.name} needs {kind} for {parameter.keyword}",
                    notes=[f"it is called as `{signature(self.definition)}`"],
                )  # fmt: skip


def replace_given(bundle: BundleValue, given: list[TensorValue], place: Place) -> BundleValue:
    """A bundle whose first parameters are tensors that the writer declared."""
    return BundleValue(bundle.name, place, {}, list(given))


def signature(definition: syntax.Layer) -> str:
    """How a layer is called, for messages."""
    parts: list[str] = []
    for parameter in definition.parameters:
        if parameter.kind in ("tensor", "bundle") or parameter.variables == (parameter.keyword,):
            parts.append(parameter.variables[0])
        else:
            names = parameter.variables
            parts.append(f"{parameter.keyword} {names[0] if len(names) == 1 else '(' + ', '.join(names) + ')'}")
    return f"{definition.name}({', '.join(parts)})"


def bind_function(
    elaborator: Session, node: syntax.Call, name: str, function: FunctionValue, translator: Translator
) -> list[Result | Value]:
    """The arguments of a scalar function in the order of its parameters.

    Numbers known while compiling stay numbers, so that they may be sizes or conditions.
    """
    definition = function.definition
    found: dict[str, Result | Value] = {}
    position = 0
    for argument in node.arguments:
        keyword, value = split_keyword(argument, ())
        if keyword is None:
            if position >= len(definition.parameters):
                raise error(
                    "E502",
                    argument.place,
                    f"{name} takes {len(definition.parameters)} "
                    f"argument{'s' if len(definition.parameters) != 1 else ''}, not {len(node.arguments)}",
                )
            keyword = definition.parameters[position]
            position += 1
        elif keyword not in definition.parameters:
            raise error("E503", argument.place, f"{name} has no argument named {keyword}")
        if keyword in found:
            raise error("E505", argument.place, f"{keyword} is given twice")
        try:
            constant = (
                Evaluator(elaborator, translator.scope).value(value) if not isinstance(value, syntax.Items) else None
            )
        except NotConstant:
            constant = None
        found[keyword] = constant if isinstance(constant, (int, float, Integer, Word)) else translator.read(value)
    for parameter in definition.parameters:
        if parameter not in found:
            supplied = translator.scope.find(parameter) if parameter in ("fan_in", "fan_out") else None
            if supplied is None:
                raise error("E504", node.place, f"{name} needs a value for {parameter}")
            found[parameter] = supplied
    return [found[parameter] for parameter in definition.parameters]
