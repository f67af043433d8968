"""The formatter: layout, comments, spellings; the same tree before and after; stable."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from majuscule.dsl import syntax
from majuscule.dsl.diagnostics import SourceErrors
from majuscule.dsl.formatter import format_text
from majuscule.dsl.names import index_name
from majuscule.dsl.parser import parse


def tree(text: str) -> Any:
    """The syntax tree of a text as nested tuples without places."""

    def plain(node: Any) -> Any:
        if isinstance(node, syntax.Node):
            names = [name for name in node.__dataclass_fields__ if name != "place"]
            return (type(node).__name__, *(plain(getattr(node, name)) for name in names))
        return tuple(map(plain, node)) if isinstance(node, tuple) else node

    parsed = parse(text, "test.maj")
    assert not parsed.problems
    return plain(parsed.statements)


def indices_equal(node: Any) -> Any:
    """A tree in which `DX` and `ΔX` are one."""
    if isinstance(node, tuple):
        return tuple(map(indices_equal, node))
    return index_name(node) if isinstance(node, str) else node


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a=1", "a = 1"),
        ("Given   Input[227,227 , 3]", "Given Input[227, 227, 3]"),
        ("L1[55x55x96]=ReLU( CONV(Input,Φ1,width 11,pad 0) )", "L1[55x55x96] = ReLU(CONV(Input, Φ1, width 11, pad 0))"),
        ("y[b, j]=W[ j,I ]*x[b,I]+B[j]", "y[b,j] = W[j,I] * x[b,I] + B[j]"),
        ("y[b,x]=L[b,s * x+d*ΔX]*W[ΔX]", "y[b,x] = L[b, s*x + d*ΔX] * W[ΔX]"),
        ("y[b,x]=L[b,x + ΔX]W[ΔX]", "y[b,x] = L[b,x+ΔX] W[ΔX]"),
        ("y[x,z] = L[s*x+ΔX, z+ΔZ] * W[ΔX,ΔZ]", "y[x,z] = L[s*x + ΔX, z + ΔZ] * W[ΔX,ΔZ]"),
        ("h[b,t,j] = a[b,t - 1,j]", "h[b,t,j] = a[b,t-1,j]"),
        ("y[i] = a[i]/b[i]-1/2*c", "y[i] = a[i] / b[i] - 1/2*c"),
        ("y[i] = -  a[i]^ 2", "y[i] = -a[i]^2"),
        ("y = 2 * - x", "y = 2 * -x"),
        ("n = (X-1) * s-2 * p", "n = (X - 1)*s - 2*p"),
        ("y = 1 / B*f(x)*2", "y = 1/B * f(x) * 2"),
        ("y = 0.5*x*(1+f(x))", "y = 0.5 * x * (1 + f(x))"),
        ("y = conv(x, filters n * I, pad (F-1) // 2)", "y = conv(x, filters n*I, pad (F - 1)//2)"),
        ("y[..., j] = x[..., j]", "y[..., j] = x[..., j]"),
        ("a = I%2 == 0", "a = I % 2 == 0"),
        ("y[b,x] = Σ_{ Δx }  L[b,x+Δx]", "y[b,x] = Σ_{Δx} L[b,x+Δx]"),
        ("y[j] = 2  Σ_b  x[b,j]", "y[j] = 2 Σ_b x[b,j]"),
        ("y[j] = -∑_b(x[b,j]-1)²", "y[j] = -∑_b (x[b,j] - 1)²"),
        ("y[b]=max[ x in 0 .. 3 ] ( L[b,x] )", "y[b] = max[x in 0..3](L[b,x])"),
        ("L[b,J1 + J2] = A[b,J1];C[b,J2]", "L[b,J1+J2] = A[b,J1] ; C[b,J2]"),
        ("M[( b,x ),( I , J )] = L[b,x,I,J]", "M[(b,x),(I,J)] = L[b,x,I,J]"),
        ("y[j] = {a[j] if j<J;0 otherwise}", "y[j] = { a[j] if j < J ; 0 otherwise }"),
        ("n = x->[[A->B] * 2->P ?]*M", "n = x -> [[A -> B]*2 -> P?]*M"),
        ("L_{ l+1 } = f( L_{l} )", "L_{l+1} = f(L_{l})"),
        ("y = pool(x, width (3 , 2), pad 0)", "y = pool(x, width (3, 2), pad 0)"),
        ("y = f (x)", "y = f(x)"),
        ("y = max(0.1x, x)", "y = max(0.1x, x)"),
        ("param W[F,F,I,J]~xavier untrained", "param W[F, F, I, J] ~ xavier untrained"),
        ("y [b,j] : float64=x[b,j]", "y[b,j]: float64 = x[b,j]"),
        ("e[x] = L[ ⌊ x/2 ⌋ ]", "e[x] = L[⌊x/2⌋]"),
        ("K = [[0,1],[1,-4]]", "K = [[0, 1], [1, -4]]"),
        ("a = not b and c<=2", "a = not b and c <= 2"),
    ],
)
def test_one_line(written: str, expected: str) -> None:
    assert format_text(written) == expected + "\n"
    assert format_text(expected) == expected + "\n"


def test_blocks_are_indented_by_four_and_comments_follow_their_block() -> None:
    written = (
        "layer F(x):\n"
        "  # of the layer\n"
        "  if a:\n"
        "     y = 1   #why\n"
        "     # still inside\n"
        "  # after the if\n"
        "  return x\n"
        "# top level\n"
        "z = 2\n"
    )
    expected = (
        "layer F(x):\n"
        "    # of the layer\n"
        "    if a:\n"
        "        y = 1  # why\n"
        "        # still inside\n"
        "    # after the if\n"
        "    return x\n"
        "# top level\n"
        "z = 2\n"
    )
    assert format_text(written) == expected


def test_blank_lines_become_one_and_layers_stand_apart() -> None:
    written = "\n\na = 1\n\n\n\nb = 2\n# about F\nlayer F(x):\n\n    return x\n\n\n"
    assert format_text(written) == "a = 1\n\nb = 2\n\n# about F\nlayer F(x):\n    return x\n"


def test_equals_signs_that_stood_in_one_column_stay_so() -> None:
    written = "L1[5x5]    =  f(x)\nlonger[5]  =g(L1)\n\na = 1\nbcd = 2\n"
    assert format_text(written) == "L1[5x5]   = f(x)\nlonger[5] = g(L1)\n\na = 1\nbcd = 2\n"


def test_comments_that_stood_in_one_column_stay_so() -> None:
    written = "a=1     # one\nbcd=2   # two\n        # and more\ne=3 # apart\n"
    assert format_text(written) == "a = 1    # one\nbcd = 2  # two\n         # and more\ne = 3  # apart\n"


def test_combining_marks_take_no_column() -> None:
    written = "L̃[b]  = f(x)\nLL[b] = g(x)\n".replace("L̃[b]  =", "L̃[b]  =")
    lines = format_text(written).splitlines()
    assert lines[0] == "L̃[b]  = f(x)"
    assert lines[1] == "LL[b] = g(x)"


def test_lines_within_brackets_keep_their_breaks() -> None:
    written = "K = [[0,1], # a\n [1,0],\n\n   # b\n  [2,2]]\ny = f(\nx,\n  y\n   )\n"
    expected = "K = [[0, 1],  # a\n     [1, 0],\n\n     # b\n     [2, 2]]\ny = f(\n    x,\n    y\n)\n"
    assert format_text(written) == expected


def test_columns_of_a_matrix_that_were_aligned_stay_so() -> None:
    written = "K = [[0,  1,0],\n     [ 1,-4, 10],\n     [0, 1, 0]]\n"
    expected = "K = [[0,  1,  0],\n     [1, -4, 10],\n     [0,  1,  0]]\n"
    assert format_text(written) == expected
    assert format_text(expected) == expected


def test_backslashes_continue_a_line() -> None:
    assert format_text("a = b   \\\n + c\n") == "a = b \\\n    + c\n"


def test_ascii_spelling() -> None:
    written = "Φ_1 = 2\ny[b,x]=Σ_{Δx}W[Δx]·L[b,⌊x/2⌋+Δx]² − (σ(b) if b ≤ 1 else 0)"
    expected = "Phi_1 = 2\ny[b,x] = sum_{dx} W[dx] * L[b, (x//2) + dx]^2 - (sigma(b) if b <= 1 else 0)\n"
    assert format_text(written, ascii=True) == expected


def test_unicode_spelling() -> None:
    written = "Phi_1 = 2\ny[b,x] = sum_{dx} W[dx] * L[b,x+dx]^2 − sigma(b <= 1)\nn = x -> A"
    expected = "Φ_1 = 2\ny[b,x] = Σ_{Δx} W[Δx] * L[b,x+Δx]² - σ(b ≤ 1)\nn = x → A\n"
    assert format_text(written, ascii=False) == expected


def test_a_number_called_dk_is_no_index() -> None:
    written = "dk = 2\ny[x] = L[dk*x]\n"
    assert format_text(written, ascii=False) == written


def test_the_writers_spelling_is_left_alone() -> None:
    written = "y[b] = sigma(W[DX] * L[b,DX] − 1 ≤ Φ)\n"
    assert format_text(written) == written


def test_spaces_of_other_widths_become_plain_ones() -> None:
    assert format_text("Given\u00a0x[3]\ny\u2009=\u202f2 * x\n") == "Given x[3]\ny = 2*x\n"


def test_line_endings_follow_the_first_line() -> None:
    assert format_text("a=1\r\nb=2\r\n") == "a = 1\r\nb = 2\r\n"
    assert format_text("\ufeffa=1") == "a = 1\n"


@pytest.mark.parametrize("text", ["", "\n\n", "   \n"])
def test_nothing_stays_nothing(text: str) -> None:
    assert format_text(text) == ""


def test_only_comments() -> None:
    assert format_text("   #hello\n\n\n#!x\n#\n") == "# hello\n\n#!x\n#\n"


def test_errors_are_reported_with_their_place() -> None:
    with pytest.raises(SourceErrors) as caught:
        format_text("a = 1\nb = (2\nc = ]\n", name="wrong.maj")
    assert {d.place.file for d in caught.value.diagnostics} == {"wrong.maj"}
    assert min(d.place.line for d in caught.value.diagnostics) == 2


# -- every program -----------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "x", "W", "L1", "Φ_1", "Phi", "ΔX", "dx", "DX", "L̃", "h'", "σ", "mu", "size", "L₇"])
NUMBERS = st.sampled_from(["0", "1", "2", "3", "11", "0.1", "1e-5"])
COMPARISONS = st.sampled_from(["<", "≤", "!="])
HEADERS = st.sampled_from(["layer F(x[b,j], Φ, width  F=1) :", "for l in 1 .. 5:", "if a==1:", "when training:"])
SPACES = st.sampled_from(["", " ", "  ", "\t"])


def joined(*parts: Any) -> Any:
    """Parts with random white space between them, at least where words would grow together."""

    def join(values: list[Any]) -> str:
        text = ""
        for part, blank in zip(values[::2], values[1::2], strict=True):
            grows = bool(text) and bool(part) and re.match(r"[\w.']", text[-1]) and re.match(r"[\w.']", part[0])
            text += (blank or " " if grows else blank) + part
        return text.strip()

    return st.tuples(*(item for part in parts for item in (part, SPACES))).map(list).map(join)


def listed(items: Any, least: int = 1) -> Any:
    return (
        st.lists(items, min_size=least, max_size=3)
        .flatmap(lambda found: joined(*(st.just(p) for item in found for p in (item, ","))) if found else st.just(""))
        .map(lambda text: text.removesuffix(",").rstrip())
    )


def word(text: str) -> Any:
    return st.just(text)


def larger(inner: Any) -> Any:
    operator = st.sampled_from(["+", "-", "−", "*", "·", "/", "//", "%"])
    return st.one_of(
        joined(inner, operator, inner),
        joined(word("("), inner, word(")"), st.sampled_from(["^", "**"]), NUMBERS),
        joined(NAMES, word("["), listed(inner), word("]")),
        joined(NAMES, word("["), listed(inner), word("]"), NAMES, word("["), listed(inner), word("]")),
        joined(NAMES, word("("), listed(inner), word(")")),
        joined(NAMES, word("("), inner, word(", width "), NUMBERS, word(","), NAMES, word(":"), inner, word(")")),
        joined(word("("), inner, word(")")),
        joined(word("⌊"), inner, word("/"), NUMBERS, word("⌋")),
        joined(word("-"), word("("), inner, word(")")),
        joined(word("{"), inner, word("if "), NAMES, COMPARISONS, inner, word(";"), inner, word(" otherwise }")),
        joined(word("sum["), NAMES, word("in "), NUMBERS, word(".."), inner, word("]("), inner, word(")")),
        joined(word("Σ_{"), listed(NAMES), word("}"), inner),
        joined(word("["), listed(inner), word("]")),
        joined(NAMES, word("²")),
    )


EXPRESSIONS = st.recursive(NAMES | NUMBERS, larger, max_leaves=8)
COMMENTS = st.sampled_from(["", "", "", "#note", "   # a note", " # ( [", '# "q'])
STATEMENTS = st.one_of(
    joined(NAMES, word("="), EXPRESSIONS),
    joined(NAMES, word("["), listed(NAMES), word("]"), word("="), EXPRESSIONS),
    joined(word("param W["), listed(NAMES | NUMBERS), word("]"), word("~"), NAMES),
    joined(word("Given Input["), listed(NUMBERS), word("]")),
    joined(NAMES, word("="), NAMES, word("->"), word("["), NAMES, word("->"), NAMES, word("]"), word("*"), NUMBERS),
    joined(NAMES, word("["), word("J1+J2"), word("]="), EXPRESSIONS, word(";"), EXPRESSIONS),
    joined(word("output "), listed(NAMES)),
)


@st.composite
def programs(draw: Any) -> str:
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        lines += draw(st.sampled_from([[], [""], ["", "", ""], ["# own line"], ["    # far", ""]]))
        if draw(st.booleans()):
            lines.append(draw(STATEMENTS) + draw(COMMENTS))
            continue
        header = draw(HEADERS)
        indent = draw(st.sampled_from([" ", "  ", "    ", "\t"]))
        lines.append(header + draw(COMMENTS))
        for _ in range(draw(st.integers(1, 2))):
            lines += draw(st.sampled_from([[], [""], [indent + "# inside"], ["# outside"], [indent * 3 + "# deep"]]))
            lines.append(indent + draw(STATEMENTS) + draw(COMMENTS))
    return "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n# end"]))


def comments(text: str) -> list[str]:
    found = []
    for line in text.splitlines():
        match = re.match(r'(?:[^"#]|"[^"]*")*(#.*)', line)
        if match:
            found.append(re.sub(r"^# ?", "", match.group(1)).strip())
    return found


@settings(max_examples=100, deadline=None)
@given(programs())
def test_the_tree_and_the_comments_stay_and_formatting_again_changes_nothing(text: str) -> None:
    if parse(text, "t").problems:
        with pytest.raises(SourceErrors):
            format_text(text)
        return
    once = format_text(text)
    assert tree(once) == tree(text)
    assert comments(once) == comments(text)
    assert format_text(once) == once
    assert "\n\n\n" not in once
    assert not re.search(r"[ \t]$", once, re.MULTILINE)


@settings(max_examples=60, deadline=None)
@given(programs(), st.booleans())
def test_spelling_changes_no_tree(text: str, ascii: bool) -> None:
    if parse(text, "t").problems:
        return
    once = format_text(text, ascii=ascii)
    assert format_text(once, ascii=ascii) == once
    assert comments(once) == comments(text)
    if "⌊" not in text:
        assert indices_equal(tree(once)) == indices_equal(tree(text))
