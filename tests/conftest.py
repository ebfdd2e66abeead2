"""What every suite shares: the fixtures for a real PostgreSQL and the profile of property tests."""

import os

from hypothesis import settings

pytest_plugins = ["tests.support.postgres"]

# A deadline would be an assertion about the wall clock; in CI every run tries the same examples.
settings.register_profile("headrace", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("headrace")
