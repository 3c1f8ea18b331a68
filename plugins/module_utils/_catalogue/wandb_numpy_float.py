# Lets wandb 0.13 to 0.17.1 be imported where NumPy 2 is installed, which has no np.float_ and np.complex_.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on its own, too: ``python3 wandb_numpy_float.py /path/to/wandb``; see ``--help``."""

from __future__ import annotations

PATCH = {
    "name": "wandb_numpy_float",
    "package": "wandb",
    "versions": ">=0.13,<0.17.2",
    "applied_upstream": ">=0.17.2",
    "when": ["numpy>=2"],
    "file": "sdk/data_types/_dtypes.py",
    "revision": 1,
    "reason": (
        "NumPy 2 removed np.float_ and np.complex_, names of np.float64 and np.complex128; wandb up to 0.17.1 uses "
        "them and does not refuse NumPy 2: `import wandb` ends in an AttributeError."
    ),
    "upstream": "https://github.com/wandb/wandb/pull/7816",
    "retire": "When no environment runs wandb before 0.17.2 with NumPy 2.",
    "edits": [
        {"replace": {"before": "np.float_", "after": "np.float64"}},
        {"replace": {"before": "np.complex_", "after": "np.complex128"}},
    ],
}

if __name__ == "__main__":
    import os
    import sys

    sys.dont_write_bytecode = True
    sys.path[0] = os.path.join(os.path.dirname(os.path.realpath(__file__)), os.pardir, os.pardir)
    from module_utils._script import main  # type: ignore[import-not-found]  # (found through the line above)

    raise SystemExit(main(PATCH))
