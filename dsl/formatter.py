"""The formatter behind `maj fmt`: one layout for every program, as on the slides.

It works on tokens, so comments and line breaks stay where the writer put them: each line of
the text gives one line of the result.  Indentation is four spaces a block; lines that
continue a bracket are aligned with what stands in it; runs of blank lines become one, and a
`layer` gets one before it.  Where the writer aligned the `=` (or the comments) of
neighbouring lines, they stay aligned; otherwise they are not.  `spacing.py` decides the
spaces inside a line and `spelling.py` the letters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from lark import Token

from .diagnostics import SourceErrors, display_width
from .parser import Chunk, chunk_tokens, chunks, parse, parse_chunk, plain_text
from .spacing import Piece, flatten, space
from .spelling import names_not_indices, respell, without_spelling

_INDENT = 4
_TAB = 4
_BLOCK_WORDS = ("LAYER", "FOR", "IF", "ELIF", "ELSE", "WHEN", "REQUIRE", "RETURN", "IMPORT", "FROM", "OUTPUT")


@dataclass
class _Row:
    """One line of the result, and what is known of the line it comes from."""

    line: int
    indent: int = 0
    pieces: list[Piece] = field(default_factory=list)
    comment: str = ""
    comment_column: int = -1
    blank_before: bool = False
    starts: bool = False
    depth: int = 0
    kind: str = ""
    indent_column: int = 0
    equals: Piece | None = None
    equals_column: int = -1
    continued: bool = False
    text: str = ""


def format_text(text: str, *, ascii: bool | None = None, name: str = "<text>") -> str:
    """The text in the one layout; its syntax tree is the same.

    `ascii=True` spells names and operators in ASCII (`Phi`, `DX`, `<=`), `ascii=False` as on
    the slides (`Φ`, `ΔX`, `≤`), None as the writer did.  Lines end as the first one does.
    Raises SourceErrors if the text does not parse; `name` is the file shown there.
    """
    newline = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
    parsed = parse(text, name)
    if parsed.problems:
        raise SourceErrors(parsed.problems, {name: text})
    text = plain_text(text)
    not_indices = names_not_indices(parsed.statements)
    rows: dict[int, _Row] = {}
    for chunk in chunks(text, name)[0]:
        tokens = chunk_tokens(chunk)
        if ascii is not None:
            statement = parse_chunk(chunk, name)
            tokens = respell(tokens, statement, chunk.line, ascii=ascii, not_indices=not_indices)
        for row in _code_rows(tokens, chunk):
            rows[row.line] = row
    result = _lay_out(_with_comments(rows, text.split("\n")))
    again = parse(result, name)
    if again.problems or without_spelling(again.statements, not_indices) != without_spelling(
        parsed.statements, not_indices
    ):
        raise AssertionError(f"formatting {name} would change its meaning")
    return result.replace("\n", newline)


# -- lines of code ---------------------------------------------------------------------------


def _code_rows(tokens: list[Token], chunk: Chunk) -> list[_Row]:
    """The lines of one statement, with its pieces spaced."""
    rows: list[_Row] = []
    depth = 0
    logical: list[Token] = []
    for token in [*tokens, Token("_NL", "\n")]:
        if token.type not in ("_NL", "_INDENT", "_DEDENT"):
            logical.append(token)
            continue
        if logical:
            rows += _logical_rows(logical, depth, chunk)
            logical = []
        depth += {"_INDENT": 1, "_DEDENT": -1}.get(token.type, 0)
    return rows


def _logical_rows(tokens: list[Token], depth: int, chunk: Chunk) -> list[_Row]:
    pieces = flatten(space(tokens, chunk.line))
    lines = chunk.text.split("\n")
    rows: list[_Row] = []
    open_brackets = 0
    for piece in pieces:
        if not rows or rows[-1].line != piece.line:
            if rows:
                rows[-1].continued = open_brackets == 0
            rows.append(_Row(piece.line, depth=depth, starts=not rows, kind=pieces[0].kind))
        if piece.text in ("(", "[", "{", "⌊"):
            open_brackets += 1
        elif piece.text in (")", "]", "}", "⌋"):
            open_brackets -= 1
        elif open_brackets == 0 and len(rows) == 1 and rows[0].equals is None and piece.kind in ("EQUAL", "DRAWN"):
            rows[0].equals = piece
            rows[0].equals_column = _width(lines[piece.line - chunk.line][: piece.column])
        rows[-1].pieces.append(piece)
    rows[0].indent_column = _width(lines[rows[0].line - chunk.line][: pieces[0].column])
    if pieces[0].kind in _BLOCK_WORDS:
        rows[0].equals = None
    return rows


def _width(text: str) -> int:
    return display_width(text.expandtabs(_TAB))


# -- comments and blank lines ----------------------------------------------------------------


def _with_comments(code: dict[int, _Row], lines: list[str]) -> list[_Row]:
    """All rows in order: lines of code with the comments behind them, and lines of comment."""
    rows: list[_Row] = []
    blank = False
    for number, line in enumerate(lines, 1):
        row = code.get(number)
        start = _comment_start(line)
        if row is None and start is None:
            blank = blank or not line.strip()
            continue
        row = row or _Row(number)
        if start is not None:
            row.comment, row.comment_column = _comment(line[start:]), _width(line[:start])
        row.blank_before = blank and bool(rows) and not _opens_block(rows[-1])
        rows.append(row)
        blank = False
    _place_comments(rows)
    _set_layers_apart(rows)
    return rows


def _comment_start(line: str) -> int | None:
    in_string = False
    for column, character in enumerate(line):
        if character == '"':
            in_string = not in_string
        elif character == "#" and not in_string:
            return column
    return None


def _comment(text: str) -> str:
    """The comment with a space after its `#`."""
    text = text.rstrip()
    return f"# {text[1:]}" if text[1:2].isalnum() else text


def _opens_block(row: _Row) -> bool:
    return bool(row.pieces) and row.pieces[-1].kind == "COLON"


def _place_comments(rows: list[_Row]) -> None:
    """Give each line of comment the depth of the block that it stands in, by its column."""
    following: list[_Row | None] = [None] * len(rows)
    upcoming: _Row | None = None
    for position in range(len(rows) - 1, -1, -1):
        following[position] = upcoming
        if rows[position].pieces:
            upcoming = rows[position]
    columns: list[int] = [0]
    for row, upcoming in zip(rows, following, strict=True):
        if row.starts:
            columns[row.depth :] = [row.indent_column]
        if row.pieces:
            continue
        if upcoming is not None and not upcoming.starts:
            row.kind = "inside brackets"
            continue
        lowest = upcoming.depth if upcoming is not None else 0
        known = columns + ([upcoming.indent_column] if upcoming is not None and lowest == len(columns) else [])
        fitting = [depth for depth in range(lowest, len(known)) if known[depth] <= row.comment_column]
        row.depth = max(fitting, default=lowest)


def _set_layers_apart(rows: list[_Row]) -> None:
    """A blank line before each layer and the comment that belongs to it."""
    for position, row in enumerate(rows):
        if row.starts and row.kind == "LAYER" and row.depth == 0:
            first = position
            while first and not rows[first].blank_before and not rows[first - 1].pieces and not rows[first - 1].depth:
                first -= 1
            rows[first].blank_before = first > 0


# -- the result ------------------------------------------------------------------------------


def _lay_out(rows: list[_Row]) -> str:
    _align_equals(rows)
    _write_code(rows)
    _align_comments(rows)
    text = "".join(("\n" if row.blank_before else "") + row.text.rstrip() + "\n" for row in rows)
    return text


def _runs(rows: list[_Row], column: Callable[[_Row], int], key: Callable[[_Row], Any]) -> Iterable[list[_Row]]:
    """Runs of neighbouring rows for which `column` is the same place in the text as written."""
    run: list[_Row] = []
    for row in rows:
        if run and (row.blank_before or column(row) != column(run[0]) or key(row) != key(run[0])):
            yield run
            run = []
        if column(row) >= 0:
            run.append(row)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _align_equals(rows: list[_Row]) -> None:
    for run in _runs(rows, lambda row: row.equals_column if row.equals else -1, lambda row: row.depth):
        widths = [display_width(_joined(row.pieces[: _position(row)])) for row in run]
        for row, width in zip(run, widths, strict=True):
            if row.equals is not None:
                row.equals.gap = max(widths) - width + 1


def _position(row: _Row) -> int:
    return next(i for i, piece in enumerate(row.pieces) if piece is row.equals)


def _joined(pieces: list[Piece]) -> str:
    text = "".join(" " * piece.gap + piece.text for piece in pieces)
    return text[pieces[0].gap :] if pieces else ""


@dataclass
class _Open:
    """A bracket that is open at the end of a line."""

    indent: int
    content: int
    column: int
    ends_line: bool


def _write_code(rows: list[_Row]) -> None:
    """The text of each row without its comment, and the indentation of comment lines."""
    brackets: list[_Open] = []
    for row in rows:
        if row.starts or (not row.pieces and row.kind != "inside brackets"):
            brackets.clear()
            row.indent = row.depth * _INDENT
        else:
            row.indent = _continuation(row, brackets)
        row.text = " " * row.indent + _joined(row.pieces)
        _track(row, brackets)
        if row.continued:
            row.text += " \\"


def _continuation(row: _Row, brackets: list[_Open]) -> int:
    if not brackets:
        return (row.depth + 1) * _INDENT
    innermost = brackets[-1]
    closes = bool(row.pieces) and row.pieces[0].text in (")", "]", "}", "⌋")
    if closes:
        return innermost.indent if innermost.ends_line else innermost.column
    return innermost.indent + _INDENT if innermost.ends_line else innermost.content


def _track(row: _Row, brackets: list[_Open]) -> None:
    column = row.indent
    for position, piece in enumerate(row.pieces):
        column += piece.gap if position else 0
        if piece.text in ("(", "[", "{", "⌊"):
            last = position + 1 == len(row.pieces)
            gap = 0 if last else row.pieces[position + 1].gap
            brackets.append(_Open(row.indent, column + 1 + gap, column, last))
        elif piece.text in (")", "]", "}", "⌋") and brackets:
            brackets.pop()
        column += display_width(piece.text)


def _align_comments(rows: list[_Row]) -> None:
    """Put comments two spaces behind the code, in one column where they stood in one column."""

    def column(row: _Row) -> int:
        return row.comment_column if row.comment else -1

    for run in _runs(rows, column, lambda row: None):
        behind = [row for row in run if row.pieces]
        place = max((display_width(row.text) + 2 for row in behind), default=0)
        followed = False
        for row in run:
            followed = followed or bool(row.pieces)
            padding = " " * (place - display_width(row.text.rstrip() if row.pieces else ""))
            if row.pieces:
                row.text = row.text + padding + row.comment
            elif followed:
                row.text = padding + row.comment
            else:
                row.text = " " * row.indent + row.comment
