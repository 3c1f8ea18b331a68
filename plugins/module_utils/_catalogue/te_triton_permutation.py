# Lets the permutation kernels of Transformer Engine 2.6 to 2.9 compile with Triton 3.5 and newer.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on its own, too: ``python3 te_triton_permutation.py /path/to/transformer_engine``; see ``--help``."""

from __future__ import annotations

PATCH = {
    "name": "te_triton_permutation",
    "package": "transformer_engine",
    "versions": ">=2.6,<2.10",
    "applied_upstream": ">=2.10",
    "file": "pytorch/triton/permutation.py",
    "revision": 1,
    "reason": (
        "Triton 3.5 lets a kernel call a plain Python function only where that is declared a constexpr_function; the "
        "kernels of Transformer Engine 2.6 to 2.9 call triton.language.core.get_int_dtype, which is not, so fused "
        "MoE permutation fails to compile."
    ),
    "upstream": "https://github.com/NVIDIA/TransformerEngine/pull/2286",
    "retire": "When no environment runs Transformer Engine before 2.10, which has the change.",
    "edits": [
        {
            # Triton has constexpr_function from 3.5.0 on.
            "diff": """\
--- pytorch/triton/permutation.py
+++ pytorch/triton/permutation.py
@@ -14,1 +14,5 @@
 from triton.language.standard import _log2
+
+get_int_dtype = core.get_int_dtype
+if hasattr(triton, "constexpr_function"):
+    get_int_dtype = triton.constexpr_function(get_int_dtype)
@@ -40,1 +44,1 @@
-    idtype = core.get_int_dtype(bitwidth=x.dtype.primitive_bitwidth, signed=True)
+    idtype = get_int_dtype(bitwidth=x.dtype.primitive_bitwidth, signed=True)
"""
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
