# Lets Megatron-Core 0.16 to 0.19 train MoE models that have both a padding mask and an expert bias.
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on its own, too: ``python3 megatron_router_padding_mask.py /path/to/site-packages``; see ``--help``."""

from __future__ import annotations

PATCH = {
    "name": "megatron_router_padding_mask",
    "package": "megatron.core",
    "versions": ">=0.16,<0.20",
    "file": "transformer/moe/router.py",
    "revision": 1,
    "reason": (
        "With moe_router_enable_expert_bias and a padding mask, a training step ends in a RuntimeError: the MoE router "
        "holds the mask, one entry a token, against a map with a row for each token and a column for each expert."
    ),
    "upstream": "https://github.com/NVIDIA/Megatron-LM/pull/6114",
    "retire": "When no environment runs a Megatron-Core without the change; no release up to 0.19.2 has it.",
    "edits": [
        {
            "diff": """\
--- a/megatron/core/transformer/moe/router.py
+++ b/megatron/core/transformer/moe/router.py
@@ -738,7 +738,7 @@ class TopKRouter(Router):
         if self.enable_expert_bias and torch.is_grad_enabled():
             with torch.no_grad():
                 if padding_mask is not None:
-                    routing_map = routing_map & (~padding_mask)
+                    routing_map = routing_map & (~padding_mask).unsqueeze(-1)
                 self.local_tokens_per_expert += routing_map.sum(dim=0)
 
     def routing(self, logits: torch.Tensor, padding_mask: Optional[torch.Tensor] = None):
"""  # noqa: W293 (the diff as upstream has it)
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
