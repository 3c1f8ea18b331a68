# How much the properties try. A slow machine is no failure: there is no deadline, and examples may take long to make.
from __future__ import annotations

import importlib.util

from hypothesis import HealthCheck, settings

# `./dev test` runs these tests once by pytest itself, and by ansible-test on each Python and core, which is nine times.
# A rule that is broken is so on all of them: each of the nine tries a fifth, and together they try more than the one.
# (ansible-test does not read pyproject.toml, which tells where the lab is. A test that wants more or less examples
# takes a multiple or a part of settings.default.max_examples.)
EXAMPLES = 100 if importlib.util.find_spec("lab") else 20

settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=EXAMPLES
)
settings.load_profile("any machine")
