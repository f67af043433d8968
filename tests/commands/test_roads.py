"""`maj explain --roads` and `maj tune`: what equations could take, what it costs, what was found by measuring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest

import majuscule
from majuscule.compiler.codegen import Target
from majuscule.compiler.codegen.asked import Asked
from majuscule.compiler.codegen.choosing import Choosing
from majuscule.compiler.codegen.tuning import keep, tuned_choices
from majuscule.compiler.graph import Graph
from majuscule.compiler.pipeline import optimize
from majuscule.compiler.road_names import ROADS
from majuscule.road_times import RoadTimes, Tuning

NET = """\
Given L[10, 10, 16]
A = relu(Conv(L, filters 32, width 3, pad 1))
P = MaxPool(A, width 2, stride 2)
scores[10] = FC(P)
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A network, and a cache of its own, in the folder where `maj` runs."""
    monkeypatch.setenv("MAJUSCULE_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "net.maj").write_text(NET, encoding="utf-8")
    return "net.maj"


def explained(maj: Any, *options: str) -> dict[str, Any]:
    done = maj("explain", "net.maj", "--roads", "--json", *options)
    assert done.exit_code == 0, done.stderr
    return {entry["tensor"]: entry for entry in json.loads(done.stdout)["roads"]}


def taken(module: majuscule.Module, tensor: str) -> str:
    (road,) = (step["road"] for step in module._manifest["steps"] if step["origin"] == tensor)
    return str(road)


def test_explain_lists_the_roads_of_each_reduction(net: str, maj: Any) -> None:
    found = explained(maj, "--batch", "4")
    assert list(found) == ["A.Conv.S", "P", "scores.S"]
    for entry in found.values():
        (chosen,) = (candidate for candidate in entry["candidates"] if candidate["taken"])
        assert chosen["road"] == entry["road"]
        assert {candidate["road"] for candidate in entry["candidates"]} | set(entry["cannot"]) <= set(ROADS)
        for candidate in entry["candidates"]:
            assert candidate["expected_seconds"] > 0
            assert candidate["measured_seconds"] is None
    assert {c["road"] for c in found["A.Conv.S"]["candidates"]} >= {
        "direct",
        "winograd",
        "image-to-column",
        "reduction",
    }
    products = 2 * 4 * 10 * 10 * 32 * 9 * 16
    assert all(candidate["flops"] == products for candidate in found["A.Conv.S"]["candidates"])
    assert "no window" in found["scores.S"]["cannot"]["image-to-column"]
    table = maj("explain", net, "--roads", "A").stdout
    assert "taken: " in table
    assert "scores" not in table


def test_explain_says_why_an_equation_does_not_take_what_is_asked_for(net: str, maj: Any) -> None:
    found = explained(maj, "--road", "image-to-column")
    assert (found["A.Conv.S"]["road"], found["A.Conv.S"]["reason"]) == ("image-to-column", "asked for")
    assert found["scores.S"]["road"] == "matrix"
    assert found["scores.S"]["reason"] == "asked for image-to-column, but no window slides over its data"
    kernels = maj("explain", net, "--kernels", "--road", "image-to-column").stdout
    assert "but no window slides over its data" in kernels
    assert "multiplies A.Conv.S.columns[b batch, x 10, y 10, ΔX 3, ΔY 3, I 16]" in kernels
    assert all(entry["road"] != "winograd" for entry in explained(maj, "--exact").values())


def test_what_was_tuned_is_taken_until_it_is_forgotten(net: str, maj: Any, tmp_path: Path) -> None:
    done = maj("tune", net, "--seconds", "0", "--candidates", "3", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["complete"]
    assert {entry["tensor"] for entry in found["equations"]} == {"A.Conv.S", "scores.S"}
    for entry in found["equations"]:
        assert 2 <= len(entry["candidates"]) <= 3
        assert all(candidate["seconds"] >= 0 for candidate in entry["candidates"])
    maj("tune", net, "--forget")
    assert tuned_choices(Target.host()) == {}


def choices() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    graph = optimize(Graph.from_program(majuscule.check(NET).require()), fold_weights=True)
    choosing = Choosing(graph, Target.host())
    found = {name: choosing.options(group, 8) for name, group in choosing.groups.items()}
    return {name: (key, [(c.road, c.details) for c in options]) for name, (key, options) in found.items()}


@pytest.mark.slow
def test_every_choice_that_is_kept_is_taken_and_changes_no_result(net: str, maj: Any) -> None:
    target, image = Target.host(), numpy.random.default_rng(0).normal(size=(3, 10, 10, 16)).astype("float32")
    exact = majuscule.compile(NET, exact=True)(image)
    key, options = choices()["A.Conv.S"]
    assert {"direct"} < {road for road, _ in options}
    for road, details in options:
        keep(target, [key], {key: (road, details)})
        module = majuscule.compile(NET)
        assert taken(module, "A").startswith(road)
        numpy.testing.assert_allclose(module(image), exact, rtol=1e-4, atol=1e-4)
        assert explained(maj)["A.Conv.S"]["reason"] == "tuned"
        assert "winograd" not in taken(majuscule.compile(NET, exact=True), "A")
    assert taken(majuscule.compile(NET, road="direct"), "A").startswith("direct")


def test_choices_that_fit_nothing_or_are_damaged_do_no_harm(net: str, tmp_path: Path) -> None:
    target, (key, _) = Target.host(), choices()["A.Conv.S"]
    usual = taken(majuscule.compile(NET, cache=False), "A")
    keep(target, [key], {key: ("direct", "a tile of another machine"), "another": ("nowhere", "")})
    assert taken(majuscule.compile(NET), "A") == usual
    (stored,) = (tmp_path / "cache" / "tuned").iterdir()
    stored.write_bytes(stored.read_bytes()[:-3])
    assert tuned_choices(target) == {}
    assert taken(majuscule.compile(NET), "A") == usual


def test_an_interruption_keeps_what_was_found(net: str, maj: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    key, options = choices()["A.Conv.S"]

    def round(self: Tuning, number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt
        for found, listed in self.options.items():
            self.seconds[found][listed[number].road, listed[number].details] = 2.0 - number

    monkeypatch.setattr(Tuning, "round", round)
    done = maj("tune", net, "--candidates", "4")
    assert done.exit_code == 130
    assert "kept" in done.stderr
    assert tuned_choices(Target.host())[key] == options[1]


def test_a_winner_must_win_twice(net: str) -> None:
    program = majuscule.check(NET).require()
    tuning = Tuning(RoadTimes(program, Target.host(), batch=1, sizes={}, seconds=0.0), Asked(), 2)
    slower = iter([1.0, 0.5, 1.2, 1.0])
    tuning.times.measure = lambda *_: dict.fromkeys(tuning.keys, next(slower))  # type: ignore[method-assign]
    tuning.round(0)
    tuning.round(1)
    assert set(tuning.winners()) == set(tuning.options)
    tuning.confirm()
    assert tuning.winners() == {}


def test_nothing_is_tuned_where_nothing_can_be_kept(net: str, maj: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAJUSCULE_CACHE", "0")
    assert "caches are turned off" in maj("tune", net).stderr


def test_the_documents_have_the_list_of_roads() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
    for name, meaning in ROADS.items():
        assert f"| {name} | {meaning} |\n" in text
