# The one family of errors that a task, a playbook or the script shows to its user.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class SitePatchError(Exception):
    """Something is not as it must be; the text says what was expected, what was found, where, and what to do."""


class DefinitionError(SitePatchError):
    """A patch definition, a patch name or an import string is not valid."""


class NoEnvironment(SitePatchError):
    """The interpreter or the directory given does not serve as an environment."""


class Unsupported(SitePatchError):
    """The patch does not support the version that is installed."""


class Conflict(SitePatchError):
    """The text is not what the patch expects."""


class CommitError(SitePatchError):
    """A file could not be replaced; nothing was changed, or what was changed has been put back."""
