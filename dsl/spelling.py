"""Two spellings of one program: with the letters and signs of the slides, or in plain ASCII.

Works token by token for the formatter.  Only the spelling changes: the syntax tree is the
same after it, up to `DX` and `ΔX`, which are one index (rule R1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from lark import Token

from . import syntax
from .names import BUNDLE, GREEK, ascii_form, index_name, normal

_TO_ASCII = {
    "≤": "<=", "≥": ">=", "≠": "!=", "−": "-", "–": "-", "·": "*", "∗": "*", "⋅": "*", "→": "->", "⟶": "->",
    "Σ": "sum", "∑": "sum", "Π": "prod", "∏": "prod", "Σ_": "sum_", "∑_": "sum_", "Π_": "prod_", "∏_": "prod_",
    "∈": "in", "∨": "or", "∧": "and", "¬": "not", "∼": "~", "…": "...", "′": "'", "ᵀ": ".T",
}  # fmt: skip
_TO_UNICODE = {
    "<=": "≤", ">=": "≥", "!=": "≠", "−": "-", "–": "-", "∗": "*", "⋅": "*", "->": "→", "-->": "→", "⟶": "→",
    "sum_": "Σ_", "∑_": "Σ_", "prod_": "Π_", "∏_": "Π_", "∑": "Σ", "∏": "Π", "∼": "~", "′": "'", ".T": "ᵀ",
}  # fmt: skip
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_GREEK_WORD = re.compile(r"([A-Za-z]+)(?=$|[_0-9'′₀-₉])")
_SMALL_POWERS = {"2": "²", "3": "³"}
_DEFINING = (
    syntax.Target, syntax.Param, syntax.StateDeclaration, syntax.GivenItem, syntax.Update, syntax.Loss, syntax.Metric,
)  # fmt: skip


def names_not_indices(statements: Iterable[syntax.Statement]) -> frozenset[str]:
    """Names that a text defines or calls: for these, `DX` and `ΔX` are two names."""
    found: set[str] = set()
    for node in syntax.walk(tuple(statements)):
        if isinstance(node, _DEFINING):
            found.add(node.name.name)
        elif isinstance(node, syntax.LayerParameter):
            found.update((node.keyword, *node.variables))
        elif isinstance(node, syntax.Function):
            found.update((node.name, *node.parameters))
        elif isinstance(node, syntax.Alias):
            found.update((*node.names, node.target))
        elif isinstance(node, syntax.Layer):
            found.add(node.name)
        elif isinstance(node, syntax.Import):
            found.update(name.name for name in node.names or ())
        elif isinstance(node, syntax.Call):
            found.add(node.function.name)
        elif isinstance(node, syntax.Argument) and node.name is not None:
            found.add(node.name.name)
        elif isinstance(node, syntax.Subscripted) and isinstance(node.base, syntax.Name):
            found.add(node.base.name)
    return frozenset(found)


def respell(
    tokens: list[Token], statement: syntax.Statement, first_line: int, *, ascii: bool, not_indices: frozenset[str]
) -> list[Token]:
    """The tokens of one statement in the chosen spelling; kinds and positions stay.

    `first_line` is the line of the file at which the statement, and line 1 of its tokens, starts.
    """
    if ascii:
        tokens = _floors_as_divisions(tokens, statement, first_line)
    spelled: list[Token] = []
    for position, token in enumerate(tokens):
        text = str(token)
        if token.type == "NAME":
            text = _ascii_name(text, not_indices) if ascii else _unicode_name(text, not_indices)
        elif token.type == "SUPERSCRIPT" and ascii:
            text = "^" + text.translate(_DIGITS)
        elif token.type == "REDUCER_ONE":
            text = _one_index(text, not_indices, ascii=ascii)
        elif token.type == "SHAPE":
            text = text.replace("×", "x")
        elif token.type not in ("STRING", "_NL", "_INDENT", "_DEDENT"):
            text = (_TO_ASCII if ascii else _TO_UNICODE).get(text, text.replace("′", "'"))
        if not ascii and _is_small_power(tokens, position):
            spelled[-1] = token.update(type="SUPERSCRIPT", value=_SMALL_POWERS[text])
        else:
            spelled.append(token.update(value=text))
    return spelled


def _one_index(text: str, not_indices: frozenset[str], *, ascii: bool) -> str:
    """`Σ_b`; in ASCII `sum_{b}`, since `sum_b` is a name."""
    sign, _, index = text.partition("_")
    if ascii:
        return f"{_TO_ASCII[sign]}_{{{_ascii_name(index, not_indices)}}}"
    return f"{_TO_UNICODE.get(sign, sign)}_{_unicode_name(index, not_indices)}"


def _is_small_power(tokens: list[Token], position: int) -> bool:
    """Whether a token is the 2 or 3 of `x^2`, which can be written `x²`."""
    token = tokens[position]
    if token.type != "NUMBER" or str(token) not in _SMALL_POWERS or tokens[position - 1].type != "CARET":
        return False
    following = tokens[position + 1].type if position + 1 < len(tokens) else ""
    on_one_line = tokens[position - 2].line == token.line
    return on_one_line and following not in ("CARET", "SUPERSCRIPT", "LSQB", "TRANSPOSE")


def _floors_as_divisions(tokens: list[Token], statement: syntax.Statement, first_line: int) -> list[Token]:
    """`⌊a/b⌋` as `(a // b)`, unless a name before it would make that a call."""
    at = {((token.line or 1) + first_line - 1, token.column): i for i, token in enumerate(tokens)}
    changed = list(tokens)
    for node in syntax.walk(statement):
        if not isinstance(node, syntax.Floor) or not isinstance(node.operand, syntax.Binary):
            continue
        division, opening = node.operand, at[node.place.line, node.place.column]
        closing = at[node.place.end_line, node.place.end_column - 1]
        called = opening and tokens[opening - 1].type in ("NAME", "PRIMES", "RBRACE")
        if division.operator != "/" or called:
            continue
        sign = at[division.right.place.line, division.right.place.column] - 1
        while tokens[sign].type != "SLASH":
            sign -= 1
        changed[opening] = changed[opening].update(type="LPAR", value="(")
        changed[sign] = changed[sign].update(type="DOUBLE_SLASH", value="//")
        changed[closing] = changed[closing].update(type="RPAR", value=")")
    return changed


def without_spelling(node: Any, not_indices: frozenset[str]) -> Any:
    """A tree as nested tuples in which places are left out and both spellings are equal."""
    if isinstance(node, syntax.Floor):
        inner = node.operand
        if isinstance(inner, syntax.Binary) and inner.operator == "/":
            return without_spelling(syntax.Parenthesis(node.place, replace(inner, operator="//")), not_indices)
    if isinstance(node, syntax.Node):
        parts = (getattr(node, item.name) for item in fields(node) if item.name != "place")
        return (type(node).__name__, *(without_spelling(part, not_indices) for part in parts))
    if isinstance(node, tuple):
        return tuple(without_spelling(part, not_indices) for part in node)
    if isinstance(node, str) and node not in not_indices:
        return index_name(node)
    return node


def _ascii_name(name: str, not_indices: frozenset[str]) -> str:
    plain = normal(name)
    spelled = ascii_form(plain)
    if normal(spelled) == plain:
        return spelled
    is_index = index_name(spelled) == plain and not {plain, normal(spelled)} & not_indices
    return spelled if is_index else plain


def _unicode_name(name: str, not_indices: frozenset[str]) -> str:
    name = name.replace("\u2206", "Δ").replace("′", "'")
    plain = normal(name)
    index = index_name(name)
    if index != plain and not {plain, index} & not_indices:
        return index
    word = _GREEK_WORD.match(name)
    if word and word.group(1) in GREEK:
        return GREEK[word.group(1)] + name[word.end() :]
    return "Φ" + name[3:] if BUNDLE.match(name) else name
