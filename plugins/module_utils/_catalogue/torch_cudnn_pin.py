# Lets pip leave the newer cuDNN alone that PyTorch advises for torch 2.9.1 and 2.10.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on its own, too: ``python3 torch_cudnn_pin.py /path/to/site-packages``; see ``--help``."""

from __future__ import annotations

PATCH = {
    "name": "torch_cudnn_pin",
    "distribution": "torch",
    "versions": ">=2.9.1,<2.11",
    "when": ["nvidia-cudnn-cu12>=9.15"],
    "file": "torch-*.dist-info/METADATA",
    "revision": 1,
    "reason": (
        "torch 2.9.1 and 2.10 pin cuDNN 9.10.2.21; against the memory that a Conv3d in bfloat16 takes with it, PyTorch "
        "advises 9.15 or newer. Where that is installed, `pip check` fails, and a `pip install` of anything that needs "
        "torch wants the old one back. METADATA alone is edited."
    ),
    "upstream": "https://github.com/pytorch/pytorch/issues/166643",
    "retire": "When no environment runs torch 2.9.1 or 2.10. Their builds for CUDA 13 pin nvidia-cudnn-cu13, and stay.",
    "edits": [
        {
            "replace": {
                "before": "nvidia-cudnn-cu12==9.10.2.21",
                "after": "nvidia-cudnn-cu12<10,>=9.10.2.21",
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
