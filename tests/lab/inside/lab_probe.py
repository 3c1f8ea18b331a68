# Imported on nodes of a fleet, in place of what needs torch: it has the names that modeling_utils.py re-exports.
"""The text is what an import of Transformers would run: from its loader, so a preview is seen as well as the file.

Waits for as long as there is a file /run/pause-import; /run/reached-import says that it does.
"""

from __future__ import annotations

import re
from importlib.machinery import PathFinder

import lab_pause

package = PathFinder.find_spec("transformers")
assert package, "no transformers"
module = PathFinder.find_spec("transformers.modeling_utils", package.submodule_search_locations)
assert module, "no transformers.modeling_utils"
source = module.loader.get_source(module.name)  # type: ignore[union-attr]
for statement in re.findall(r"^from \.pytorch_utils import (\([^)]*\)|.*)", source, re.MULTILINE):
    names = re.findall(r"\w+", re.sub("#.*", "", statement))
    globals().update(dict.fromkeys(names, package.origin))
lab_pause.at("import")
