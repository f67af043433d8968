"""Damages programs, the same way for the same seed: what slips of the hand and misread rules leave behind."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_TOKEN = re.compile(
    r"[^\W\d_](?:_(?!\{)|[^\W_]|['′])*|[0-9]+(?:\.[0-9]+)?|\.\.\.|\.\.|->|<=|>=|==|!=|//|[^\w\s]|_|[ \t]+|\n|\d"
)
_NUMBERS = ("0", "1", "2", "3", "4", "5", "7", "10", "96", "1000", "1000000000000", "0.5", "99999999999999999999")
_OPERATORS = ("+", "-", "*", "/", "//", "%", "^", "==", "<", ">=", ";", ",", "=", "~", "->")
_BRACKETS = "()[]{}"
_CHARACTERS = "abxyBXYΔΦσℓ01295+-*/^=<>()[]{},;:._'\"#~?→²ᵀ⌊⌋ \t\n\\@$\x00\u200b\U0001f642"


def mutant(text: str, others: list[str], seed: int) -> str:
    """`text` with one to three things wrong; `others` are texts to take lines from."""
    chance = random.Random(seed)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        text = chance.choices(_WAYS, _WEIGHTS)[0](text, others, chance)
    return text


def _pick(tokens: list[str], wanted: Callable[[str], bool], chance: random.Random) -> int | None:
    places = [k for k, token in enumerate(tokens) if wanted(token)]
    return chance.choice(places) if places else None


def _is_name(token: str) -> bool:
    return token[0].isalpha()


def _is_number(token: str) -> bool:
    return token[0].isdigit()


def _change_number(text: str, others: list[str], chance: random.Random) -> str:
    tokens = _TOKEN.findall(text)
    at = _pick(tokens, _is_number, chance)
    if at is not None:
        nearby = str(max(0, int(float(tokens[at])) + chance.choice((-1, 1))))
        tokens[at] = chance.choice((nearby, nearby, "-" + tokens[at], *_NUMBERS))
    return "".join(tokens)


def _swap_names(text: str, others: list[str], chance: random.Random) -> str:
    tokens = _TOKEN.findall(text)
    one, other = _pick(tokens, _is_name, chance), _pick(tokens, _is_name, chance)
    if one is not None and other is not None:
        tokens[one], tokens[other] = tokens[other], tokens[one]
    return "".join(tokens)


def _change_name(text: str, others: list[str], chance: random.Random) -> str:
    tokens = _TOKEN.findall(text)
    at = _pick(tokens, _is_name, chance)
    if at is not None:
        elsewhere = [t for t in _TOKEN.findall(chance.choice([text, text, *others])) if _is_name(t)] or ["x"]
        name = tokens[at]
        tokens[at] = chance.choice(
            (name.swapcase(), name[:-1] or "q", name + name[-1], name + "'", *[chance.choice(elsewhere)] * 4)
        )
    return "".join(tokens)


def _change_operator(text: str, others: list[str], chance: random.Random) -> str:
    tokens = _TOKEN.findall(text)
    at = _pick(tokens, lambda token: token in _OPERATORS, chance)
    if at is not None:
        tokens[at] = chance.choice(_OPERATORS)
    return "".join(tokens)


def _change_bracket(text: str, others: list[str], chance: random.Random) -> str:
    tokens = _TOKEN.findall(text)
    at = _pick(tokens, lambda token: token in _BRACKETS, chance)
    if at is not None:
        tokens[at] = chance.choice(("", *_BRACKETS))
    return "".join(tokens)


def _delete_token(text: str, others: list[str], chance: random.Random) -> str:
    tokens = _TOKEN.findall(text)
    if tokens:
        del tokens[chance.randrange(len(tokens))]
    return "".join(tokens)


def _duplicate_token(text: str, others: list[str], chance: random.Random) -> str:
    tokens = _TOKEN.findall(text)
    if tokens:
        at = chance.randrange(len(tokens))
        tokens.insert(at, tokens[chance.choice((at, chance.randrange(len(tokens))))])
    return "".join(tokens)


def _drop_subscript(text: str, others: list[str], chance: random.Random) -> str:
    """Leave out one of several things between commas."""
    places = [m.span() for m in re.finditer(r",\s*[^,\[\](){}\n;]+(?=[,\])])", text)]
    if not places:
        return text
    start, end = chance.choice(places)
    return text[:start] + text[end:]


def _add_subscript(text: str, others: list[str], chance: random.Random) -> str:
    places = [m.end() for m in re.finditer(r"[\[(]", text)]
    if not places:
        return text
    at = chance.choice(places)
    return (
        text[:at]
        + chance.choice(("0, ", "x, ", "B, ", "..., ", "x+1, ", "2*x, ", "x in 0..3, ", "(x,y), "))
        + text[at:]
    )


def _change_characters(text: str, others: list[str], chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    kind = chance.randrange(3)
    if kind == 0:
        return text[:at] + chance.choice(_CHARACTERS) + text[at:]
    if kind == 1:
        return text[:at] + text[at + 1 :]
    return text[:at] + chance.choice(_CHARACTERS) + text[at + 1 :]


def _lines(
    change: Callable[[list[str], list[str], random.Random], None],
) -> Callable[[str, list[str], random.Random], str]:
    def way(text: str, others: list[str], chance: random.Random) -> str:
        lines = text.split("\n")
        change(lines, chance.choice(others).split("\n"), chance)
        return "\n".join(lines)

    return way


def _delete_line(lines: list[str], other: list[str], chance: random.Random) -> None:
    del lines[chance.randrange(len(lines))]


def _duplicate_line(lines: list[str], other: list[str], chance: random.Random) -> None:
    lines.insert(chance.randrange(len(lines)), chance.choice(lines))


def _swap_lines(lines: list[str], other: list[str], chance: random.Random) -> None:
    one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]


def _foreign_line(lines: list[str], other: list[str], chance: random.Random) -> None:
    lines.insert(chance.randrange(len(lines)), chance.choice(other))


def _indent_line(lines: list[str], other: list[str], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    lines[at] = chance.choice(("    ", " ", "\t")) + lines[at] if chance.random() < 0.5 else lines[at].lstrip()


_CHOICES: dict[Callable[[str, list[str], random.Random], str], int] = {
    _change_number: 6, _swap_names: 4, _change_name: 6, _change_operator: 3, _change_bracket: 1, _delete_token: 2,
    _duplicate_token: 1, _drop_subscript: 3, _add_subscript: 3, _change_characters: 3, _lines(_delete_line): 2,
    _lines(_duplicate_line): 1, _lines(_swap_lines): 2, _lines(_foreign_line): 1, _lines(_indent_line): 1,
}  # fmt: skip
_WAYS, _WEIGHTS = list(_CHOICES), list(_CHOICES.values())
