# Raises the newest flash-attn that Transformer Engine 1.9 to 2.1 is willing to use to 3.0.0.post1.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on its own, too: ``python3 te_flash_attn_max_version.py /path/to/transformer_engine``; see ``--help``."""

from __future__ import annotations

PATCH = {
    "name": "te_flash_attn_max_version",
    "package": "transformer_engine",
    "versions": ">=1.9,<2.2",
    "file": "pytorch/attention.py",
    "revision": 1,
    "reason": (
        "Transformer Engine 1.9 to 2.1 does not use a flash-attn newer than the one it was released with (2.5.8 to "
        "2.7.4.post1), also where a newer one works, as in AMD's Primus images. The limit becomes 3.0.0.post1; whether "
        "that flash-attn works is for whoever applies this to know."
    ),
    "upstream": "https://github.com/NVIDIA/TransformerEngine/pull/1542",
    "retire": (
        "When no environment runs Transformer Engine before 2.2: that release moved the limit into another file "
        "(FlashAttentionUtils.max_version), which this patch leaves alone."
    ),
    "edits": [
        {
            # The limit's own line differs from release to release, the beginning of the line behind it does not: a
            # second assignment goes between the two. The "2.1" that a function assigns since 1.12 stays as it is.
            "replace": {
                "before": "\n_flash_attn_2_plus = ",
                "after": '\n_flash_attn_max_version = PkgVersion("3.0.0.post1")\n_flash_attn_2_plus = ',
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
