"""From text to syntax tree: cuts a file into statements and parses each with the grammar.

Statements are parsed one by one, so that a mistake in one hides none in the next, and so
that a library file costs nothing until something in it is used.  `parse` reports syntax
errors as diagnostics; it never raises for a bad text.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from lark import Lark, Token
from lark.exceptions import LarkError, UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError
from lark.indenter import DedentError, Indenter

from . import syntax
from .diagnostics import Diagnostic, Fix, Mistake, shortened
from .equations import Place
from .tree_builder import TreeBuilder

MAXIMUM_NESTING = 60
MAXIMUM_STATEMENT = 200_000
"""Characters; longer statements are refused (a program is written by people)."""

MAXIMUM_STATEMENTS = 10_000
MAXIMUM_PROBLEMS = 100
"""Statements that do not parse, after which the rest of a text is not read."""

_GRAMMAR = Path(__file__).with_name("grammar.lark")
_OPENERS = {"(": ")", "[": "]", "{": "}", "⌊": "⌋"}
_BRACKETS_AND_STRINGS = re.compile(r"[()\[\]{}⌊⌋\"#]")
_CLOSERS = {closer: opener for opener, closer in _OPENERS.items()}


class _Indentation(Indenter):
    NL_type = "_NL"
    OPEN_PAREN_types = ["LPAR", "LSQB", "LBRACE"]  # noqa: RUF012 (declared so by lark)
    CLOSE_PAREN_types = ["RPAR", "RSQB", "RBRACE"]  # noqa: RUF012
    INDENT_type = "_INDENT"
    DEDENT_type = "_DEDENT"
    tab_len = 4


@lru_cache(maxsize=1)
def _lark() -> Lark:
    options: dict[str, Any] = {
        "parser": "lalr",
        "lexer": "basic",
        "postlex": _Indentation(),
        "propagate_positions": True,
        "maybe_placeholders": True,
    }
    grammar = _GRAMMAR.read_text(encoding="utf-8")
    try:
        from platformdirs import user_cache_path

        folder = user_cache_path("majuscule", ensure_exists=True)
        import hashlib

        digest = hashlib.sha256(grammar.encode()).hexdigest()[:16]
        return Lark(grammar, cache=str(folder / f"grammar-{digest}.lark"), **options)
    except OSError:  # no cache folder can be written: build the tables anew
        return Lark(grammar, **options)


@dataclass(frozen=True, slots=True)
class Chunk:
    """The text of one top-level statement; `line` is the 1-based line where it starts."""

    text: str
    line: int


def chunks(text: str, file: str) -> tuple[list[Chunk], list[Diagnostic]]:
    """Cut a text into top-level statements: a line without indentation, outside brackets, starts one."""
    found: list[Chunk] = []
    problems: list[Diagnostic] = []
    lines = text.split("\n")
    start: int | None = None
    open_brackets: list[tuple[str, int, int]] = []
    for number, line in enumerate(lines):
        stripped = line.strip()
        if open_brackets and start is not None and number > start and _starts_definition(line):
            problems.append(_unclosed(open_brackets[-1], file))
            open_brackets.clear()
            start = number
        elif not open_brackets and stripped and not stripped.startswith("#") and not line[0].isspace():
            continued = start is not None and number and lines[number - 1].rstrip().endswith("\\")
            if not continued and not re.match(r"(else|elif)\b", line):
                if start is not None:
                    found.append(_chunk(lines, start, number))
                start = number
        elif start is None and stripped and not stripped.startswith("#"):
            start = number
        problem = _track_brackets(line, number, open_brackets, file)
        if problem is not None:
            problems.append(problem)
            open_brackets.clear()
            start = None
    if open_brackets:
        problems.append(_unclosed(open_brackets[0], file))
    elif start is not None:
        found.append(_chunk(lines, start, len(lines)))
    return found, problems


def _starts_definition(line: str) -> bool:
    """Whether a line inside open brackets looks so much like a new statement that a bracket must be missing."""
    return bool(
        re.match(
            r"(layer|param|[Gg]iven|state|function|output|for|when|import|return)\s+\w.*|[^\W\d][\w']*(\[[^\[\]]*\])?\s*=\s",
            line,
        )
    )


def _chunk(lines: list[str], start: int, end: int) -> Chunk:
    return Chunk("\n".join(lines[start:end]).rstrip() + "\n", start + 1)


def _track_brackets(line: str, number: int, stack: list[tuple[str, int, int]], file: str) -> Diagnostic | None:
    in_string = False
    for match in _BRACKETS_AND_STRINGS.finditer(line):
        column, character = match.start(), match.group()
        if character == '"':
            in_string = not in_string
        elif in_string:
            continue
        elif character == "#":
            break
        elif character in _OPENERS:
            stack.append((character, number, column))
            if len(stack) > MAXIMUM_NESTING:
                return Diagnostic(
                    "E105",
                    f"brackets are nested more than {MAXIMUM_NESTING} deep",
                    _spot(file, number, column),
                    here="one too many",
                    notes=("give the inner part a name of its own and use that",),
                )
        elif character in _CLOSERS:
            if stack and stack[-1][0] == _CLOSERS[character]:
                stack.pop()
                continue
            return _unmatched(character, number, column, stack, file)
    return None


def _unmatched(character: str, number: int, column: int, stack: list[tuple[str, int, int]], file: str) -> Diagnostic:
    place = _spot(file, number, column)
    if not stack:
        return Diagnostic(
            "E103",
            f"this '{character}' closes nothing",
            place,
            here="no bracket is open here",
            fix=Fix(place, "", f"remove the '{character}'"),
        )
    opener, line, opened = stack[-1]
    diagnostic = Diagnostic(
        "E103",
        f"'{opener}' is closed by '{character}'",
        place,
        here=f"expected '{_OPENERS[opener]}'",
        fix=Fix(place, _OPENERS[opener], f"write '{_OPENERS[opener]}' here"),
    )
    from .diagnostics import Label

    return replace(diagnostic, labels=(Label(_spot(file, line, opened), f"'{opener}' opened here"),))


def _unclosed(bracket: tuple[str, int, int], file: str) -> Diagnostic:
    opener, line, column = bracket
    return Diagnostic(
        "E104",
        f"this '{opener}' is never closed",
        _spot(file, line, column),
        here="opened here",
        notes=(f"add the missing '{_OPENERS[opener]}'",),
    )


def _spot(file: str, line: int, column: int, length: int = 1) -> Place:
    """A place from 0-based line and column."""
    return Place(file, line + 1, column + 1, line + 1, column + 1 + length)


@dataclass(frozen=True)
class Parsed:
    """The statements of a text that could be parsed, and what is wrong with the rest."""

    statements: tuple[syntax.Statement, ...]
    problems: tuple[Diagnostic, ...]


_BLANKS = dict.fromkeys((0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), " ")
"""Spaces of other widths, as documents and web pages have them."""


def plain_text(text: str) -> str:
    """A text without a byte order mark, with `\\n` at the ends of lines and with one kind of space."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").translate(_BLANKS)


def parse(text: str, file: str) -> Parsed:
    """Parse a whole text."""
    text = plain_text(text)
    pieces, problems = chunks(text, file)
    statements: list[syntax.Statement] = []
    if len(pieces) > MAXIMUM_STATEMENTS:
        return Parsed((), (_too_many(pieces[MAXIMUM_STATEMENTS], len(pieces), file),))
    for piece in pieces:
        if len(problems) >= MAXIMUM_PROBLEMS:
            problems[MAXIMUM_PROBLEMS:] = [_given_up(piece, file)]
            break
        try:
            statements.append(parse_chunk(piece, file))
        except Mistake as mistake:
            problems.append(mistake.diagnostic)
    problems.sort(key=lambda d: (d.place.line, d.place.column))
    return Parsed(tuple(statements), tuple(problems))


def _too_many(piece: Chunk, count: int, file: str) -> Diagnostic:
    return Diagnostic(
        "E119",
        f"this file has {count:,} statements; at most {MAXIMUM_STATEMENTS:,} are read",
        _spot(file, piece.line - 1, 0),
        here="this one is too many",
        notes=("a `for` loop repeats statements, and `import` brings in those of other files",),
    )


def _given_up(piece: Chunk, file: str) -> Diagnostic:
    return Diagnostic(
        "N502",
        f"reading stops here, after {MAXIMUM_PROBLEMS} statements that cannot be read",
        _spot(file, piece.line - 1, 0),
        severity="note",
    )


def parse_chunk(chunk: Chunk, file: str) -> syntax.Statement:
    """Parse one statement; raises Mistake."""
    if len(chunk.text) > MAXIMUM_STATEMENT:
        raise Mistake(
            Diagnostic(
                "E106",
                f"this statement is {len(chunk.text):,} characters long; at most {MAXIMUM_STATEMENT:,} are read",
                _spot(file, chunk.line - 1, 0),
                notes=("break it into several statements, or keep numbers in a file of weights",),
            )
        )
    try:
        tree = _lark().parse(_without_comment_lines(chunk.text))
        statement: syntax.Statement = TreeBuilder(file, chunk.line - 1).transform(tree)
        return statement
    except VisitError as failure:
        if isinstance(failure.orig_exc, Mistake):
            raise failure.orig_exc from None
        if isinstance(failure.orig_exc, RecursionError):
            raise _too_deep(chunk, file) from None
        raise
    except RecursionError:
        raise _too_deep(chunk, file) from None
    except DedentError:
        raise Mistake(_bad_indentation(chunk, file)) from None
    except UnexpectedInput as failure:
        raise Mistake(_explain(failure, chunk, file)) from None
    except LarkError as failure:
        raise Mistake(Diagnostic("E101", str(failure).splitlines()[0], _spot(file, chunk.line - 1, 0))) from None


def _too_deep(chunk: Chunk, file: str) -> Mistake:
    return Mistake(
        Diagnostic(
            "E105",
            "this statement is nested too deeply, or too long, to be read",
            _spot(file, chunk.line - 1, 0),
            notes=("give parts of it names of their own and use those",),
        )
    )


def _bad_indentation(chunk: Chunk, file: str) -> Diagnostic:
    levels = [0]
    for offset, line in enumerate(chunk.text.split("\n")):
        if not line.strip() or line.strip().startswith("#"):
            continue
        depth = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
        closes = depth < levels[-1]
        while depth < levels[-1]:
            levels.pop()
        if depth > levels[-1]:
            if (closes or len(levels) > 1) and offset and not _previous_opens_block(chunk.text, offset):
                return _indentation_error(file, chunk.line + offset, line)
            levels.append(depth)
    return _indentation_error(file, chunk.line, chunk.text.split("\n")[0])


def _previous_opens_block(text: str, offset: int) -> bool:
    before = [line for line in text.split("\n")[:offset] if line.strip() and not line.strip().startswith("#")]
    return bool(before) and before[-1].split("#")[0].rstrip().endswith(":")


def _indentation_error(file: str, line: int, text: str) -> Diagnostic:
    depth = len(text) - len(text.lstrip())
    return Diagnostic(
        "E107",
        "the indentation of this line matches no block",
        Place(file, line, 1, line, max(2, depth + 1)),
        notes=("the statements of a block start in the same column",),
    )


_COMMENT_LINE = re.compile(r"^[ \t\f]*#[^\n]*", re.MULTILINE)


def _without_comment_lines(text: str) -> str:
    """Empty the lines that hold only a comment, since their indentation opens and closes no block."""
    return _COMMENT_LINE.sub("", text)


# -- explaining syntax errors ------------------------------------------------------------------


def _explain(failure: UnexpectedInput, chunk: Chunk, file: str) -> Diagnostic:
    if isinstance(failure, UnexpectedCharacters):
        return _explain_character(failure, chunk, file)
    if isinstance(failure, UnexpectedToken):
        return _explain_token(failure, chunk, file)
    return Diagnostic("E116", "the statement ends too early", _end_of(chunk, file), here="something is missing here")


_LOOKALIKES = {
    "‘": "'", "’": "'", "“": '"', "”": '"', "÷": "/", "，": ",", "；": ";", "（": "(", "）": ")",
    "!": "not ", "&": " and ", "|": " or ", "$": "", "%": "%", "\\": "", "'": '"',
}  # fmt: skip


def _explain_character(failure: UnexpectedCharacters, chunk: Chunk, file: str) -> Diagnostic:
    character = failure.char
    place = _spot(file, chunk.line - 1 + failure.line - 1, failure.column - 1)
    if character == '"':
        return Diagnostic("E108", "this string is never closed", place, here='a string ends on its own line, with "')
    meant = _LOOKALIKES.get(character) or unicodedata.normalize("NFKC", character)
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    notes: tuple[str, ...] = ()
    fix = None
    if unicodedata.category(character) in ("Cf", "Cc"):
        notes = ("it cannot be seen, and came perhaps from a document or a web page",)
        fix = Fix(place, "", "remove it")
    elif character == "@":
        notes = ("a product of matrices names its indices: `y[b,j] = x[b,I] * W[I,j]`",)
    elif meant != character and meant.isascii():
        fix = Fix(place, meant, f"write '{meant.strip()}'")
    return Diagnostic("E102", f"the character '{shown}' has no meaning here", place, notes=notes, fix=fix)


_EXPECTED_WORDS = {
    "RPAR": "')'", "RSQB": "']'", "RBRACE": "'}'", "EQUAL": "'='", "COMMA": "','", "COLON": "':'",
    "_NL": "the end of the line", "_INDENT": "an indented block", "NAME": "a name", "NUMBER": "a number",
    "IF": "'if'", "OTHERWISE": "'otherwise'", "DOTS": "'..'", "IN": "'in'", "LPAR": "'('", "LSQB": "'['",
    "STRING": "a string", "ARROW": "'->'", "LBRACE": "'{'",
}  # fmt: skip


def _explain_token(failure: UnexpectedToken, chunk: Chunk, file: str) -> Diagnostic:
    token = failure.token
    if token.type == "$END" or (token.type == "_NL" and not token.strip("\n \t")):
        place = _end_of(chunk, file) if token.type == "$END" else _token_place(token, chunk, file, 1)
    else:
        place = _token_place(token, chunk, file, max(1, len(str(token).split("\n")[0])))
    expected = set(failure.accepts or failure.expected or ())
    special = _special_token_error(token, expected, place, chunk)
    if special is not None:
        return special
    words = [word for kind, word in _EXPECTED_WORDS.items() if kind in expected]
    wanted = f"expected {_alternatives(words)}" if 0 < len(words) <= 4 else ""
    if {"NAME", "NUMBER", "LPAR"} <= expected:
        wanted = "expected an expression"
    note, fix = _habit(token, place, chunk)
    if token.type in ("_NL", "$END"):
        ended = "the statement ends too early"
        return Diagnostic("E116", ended, place, here=wanted or "something is missing here", notes=note, fix=fix)
    return Diagnostic("E101", f"'{shortened(str(token))}' cannot stand here", place, here=wanted, notes=note, fix=fix)


_FOREIGN_WORDS = {
    "def": "a formula for numbers is a `function f(x) = …`, a set of equations a `layer F(L[..., i]):`",
    "class": "a set of equations with a name is a `layer F(L[..., i]):`",
    "lambda": "a formula for numbers is a `function f(x) = …`",
    "input": "inputs are declared with `Given x[28, 28, 1]`",
    "inputs": "inputs are declared with `Given x[28, 28, 1]`",
    "let": "a definition needs no word before it: `y = 2*x`",
    "var": "a definition needs no word before it: `y = 2*x`",
    "const": "a definition needs no word before it: `y = 2*x`",
    "parameter": "parameters are declared with `param W[3, 4]`",
    "params": "parameters are declared with `param W[3, 4]`",
    "weight": "parameters are declared with `param W[3, 4]`",
    "weights": "parameters are declared with `param W[3, 4]`",
    "while": "a loop that counts while compiling is `for i in 0..3:`; one over time is a recurrence, `h[b,t-1,j]`",
    "from": 'files are imported as in `from "layers.maj" import Block`',
    "import": 'files are imported as in `import "layers.maj"`; the standard library needs no import',
}
"""First words of statements in other languages -> how the same is said here."""


def _habit(token: Token, place: Place, chunk: Chunk) -> tuple[tuple[str, ...], Fix | None]:
    """A note, and a correction, for what is right in another language."""
    line = chunk.text.split("\n")[max(0, place.line - chunk.line)]
    before, rest = line[: place.column - 1], line[place.column - 1 :]
    semicolon = re.search(r";[ \t]*(#.*)?$", line)
    if semicolon is not None and (token.type == "SEMICOLON" or not rest.strip()):
        column = semicolon.start()
        spot = Place(place.file, place.line, column + 1, place.line, column + 2)
        return ("a statement ends with its line; `;` stands between the pieces of a concatenation",), Fix(
            spot, "", "remove the ';'"
        )
    if token.type == "DOUBLE_SLASH" and before.strip():
        return ("a comment starts with `#`; `//` divides and rounds down",), None
    if re.search(r"\bin\s+range\s*\(", before):
        return ("a range is written `0..3`",), None
    word = re.match(r"\s*(\w+)", line)
    known = _FOREIGN_WORDS.get(word.group(1).lower()) if word else None
    return ((known,) if known else ()), None


def _special_token_error(token: Token, expected: set[str], place: Place, chunk: Chunk) -> Diagnostic | None:
    line = chunk.text.split("\n")[max(0, place.line - chunk.line)]
    if token.type == "_INDENT" or (line[:1].isspace() and place.line == chunk.line):
        return Diagnostic(
            "E107",
            "this line is indented, but no block is open",
            _indentation_place(token, place, chunk),
            notes=("only the lines of a layer, for, if or when block are indented",),
        )
    if token.type == "_NL" and "COLON" in expected and re.match(r"\s*(layer|for|if|elif|else|when)\b", line):
        return Diagnostic(
            "E109",
            "a ':' is missing at the end of this line",
            place,
            fix=Fix(place, ":\n", "add ':' at the end of the line"),
        )
    if (
        token.type not in ("REDUCER", "REDUCER_OF")
        and token.line == token.column == 1
        and re.match(r"[^=]*[^=<>!~]=[^=]", line)
    ):
        return _not_a_name(place)
    if "_INDENT" in expected and token.type not in ("_NL",):
        return Diagnostic("E117", "this block is empty", place, here="its statements must be indented")
    if token.type == "EQUAL" and "COMPARE" in expected and re.match(r"\s*(if|elif|when)\b", line):
        return Diagnostic(
            "E110", "a comparison is written with '=='", place, fix=Fix(place, "==", "write '==' to compare")
        )
    before = line[: place.column - 1]
    if token.type == "EQUAL" and re.search(r"[^=<>!~]=[^=]", before):
        return Diagnostic(
            "E101",
            "'=' cannot stand here",
            place,
            here="a definition has one '='",
            notes=("'==' asks whether two values are equal",),
        )
    operators = ("STAR", "SLASH", "DOUBLE_SLASH", "PLUS", "MINUS", "CARET", "PERCENT", "NAME", "LPAR", "SUPERSCRIPT")
    if token.type == "EQUAL" or ("EQUAL" in expected and token.type in operators and re.search(r"[^=]=[^=]", line)):
        return _not_a_name(place)
    if token.type in ("REDUCER", "REDUCER_OF", "REDUCER_ONE"):
        word = str(token).split("_")[0]
        return Diagnostic(
            "E111",
            f"'{word}' cannot name a tensor",
            place,
            here="this is a word of the language",
            notes=(f"`{word}[i](…)` goes over an axis; choose another name for the result",),
        )
    if "NAME" not in expected and token.type == "RSQB" and "LPAR" in expected:
        return None
    if "LPAR" in expected and expected <= {"LPAR"}:
        written = re.search(r"([^\W\d_]+)\s*\[([^\[\]]*)\]\s*$", before)
        word, indices = written.groups() if written else ("sum", "i")
        return Diagnostic(
            "E112",
            f"`{word}[{indices}]` takes its argument in parentheses",
            place,
            here="expected '('",
            notes=(f"write `{word}[{indices}](…)`, or `{word}_{{{indices}}} …` to reach to the end of the term",),
        )
    return None


def _indentation_place(token: Token, place: Place, chunk: Chunk) -> Place:
    """The blank start of the line that is indented; the token stands at the end of the line before."""
    lines = chunk.text.split("\n")
    number = place.line - chunk.line
    if token.type == "_INDENT":
        number = next((k for k in range(number + 1, len(lines)) if lines[k].strip()), number)
    line = lines[number]
    depth = len(line) - len(line.lstrip())
    return Place(place.file, chunk.line + number, 1, chunk.line + number, max(2, depth + 1))


def _not_a_name(place: Place) -> Diagnostic:
    return Diagnostic(
        "E118",
        "only a name with subscripts can stand on the left of '='",
        place,
        notes=("a definition reads `T[i, j] = …`; an equation is not solved for its unknowns",),
    )


def _alternatives(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _token_place(token: Token, chunk: Chunk, file: str, length: int) -> Place:
    line = chunk.line - 1 + (token.line or 1) - 1
    return _spot(file, line, (token.column or 1) - 1, length)


def _end_of(chunk: Chunk, file: str) -> Place:
    lines = chunk.text.rstrip("\n").split("\n")
    return _spot(file, chunk.line - 1 + len(lines) - 1, len(lines[-1]))


def chunk_tokens(chunk: Chunk) -> list[Token]:
    """The tokens of one statement that parses, comments left out, as the formatter needs them.

    Lines and columns are 1-based and count from the start of the statement.  `_NL`,
    `_INDENT` and `_DEDENT` tokens tell lines and blocks apart.
    """
    return list(_lark().parse_interactive(_without_comment_lines(chunk.text)).iter_parse())
