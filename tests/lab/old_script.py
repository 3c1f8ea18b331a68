# The first tool for the job, written anew: what nodes in the field may carry, and the baseline to be measured against.
from __future__ import annotations

NAMES = (
    "Conv1D",
    "apply_chunking_to_forward",
    "find_pruneable_heads_and_indices",
    "id_tensor_storage",
    "prune_conv1d_layer",
    "prune_layer",
    "prune_linear_layer",
)
BLOCK = "from .pytorch_utils import (  # noqa: F401\n" + "".join(f"    {name},\n" for name in NAMES) + ")\n"


def old_script(text: str) -> str:
    """Return ``text`` with the import block where the old script put it: after a line that looks like an import."""
    if BLOCK in text:
        return text
    lines = text.split("\n")
    imports = [number for number, line in enumerate(lines[:350]) if line.startswith(("import ", "from "))]
    after = imports[-1] + 1 if imports else 0
    return "\n".join([*lines[:after], "", *BLOCK.split("\n"), *lines[after:]])
