# The catalogue: every patch of the collection. One import line a patch, as Ansible ships only what is imported by name.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import transformers_modeling_utils

CATALOGUE = (transformers_modeling_utils.PATCH,)
