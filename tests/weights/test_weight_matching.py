"""Which tensor becomes which weight: by name, by rules, in order, and never by a guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest

import majuscule
from majuscule.exchange.names import Rule
from majuscule.runtime.errors import WeightsError
from majuscule.runtime.tensor_files import write_tensors

MLP = """
Given x[4]
L1 = relu(FC(x, Φ1, units 4))
L2 = relu(FC(L1, Φ2, units 4))
y = FC(L2, Φ3, units 3)
"""


def tensors(**shapes: tuple[int, ...]) -> dict[str, Any]:
    """Tensors of these shapes, each with numbers of its own; `_` in a name is a dot."""
    generator = numpy.random.default_rng(0)
    return {name.replace("_", "."): generator.random(shape, numpy.float32) for name, shape in shapes.items()}


def linear(*names: str, last: int = 3) -> dict[str, Any]:
    """The tensors of three linear layers with these names."""
    found = {}
    for number, name in enumerate(names):
        units = last if number == len(names) - 1 else 4
        made = tensors(weight=(units, 4), bias=(units,))
        found |= {f"{name}.{leaf}": array + number for leaf, array in made.items()}
    return found


def assert_imported(given: dict[str, Any], *names: str, **choices: Any) -> Any:
    """Import tensors of layers with these names, and check that they are Φ1, Φ2, Φ3."""
    weights, report = majuscule.import_weights(MLP, given, **choices)
    for number, name in enumerate(names, 1):
        assert numpy.array_equal(weights[f"Φ{number}.W"], given[f"{name}.weight"].T)
        assert numpy.array_equal(weights[f"Φ{number}.B"], given[f"{name}.bias"])
    return report


def test_names_of_layers_whatever_their_order_and_spelling() -> None:
    given = linear("Φ2", "Phi1", "Φ3")
    report = assert_imported(given, "Phi1", "Φ2", "Φ3")
    assert {pair.how for pair in report.pairs} == {"name"}
    wrapped = {f"module._orig_mod.{name}": array for name, array in given.items()}
    majuscule.import_weights(MLP, wrapped, by="name")


def test_the_order_of_definition() -> None:
    report = assert_imported(linear("0", "2", "4"), "0", "2", "4")
    assert {pair.how for pair in report.pairs} == {"order"}
    with pytest.raises(WeightsError, match="no tensor of the file has its name"):
        majuscule.import_weights(MLP, linear("0", "2", "4"), by="name")


def test_what_could_be_matched_in_two_ways_is_left() -> None:
    given = linear("0", "1", "2", "3")
    with pytest.raises(WeightsError, match=r"Φ1\.W: 2 tensors of the file fit: 0\.weight, 1\.weight\n") as caught:
        majuscule.import_weights(MLP, given)
    assert "Φ3.W" not in str(caught.value)  # the last fits in one way
    assert "Φ2.W: 2 tensors of the file fit: 1.weight, 2.weight" in str(caught.value)


def test_what_is_skipped_makes_the_rest_certain() -> None:
    given = linear("0", "aux1", "1", last=4) | linear("2")
    with pytest.raises(WeightsError, match="tensors of the file fit"):
        majuscule.import_weights(MLP, given)
    report = assert_imported(given, "0", "1", "2", skip=["aux*"])
    assert report.left_in_file == dict.fromkeys(("aux1.weight", "aux1.bias"), "left out, as asked for")


def test_rules_rename_parts_of_names() -> None:
    report = assert_imported(
        linear("net.layer1.fc", "net.layer0.fc", "head"), "net.layer0.fc", "net.layer1.fc", "head",
        rename=["layer*.fc=Φ{1+1}", "net.*=*", "head=Φ3"],
    )  # fmt: skip
    assert {pair.how for pair in report.pairs} == {"rule"}


@pytest.mark.parametrize(
    ("rule", "name", "result"),
    [
        ("layer*.*=block{1}_{2+1}", "layer2.0.conv1.weight", "block2_1.conv1.weight"),
        ("bn*=norm*", "layer1.0.bn2.bias", "layer1.0.norm2.bias"),
        ("features.*.weight=Φ*", "features.12.weight", "Φ12"),
        ("*.*=*-*", "a.b.c", "a-b.c"),
        ("*.*={2}{1}", "a.b.c", "ba.c"),
        ("b{=c", "a.b{", "a.c"),
        ("layer*=block{1-1}", "layer10", "block9"),
        ("bn*=norm*", "layer1.abn2.bias", None),
        ("conv=c", "conv1.weight", None),
    ],
)
def test_rules(rule: str, name: str, result: str | None) -> None:
    assert Rule.parse(rule).apply(name) == result


@pytest.mark.parametrize("rule", ["", "a", "=b", "a=", "a=*", "a*={2}", "a*={0}", "*=**"])
def test_rules_that_say_nothing_are_refused(rule: str) -> None:
    with pytest.raises(WeightsError, match="rule"):
        Rule.parse(rule)


def test_rules_that_match_nothing_are_refused() -> None:
    for choices in ({"rename": ["layr*=Φ*"]}, {"skip": ["aux*"]}, {"rename": ["0=Φ1", "0=Φ2"]}):
        with pytest.raises(WeightsError, match="no tensor of the file has a name that matches"):
            majuscule.import_weights(MLP, linear("0", "1", "2"), **choices)
    with pytest.raises(WeightsError, match="'a' in a"):
        majuscule.import_weights(MLP, linear("a", "1", "2"), rename=["*=Φ{1+1}"])
    with pytest.raises(WeightsError, match="'both' is none of name, order"):
        majuscule.import_weights(MLP, linear("0", "1", "2"), by="both")


def test_a_name_whose_shape_does_not_fit_is_told() -> None:
    given = linear("Φ1", "Φ2", "Φ3", last=5)
    with pytest.raises(WeightsError, match=r"Φ3\.weight \[5, 4\] does not fit Φ3\.W \[4, 3\], which is \[3, 4\] in"):
        majuscule.import_weights(MLP, given)


def test_partial_weights_get_first_values() -> None:
    given = linear("0", "1", "2", last=9)
    weights, report = majuscule.import_weights(MLP, given, partial=True, seed=3)
    assert list(report.left_in_program) == ["Φ3.W", "Φ3.B"]
    assert list(report.left_in_file) == ["2.weight", "2.bias"]
    assert numpy.array_equal(weights["Φ2.W"], given["1.weight"].T)
    assert weights["Φ3.W"].shape == (4, 3)
    assert weights["Φ3.W"].std() > 0
    again, _ = majuscule.import_weights(MLP, given, partial=True, seed=4)
    assert not numpy.array_equal(again["Φ3.W"], weights["Φ3.W"])


def test_an_order_that_does_not_fit_says_where() -> None:
    given = tensors(a=(3, 4), b=(3,), c=(4, 4), d=(4,), e=(4, 4), f=(4,))
    with pytest.raises(WeightsError, match=r"in order, nothing fits Φ3\.W \[3, 4\] after f"):
        majuscule.import_weights(MLP, given)


def test_a_file_that_keeps_no_order_is_matched_by_numbers_alone(tmp_path: Path) -> None:
    for names in (("10", "9", "head"), ("first", "second", "head")):
        given = linear("net." + names[1], "net." + names[0], names[2])
        write_tensors(tmp_path / "a.safetensors", given)
        if names[0] == "first":
            with pytest.raises(WeightsError, match="several tensors fit, and the file keeps no order"):
                majuscule.import_weights(MLP, tmp_path / "a.safetensors")
        else:
            weights, _ = majuscule.import_weights(MLP, tmp_path / "a.safetensors")
            assert numpy.array_equal(weights["Φ1.W"], given["net.9.weight"].T)
            assert numpy.array_equal(weights["Φ2.W"], given["net.10.weight"].T)


def test_what_has_the_programs_names_and_shapes_is_taken_as_it_is() -> None:
    own, _ = majuscule.import_weights(MLP, linear("0", "1", "2"))
    again, report = majuscule.import_weights(MLP, own)
    assert all(numpy.array_equal(again[name], own[name]) for name in own)
    assert majuscule.export_weights(MLP, own, like=own).keys() == own.keys()
    assert not report.left_in_file


def test_names_and_dtypes_of_another_file_in_what_is_exported() -> None:
    given = {name: array.astype("float16") for name, array in linear("0", "1", "2").items()}
    given |= {"bn.num_batches_tracked": numpy.array(7)}
    weights, _ = majuscule.import_weights(MLP, given)
    assert {array.dtype.name for array in weights.values()} == {"float32"}
    back = majuscule.export_weights(MLP, weights, like=given)
    assert list(back) == list(given)
    for name, array in given.items():
        assert back[name].dtype == array.dtype
        assert numpy.array_equal(back[name], array)
    plain = majuscule.export_weights(MLP, weights)
    assert list(plain) == [f"Φ{n}.{leaf}" for n in (1, 2, 3) for leaf in ("weight", "bias")]
    with pytest.raises(WeightsError, match="rules for names are about those of another file"):
        majuscule.export_weights(MLP, weights, rename=["a=b"])


def test_numbers_that_are_no_floats_and_counts_are_left() -> None:
    given = linear("0", "1", "2") | {"steps": numpy.array(3), "bn.num_batches_tracked": numpy.array(3)}
    report = assert_imported(given, "0", "1", "2")
    assert report.left_in_file == {
        "steps": "its numbers are int64",
        "bn.num_batches_tracked": "a count of batches, which nothing here needs",
    }
    assert "matched: 6 in order" in str(report)
