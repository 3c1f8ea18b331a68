# The catalogue: every patch of the collection. One import line a patch, as Ansible ships only what is imported by name.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import ModuleType
from typing import Any

from . import (  # noqa: F401 (used below, by what they are)
    megatron_router_padding_mask,
    te_flash_attn_max_version,
    te_triton_permutation,
    torch_cudnn_pin,
    transformers_flax_t5_clip,
    transformers_modeling_utils,
    wandb_numpy_float,
)

CATALOGUE: tuple[dict[str, Any], ...] = tuple(
    module.PATCH for module in list(globals().values()) if isinstance(module, ModuleType)
)
