"""The generated cases cover what they are meant to cover."""

from __future__ import annotations

from pathlib import Path

import pytest
from catalogue import all_cases
from coverage_table import FEATURES, PAIRS, count_features, count_pairs, table


def test_there_are_a_thousand_cases_and_their_texts_differ(tmp_path: Path) -> None:
    cases = all_cases()
    assert len({case.text() for case in cases}) == len(cases) >= 1000
    (tmp_path / "coverage.txt").write_text(table(cases))
    print(table(cases))


@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_occurs(feature: str) -> None:
    counts = count_features(all_cases())
    assert not {
        value: counts[feature, value] for value, least in FEATURES[feature].items() if counts[feature, value] < least
    }


@pytest.mark.parametrize("title", PAIRS)
def test_pairs_of_features_occur_together(title: str) -> None:
    least = PAIRS[title][2]
    assert not {pair: count for pair, count in count_pairs(all_cases(), title).items() if count < least}
