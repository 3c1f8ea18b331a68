# Fixtures of all tests, from the lab. `ansible-test units` reads this file as well, but not pyproject.toml, which tells
# where the lab is: its tests need nothing but the collection.
from __future__ import annotations

import importlib.util

pytest_plugins = ["lab.fixtures"] if importlib.util.find_spec("lab") else []
