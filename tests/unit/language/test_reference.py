"""The reference of the language is written from the model and says something of every key."""

import pytest

from tests.support.language_reference import PAGE, Key, keys, page


def test_the_reference_is_what_make_reference_writes() -> None:
    assert PAGE.read_text() == page(), "run: make reference"


@pytest.mark.parametrize("key", keys(), ids=lambda key: key.path)
def test_every_key_says_what_it_means(key: Key) -> None:
    assert key.schema.get("description")
