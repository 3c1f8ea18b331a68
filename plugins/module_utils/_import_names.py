# What a task may give as an import to be tried.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from typing import Sequence

from ._errors import DefinitionError

_NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_IMPORT = re.compile(r"%s(?::%s(?:,%s)*)?\Z" % (_NAME, _NAME, _NAME))


def check(imports: Sequence[str]) -> None:
    """Raise DefinitionError for what is neither a module nor an object reference ``package.module:name,name``."""
    for name in imports:
        if not _IMPORT.match(name):
            raise DefinitionError("import %r: expected package.module or package.module:name,name" % name)
