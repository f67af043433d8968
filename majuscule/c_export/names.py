"""Names of a program as identifiers of C."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..compiler.rewriting import new_name
from ..dsl.names import ascii_form

_WORDS = """
alignas alignof and asm auto bitand bitor bool break case catch char class const constexpr continue default
delete do double else enum explicit export extern false float for friend goto if inline int long mutable
namespace new not nullptr operator or private protected public register restrict return short signed sizeof
static struct switch template this throw true try typedef typename union unsigned using virtual void volatile
while xor
"""
_KEYWORDS = frozenset(_WORDS.split())
"""Words of C and C++ that nothing is called."""


def identifier(name: str) -> str:
    """One name in ASCII letters, digits and underlines; it may be a keyword."""
    spelled = re.sub(r"[^A-Za-z0-9_]+", "_", ascii_form(name)).strip("_")
    return spelled if spelled[:1].isalpha() else f"t_{spelled}" if spelled else "t"


def identifiers(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Different identifiers for different names, none of them a keyword or taken."""
    found: dict[str, str] = {}
    used = {*_KEYWORDS, *taken}
    for name in names:
        found[name] = new_name(identifier(name), used)
        used.add(found[name])
    return found
