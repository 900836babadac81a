"""Swift and Kotlin: their own tests. Their self-tests are in tests/self_tests.py, with every other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.formulas import formulas
from tests.other_languages import LANGUAGES, run
from tests.pages import ROOT

FORMULAS = ROOT / "apps" / "swift" / "Tests" / "BNCAGANCoreTests" / "Fixtures" / "formulas.json"


def test_the_numbers_that_they_are_tested_on_are_those_of_this_code() -> None:
    """If they are not: python -m tests.formulas > apps/swift/Tests/BNCAGANCoreTests/Fixtures/formulas.json"""
    pairs = list(leaves(json.loads(FORMULAS.read_text()), formulas()))
    assert len(pairs) > 500
    np.testing.assert_allclose(*np.array(pairs).T, atol=1e-6)


def leaves(first: Any, second: Any) -> Iterator[tuple[float, float]]:
    """The numbers of two values of JSON, in pairs."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for name in first:
            yield from leaves(first[name], second[name])
    elif isinstance(first, list):
        for pair in zip(first, second, strict=True):
            yield from leaves(*pair)
    else:
        yield first, second


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGES)
def test_its_own_tests_pass(name: str) -> None:
    language = LANGUAGES[name]
    if language.missing is not None:
        pytest.skip(language.missing)
    done = run(language.test)
    assert done.returncode == 0, done.stdout + done.stderr
    assert language.tests_passed in done.stdout + done.stderr
