"""`maj list`, and commands that take the networks that come along by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import majuscule

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Maj = Callable[..., Any]


def test_every_program_is_listed_with_what_it_takes_and_says_of_itself(maj: Maj) -> None:
    found = {entry["name"]: entry for entry in json.loads(maj("list", "--json").stdout)}
    programs = [path for path in EXAMPLES.rglob("*.maj") if "\nGiven " in path.read_text(encoding="utf-8")]
    assert sorted(found) == sorted(path.stem for path in programs)  # each name once
    assert found["vgg16"]["inputs"] == "image[224, 224, 3]"
    assert found["vgg16"]["parameters"] == 138_357_544
    assert found["fcn8s"]["about"] == "FCN-8s (Long, Shelhamer and Darrell 2015)"
    assert found["edges"]["parameters"] is None
    assert all(entry["about"] for entry in found.values())
    table = maj("list").stdout
    assert all(name in table for name in found)
    assert "138,357,544" in table


@pytest.mark.parametrize("arguments", [["check"], ["summary"], ["grad", "--of", "scores"], ["dump", "-s", "tokens"]])
def test_a_name_is_the_network_that_comes_along(maj: Maj, arguments: list[str]) -> None:
    command, *options = arguments
    by_name, by_file = (maj(command, name, *options) for name in ("mlp", str(EXAMPLES / "networks" / "mlp.maj")))
    assert by_name.exit_code == 0, by_name.output
    assert by_name.stdout.rpartition("mlp.maj")[2] == by_file.stdout.rpartition("mlp.maj")[2]


def test_networks_compile_and_are_timed_by_name(maj: Maj, tmp_path: Path) -> None:
    assert maj("compile", "edges").exit_code == 0
    assert majuscule.load(tmp_path / "edges.mod").name == "edges"
    assert json.loads(maj("bench", "edges", "--repeats", "3", "--json").stdout)["name"] == "edges"


def test_mistakes_are_shown_with_short_names(maj: Maj) -> None:
    shown = maj("check", "squeezenet1_1", "nowhere.maj")
    assert "squeezenet1_1.maj: no mistakes" in shown.stdout
    assert str(EXAMPLES) not in shown.output
    assert shown.exit_code == 2


def test_a_file_comes_before_a_network(maj: Maj, tmp_path: Path) -> None:
    (tmp_path / "vgg16").write_text("Given x[3]\ny = 2*x\n", encoding="utf-8")
    assert "vgg16: no mistakes (1 statement)" in maj("check", "vgg16").stdout


@pytest.mark.parametrize("command", ["check", "summary", "bench", "eval"])
def test_unknown_names_are_told_with_those_that_are_near(maj: Maj, command: str) -> None:
    found = maj(command, "vgg17", *(["--data", "x.npz"] if command == "eval" else []))
    assert found.exit_code == 2
    assert "there is no file vgg17, and no network of that name" in found.stderr
    assert all(text in found.stderr for text in ("is vgg", "vgg16", "maj list"))
    assert "meant?" not in maj(command, "zzzzzzz", *(["--data", "x.npz"] if command == "eval" else [])).stderr
