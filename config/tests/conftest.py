"""What the tests that are generated from the schema share."""

import pytest


@pytest.fixture(autouse=True)
def github_answers_here(github_answers):
    """Every operation succeeds once, that of coming back from GitHub too."""
