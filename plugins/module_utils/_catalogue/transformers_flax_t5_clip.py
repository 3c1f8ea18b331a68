# Lets the Flax T5 of Transformers 4.32 to 4.57 run on JAX 0.10 and newer, whose clip() has other argument names.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on its own, too: ``python3 transformers_flax_t5_clip.py /path/to/transformers``; see ``--help``."""

from __future__ import annotations

PATCH = {
    "name": "transformers_flax_t5_clip",
    "package": "transformers",
    # The two lines stand so in every wheel since 4.8.0; before 4.32 the module cannot be imported with JAX 0.10 anyway.
    "versions": ">=4.32,<5",
    "requires": ["jax>=0.4.27"],  # the first release that knows the new names
    "file": "models/t5/modeling_flax_t5.py",
    "revision": 1,
    "reason": (
        "JAX 0.10.0 removed the argument names a_min and a_max of jax.numpy.clip, deprecated since 0.4.27; the Flax T5 "
        "of Transformers still uses a_max, so its relative positions end in a TypeError."
    ),
    "upstream": "https://github.com/jax-ml/jax/commit/e1375a7dc1a5f70d9eec18f537c988df7a1ec1da",
    "retire": (
        "When no environment runs a Flax T5 of Transformers 4 on JAX 0.10 or newer. "
        "Transformers 5 has no Flax models, and 4.x gets no fix."
    ),
    "edits": [
        {
            "replace": {
                "before": "jnp.clip(relative_position, a_max=0)",
                "after": "jnp.clip(relative_position, max=0)",
            }
        },
        {
            "replace": {
                "before": "jnp.clip(relative_position_if_large, a_max=num_buckets - 1)",
                "after": "jnp.clip(relative_position_if_large, max=num_buckets - 1)",
            }
        },
    ],
}

if __name__ == "__main__":
    import os
    import sys

    sys.dont_write_bytecode = True
    sys.path[0] = os.path.join(os.path.dirname(os.path.realpath(__file__)), os.pardir, os.pardir)
    from module_utils._script import main  # type: ignore[import-not-found]  # (found through the line above)

    raise SystemExit(main(PATCH))
