# Re-exports seven names that transformers/modeling_utils.py no longer binds since Transformers 4.56.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on its own, too: ``python3 transformers_modeling_utils.py /path/to/transformers``; see ``--help``."""

from __future__ import annotations

PATCH = {
    "name": "transformers_modeling_utils",
    "package": "transformers",
    "versions": ">=4.56,<5",
    "file": "modeling_utils.py",
    "revision": 1,
    "reason": (
        "Transformers 4.56 stopped re-exporting these names from transformers.modeling_utils; code around "
        "Megatron-Bridge (blip-ci 0.0.5, nvidia-modelopt up to 0.33, remote-code models) still imports them from there."
    ),
    "upstream": "https://github.com/huggingface/transformers/pull/40542",
    "retire": (
        "When no environment runs Transformers 4.56 or 4.57 with such code. It cannot go to 5.x: "
        "transformers.pytorch_utils itself dropped three of the names in 5.0.0."
    ),
    "edits": [
        {
            "reexport": {
                "source": ".pytorch_utils",
                "names": [
                    "Conv1D",
                    "apply_chunking_to_forward",
                    "find_pruneable_heads_and_indices",
                    "id_tensor_storage",
                    "prune_conv1d_layer",
                    "prune_layer",
                    "prune_linear_layer",
                ],
            }
        }
    ],
}

if __name__ == "__main__":
    import os
    import sys

    sys.dont_write_bytecode = True
    sys.path[0] = os.path.join(os.path.dirname(os.path.realpath(__file__)), os.pardir, os.pardir)
    from module_utils._script import main  # type: ignore[import-not-found]  # (found through the line above)

    raise SystemExit(main(PATCH))
