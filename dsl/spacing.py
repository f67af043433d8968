"""The formatter's rules for spaces between the tokens of one statement.

Tokens are nested by their brackets, and each level is spaced by what stands in it:
subscripts tightly (`W[ΔX,ΔY,I,j]`, `h[b,t-1,j]`, but `P[b, s*x + d*ΔX, I]` where a sum has
products), everything else loosely.  Nothing here looks at lines; `formatter.py` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Union

from lark import Token

_OPENERS = {"LPAR": ")", "LSQB": "]", "LBRACE": "}"}
_CLOSING = ("RPAR", "RSQB", "RBRACE")
_NAME_ENDS = ("NAME", "PRIMES")
_OPERAND_ENDS = (*_NAME_ENDS, "NUMBER", "STRING", "HOLE", "SUPERSCRIPT", "TRANSPOSE", "SHAPE")
_PRODUCTS = ("STAR", "SLASH", "DOUBLE_SLASH", "PERCENT")
_ATTACHED = ("FAMILY", "PRIMES", "SUPERSCRIPT", "TRANSPOSE", "OPTION", "CARET", "DOTS", "COMMA", "COLON")
_LOOSE = (
    "EQUAL", "COLON", "SEMICOLON", "COMPARE", "ARROW", "IN", "IF", "ELSE", "ELIF", "FOR", "OR", "AND", "NOT",
    "OTHERWISE", "DRAWN", "DOTS", "WHEN", "PARAM", "STATE", "GIVEN", "UPDATE", "OUTPUT", "LOSS", "METRIC",
    "RETURN", "REQUIRE", "TRAINS", "LAYER", "FUNCTION", "ALIAS", "IMPORT", "FROM", "UNTRAINED", "WITHOUT_BATCH",
)  # fmt: skip
"""Tokens between which sums and products stand."""


@dataclass
class Piece:
    """A token with its text and `gap`, the number of spaces before it on its line."""

    kind: str
    text: str
    line: int
    column: int
    end_column: int
    gap: int = 1


@dataclass
class Bracket:
    """A bracket with what it holds; `role` says what it does.

    Roles: `call`, `group`, `list`, `subscripts`, `sizes`, `binders`, `family`, `cases`, `floor`.
    """

    opening: Piece
    closing: Piece
    role: str
    items: list[Element] = field(default_factory=list)
    after_space: bool = False


Element = Union[Piece, Bracket]


def space(tokens: list[Token], first_line: int) -> list[Element]:
    """Nest the tokens of one logical line and decide all gaps.

    `first_line` is the file's line at which the tokens' line 1 stands.
    """
    pieces = [_piece(token, first_line) for token in tokens]
    elements, _ = _nest(pieces, 0, "")
    _give_roles(elements, declares=pieces[0].kind in ("PARAM", "STATE", "GIVEN"), inside_call=False)
    _space_level(elements, "loose", "list")
    pieces[0].gap = 0
    return elements


def flatten(elements: list[Element]) -> list[Piece]:
    """All pieces in the order of the text."""
    found: list[Piece] = []
    for element in elements:
        if isinstance(element, Bracket):
            found += [element.opening, *flatten(element.items), element.closing]
        else:
            found.append(element)
    return found


def _piece(token: Token, first_line: int) -> Piece:
    line, column = (token.line or 1) + first_line - 1, (token.column or 1) - 1
    return Piece(token.type, str(token), line, column, (token.end_column or column + 1) - 1)


# -- brackets --------------------------------------------------------------------------------


def _nest(pieces: list[Piece], position: int, closer: str) -> tuple[list[Element], int]:
    """The elements from `position` up to the closing bracket, and where that stands."""
    elements: list[Element] = []
    while position < len(pieces) and not (closer and pieces[position].text == closer):
        piece = pieces[position]
        inner = "⌋" if piece.text == "⌊" else _OPENERS.get(piece.kind, "")
        if inner:
            items, end = _nest(pieces, position + 1, inner)
            elements.append(Bracket(piece, pieces[end], "", items))
            position = end
        else:
            elements.append(piece)
        position += 1
    return elements, position


def _give_roles(elements: list[Element], *, declares: bool, inside_call: bool) -> None:
    for position, element in enumerate(elements):
        if not isinstance(element, Bracket):
            continue
        before = elements[position - 1] if position else None
        after = elements[position + 1] if position + 1 < len(elements) else None
        element.role = _role(element, before, after, declares)
        if inside_call and element.role in ("call", "subscripts") and isinstance(before, Piece):
            element.after_space = _follows_keyword(elements, position) and not _touch(before, element.opening)
            if element.after_space:
                element.role = "group" if element.role == "call" else "list"
        _give_roles(element.items, declares=False, inside_call=element.role == "call")


def _role(bracket: Bracket, before: Element | None, after: Element | None, declares: bool) -> str:
    kind = before.kind if isinstance(before, Piece) else ""
    after_operand = isinstance(before, Bracket) or kind in _OPERAND_ENDS
    if bracket.opening.text == "⌊":
        return "floor"
    if bracket.opening.kind == "LBRACE":
        return "family" if kind == "FAMILY" else "binders" if kind == "REDUCER_OF" else "cases"
    if bracket.opening.kind == "LPAR":
        is_name = kind in _NAME_ENDS or (isinstance(before, Bracket) and before.role == "family")
        return "call" if is_name else "group"
    if kind == "REDUCER":
        return "binders"
    if kind == "RETURN":
        defines = isinstance(after, Piece) and after.kind in ("EQUAL", "COLON")
        return "subscripts" if defines else "list"
    if declares and after_operand:
        return "sizes"
    return "subscripts" if after_operand else "list"


def _follows_keyword(elements: list[Element], position: int) -> bool:
    """Whether a bracket follows the first word of an argument, as in `stride (2, 1)`."""
    before = elements[position - 2] if position > 1 else None
    return before is None or _kind(before) == "COMMA"


def _touch(left: Piece, right: Piece) -> bool:
    return left.line == right.line and left.end_column == right.column


# -- gaps ------------------------------------------------------------------------------------


def _space_level(elements: list[Element], mode: str, role: str) -> None:
    """Space what stands between two brackets.

    Modes: `loose`; `value` (loose sums of tight products, for what follows a word); for
    subscripts `compact` (no spaces, save in sums that have products) and `open` (the same, but
    all sums have spaces); `tight` (no spaces).
    """
    entries = _entries(elements)
    for element in elements:
        if _kind(element) == "COMMA":
            _head(element).gap = 0
    spaced = [_space_entry(entry, mode, is_argument=role == "call") for entry in entries]
    if mode == "compact" and any(spaced):  # one sum with products: all sums beside it get spaces too
        for entry in entries:
            _space_entry(entry, "open", is_argument=False)
    wide = mode == "loose" or role == "sizes" or any(_has_spaces(entry) for entry in entries)
    for number, entry in enumerate(entries):
        if entry:
            _head(entry[0]).gap = int(number > 0 and wide and mode != "tight")


def _entries(elements: list[Element]) -> list[list[Element]]:
    """What stands between the commas."""
    entries: list[list[Element]] = [[]]
    for element in elements:
        if _kind(element) == "COMMA":
            entries.append([])
        else:
            entries[-1].append(element)
    return entries


def _has_spaces(entry: list[Element]) -> bool:
    return any(piece.kind == "ELLIPSIS" or (number and piece.gap) for number, piece in enumerate(flatten(entry)))


def _head(element: Element) -> Piece:
    return element.opening if isinstance(element, Bracket) else element


def _space_entry(entry: list[Element], mode: str, *, is_argument: bool) -> bool:
    """Space one entry of a list; says whether a compact sum in it needed spaces."""
    for element in entry:
        if isinstance(element, Bracket):
            _space_bracket(element, mode)
    signs = _signs(entry)
    for position in range(1, len(entry)):
        _head(entry[position]).gap = _gap(entry[position - 1], entry[position], position - 1 in signs)
    needed = False
    kinds = [_kind(element) for element in entry]
    keyword = is_argument and _starts_with_keyword(entry)
    edges = [0 if keyword else -1, *(i for i, kind in enumerate(kinds) if kind in _LOOSE), len(entry)]
    for left, right in pairwise(edges):
        in_range = "DOTS" in (*kinds[max(left, 0) : left + 1], *kinds[right : right + 1])
        inner = "tight" if in_range or "ARROW" in kinds else "value" if keyword and left == 0 else mode
        needed |= _space_sum(entry, range(left + 1, right), signs, inner)
    return needed


def _starts_with_keyword(entry: list[Element]) -> bool:
    """Whether an argument reads `stride 2`: a word, then its value."""
    if len(entry) < 2 or _kind(entry[0]) != "NAME":
        return False
    follower = entry[1]
    if isinstance(follower, Bracket):
        return follower.after_space
    return follower.kind in ("NAME", "NUMBER", "STRING", "HOLE")


def _space_bracket(bracket: Bracket, mode: str) -> None:
    inner = {"subscripts": "compact", "binders": "compact", "sizes": "compact", "family": "tight"}.get(bracket.role)
    if inner is None:
        inner = mode if bracket.role in ("group", "floor") else "loose"
    _space_level(bracket.items, inner, bracket.role)
    bracket.closing.gap = 0
    if bracket.role == "list":
        _align_matrix(bracket)
    if bracket.role == "cases" and bracket.items:
        _head(bracket.items[0]).gap = bracket.closing.gap = 1


def _align_matrix(bracket: Bracket) -> None:
    """Right-align the columns of a list of lists over several lines, if the writer aligned any."""
    rows = [item for item in bracket.items if isinstance(item, Bracket) and item.role == "list"]
    lines = {row.opening.line for row in rows}
    if len(rows) < 2 or len(lines) < len(rows) or any(row.opening.line != row.closing.line for row in rows):
        return
    table = [_entries(row.items) for row in rows]
    padded = any(
        after.column - before.end_column > 1 for row in rows for before, after in pairwise(flatten([row])[:-1])
    )
    if not padded or len({len(entries) for entries in table}) > 1 or not all(map(all, table)):
        return
    for number, column in enumerate(zip(*table, strict=True)):
        widths = [
            sum(len(piece.text) + piece.gap for piece in flatten(entry)) - _head(entry[0]).gap for entry in column
        ]
        for entry, width in zip(column, widths, strict=True):
            _head(entry[0]).gap = max(widths) - width + (number > 0)


def _gap(left: Element, right: Element, after_sign: bool) -> int:
    """Spaces between two neighbours, sums and products aside."""
    if after_sign:
        return 0
    if isinstance(right, Bracket):
        return _gap_before_bracket(left, right)
    if right.kind in _ATTACHED:
        return 0
    if isinstance(left, Piece):
        if left.kind in ("CARET", "DOTS", "FAMILY") or left.text == "¬":
            return 0
        if left.kind == "NUMBER" and right.kind == "NAME" and _touch(left, right):
            return 0  # 0.1x
    return 1


def _gap_before_bracket(left: Element, right: Bracket) -> int:
    if right.role in ("call", "subscripts", "sizes", "family", "binders"):
        return 0
    if isinstance(left, Bracket):
        return 0 if left.role == "binders" and left.opening.kind == "LSQB" else 1
    if left.kind == "NUMBER" and _touch(left, right.opening):
        return 0
    return 0 if left.kind in ("CARET", "DOTS", "OPTION") or left.text == "¬" else 1


def _signs(entry: list[Element]) -> set[int]:
    """Positions of `+` and `-` that are signs rather than operators."""
    found: set[int] = set()
    for position, element in enumerate(entry):
        if isinstance(element, Piece) and element.kind in ("PLUS", "MINUS"):
            before = entry[position - 1] if position else None
            after_operand = isinstance(before, Bracket) or (before is not None and before.kind in _OPERAND_ENDS)
            if not after_operand or (isinstance(before, Bracket) and _opens_term(entry, position - 1)):
                found.add(position)
    return found


def _opens_term(entry: list[Element], position: int) -> bool:
    """Whether a bracket holds the indices of `sum_{…}`, after which a term begins."""
    bracket = entry[position]
    return isinstance(bracket, Bracket) and bracket.role == "binders" and bracket.opening.kind == "LBRACE"


def _space_sum(entry: list[Element], span: range, signs: set[int], mode: str) -> bool:
    """Space the operators of one sum: its products first, then `+` and `-`.

    Says whether the sum has products, so that it needs spaces even among subscripts.
    """
    operators = [i for i in span if _kind(entry[i]) in ("PLUS", "MINUS") and i not in signs]
    edges = [span.start - 1, *operators, span.stop]
    atomic = True
    for left, right in pairwise(edges):
        atomic &= _space_product(entry, range(left + 1, right), signs, mode)
    gap = int(mode in ("loose", "value", "open") or (mode == "compact" and not atomic))
    for position in operators:
        _set_gaps(entry, position, gap)
    return bool(operators) and not atomic


def _space_product(entry: list[Element], span: range, signs: set[int], mode: str) -> bool:
    """Space `*` and `/`: closely where only names and numbers are multiplied, and in a leading `1/B`.

    Says whether the product is a single name or number.
    """
    operators = [i for i in span if _kind(entry[i]) in _PRODUCTS]
    factors = [range(left + 1, right) for left, right in pairwise([span.start - 1, *operators, span.stop])]
    atoms = [
        _is_atom(entry, factor) and (number == 0 or factor.start not in signs) for number, factor in enumerate(factors)
    ]
    for number, operator in enumerate(operators):
        fraction = number == 0 and _kind(entry[operator]) == "SLASH" and all(atoms[:2])
        close = fraction or (all(atoms) and _kind(entry[operator]) != "PERCENT")
        _set_gaps(entry, operator, int(mode == "loose" and not close))
    brackets = [item for item in entry[span.start : span.stop] if isinstance(item, Bracket)]
    return all(atoms) and not operators and all(bracket.role == "family" for bracket in brackets)


def _is_atom(entry: list[Element], span: range) -> bool:
    """Whether a factor is one name or number with what hangs on it, or a parenthesis of such."""
    for position in span:
        element = entry[position]
        if isinstance(element, Bracket) and not _is_plain(element):
            return False
        if _kind(element) in ("STRING", "REDUCER", "REDUCER_OF", "REDUCER_ONE"):
            return False
        if position > span.start and _head(element).gap:
            return False
    return True


def _is_plain(bracket: Bracket) -> bool:
    """Whether a bracket holds names and numbers only: no tensor is read in it, no function called."""
    inner = [item for item in bracket.items if isinstance(item, Bracket)]
    return bracket.role == "family" or (bracket.role == "group" and all(map(_is_plain, inner)))


def _set_gaps(entry: list[Element], position: int, gap: int) -> None:
    """The same gap on both sides of an operator."""
    _head(entry[position]).gap = gap
    if position + 1 < len(entry):
        _head(entry[position + 1]).gap = gap


def _kind(element: Element) -> str:
    return element.kind if isinstance(element, Piece) else ""
