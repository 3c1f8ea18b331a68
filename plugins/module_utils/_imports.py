# Import checks: real imports in a fresh process, within a time limit, with caches of their own.
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import re
import shutil
import site
import sys
import tempfile
import time
from typing import Any, Iterable, Mapping, Sequence

from . import _files, _importer, _processes
from ._errors import DefinitionError

_NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_IMPORT = re.compile(r"%s(?::%s(?:,%s)*)?\Z" % (_NAME, _NAME, _NAME))
# (Read now: this process may turn into one of a user who cannot read our files.)
_SOURCE = _importer.__spec__.loader.get_source(_importer.__name__)  # type: ignore[union-attr]
SHORTEST_SECRET = 4  # hiding every "1" would leave no version number readable
_LONGEST = 4000  # characters of an error or a traceback
_TEXTS = ("version", "cause", "error", "traceback")
_MAYBE_CUT = 16000  # characters from which on a text may have been cut before, maybe within a secret
_PRIVATE = (  # what libraries write below a user's home when they are merely imported
    "HOME",
    "XDG_CACHE_HOME",
    "TMPDIR",
    "TORCH_EXTENSIONS_DIR",
    "TRITON_CACHE_DIR",
    "HF_HOME",
)


def check(imports: Sequence[str]) -> None:
    """Raise DefinitionError for what is neither a module nor an object reference ``package.module:name,name``."""
    for name in imports:
        if not _IMPORT.match(name):
            raise DefinitionError("import %r: expected package.module or package.module:name,name" % name)


def servable(path: str) -> bool:
    """Whether a change of a file can be shown to imports from memory: only that of Python source can."""
    return path.endswith(".py")


def prove(
    imports: Sequence[str],
    previews: Mapping[str, bytes | None],
    roots: Sequence[str],
    timeout: float,
    environment: Mapping[str, str],
    only_roots: bool = False,
    proof: str = "none",
) -> list[dict[str, Any]]:
    """Try the imports, and those that fail with ``previews`` once more without them, within the time that is left.

    ``previews``: bytes to be served in place of files, by path; None where the file is to be away. ``roots`` come first
    on ``sys.path``. ``timeout``: seconds for all imports together. ``environment``: variables, which win over the
    private caches of the process. ``only_roots``: no code is run that anybody but root may write. ``proof``: what the
    results are to say of when they were tried (before, after, none).
    Returns one result an import, in order, as documented for the modules' ``imports``; and ``same``: whether a failure
    is the same without the change.
    """
    deadline = time.monotonic() + timeout
    results = _try(imports, previews, roots, timeout, environment, only_roots)
    for result in results:
        result.update(proof=proof, blame=None, same=False)
    return without(results, roots, deadline - time.monotonic(), environment, only_roots) if previews else results


def without(
    results: Sequence[Mapping[str, Any]],
    roots: Sequence[str],
    timeout: float,
    environment: Mapping[str, str],
    only_roots: bool = False,
) -> list[dict[str, Any]]:
    """The results, with ``blame`` for each that failed, which is tried once more with the files as they are."""
    failed = [result["name"] for result in results if not result["ok"] and result["cause"] != "not_tried"]
    tried = _try(failed, {}, roots, timeout, environment, only_roots) if failed and timeout > 0 else []
    again = {result["name"]: result for result in tried if result["cause"] != "not_tried"}
    return [_blamed(result, again[result["name"]]) if result["name"] in again else dict(result) for result in results]


def refusal(results: Sequence[Mapping[str, Any]], accepts_unchanged: bool = False) -> str | None:
    """Why a change is refused for its imports, or what failed without one; None where nothing stands against it."""
    failed = [result for result in results if not result["ok"]]
    if not failed or (accepts_unchanged and all(result["same"] for result in failed)):
        return None
    how = {
        "before": "with the change served from memory; nothing was written",
        "after": "with the change written",
        "none": "as the files are",
    }[failed[0]["proof"]]
    return "import failed, %s: %s" % (how, "; ".join("%s (%s)" % (each["name"], _told(each)) for each in failed))


def accepted(results: Sequence[Mapping[str, Any]]) -> str:
    """What is to be said of imports that fail in the same way without the change; nothing where none does."""
    failed = [result for result in results if not result["ok"]]
    told = "; ".join("%s (%s)" % (each["name"], _told(each)) for each in failed)
    return "accepted, as validate_failure asks: %s" % told if failed else ""


def _blamed(result: Mapping[str, Any], again: Mapping[str, Any]) -> dict[str, Any]:
    """A failed result, held against the same import without the change."""
    if again["ok"]:
        return {**result, "blame": "patch", "same": False}
    same = (result["cause"], _plain(result["error"])) == (again["cause"], _plain(again["error"]))
    return {**result, "blame": "environment", "same": same}


def _plain(error: str | None) -> str:
    """An error without what differs from run to run: addresses, and seconds."""
    return re.sub(r"0x[0-9a-f]+|[0-9]+(?:\.[0-9]+)? s\b", "", error or "")


def _told(result: Mapping[str, Any]) -> str:
    """What is to be said of one failure, and whose it is."""
    error = str(result["error"])
    if result["blame"] != "environment":
        return error
    where = re.findall(r'File "([^"]+)", line \d+, in (\w+)', result["traceback"] or "")
    place = where[-1][0].rpartition("site-packages/")[2] if where else ""
    hint = ""
    if where and where[-1] == (where[-1][0], "_get_cuda_arch_flags"):
        hint = "; a CUDA toolkit and no GPU: set TORCH_CUDA_ARCH_LIST in import_environment, to 9.0 for an H100"
    return "fails without the patch as well: %s%s%s" % (error, " in " + place if place else "", hint)


def _try(
    imports: Sequence[str],
    previews: Mapping[str, bytes | None],
    roots: Sequence[str],
    timeout: float,
    environment: Mapping[str, str],
    only_roots: bool,
) -> list[dict[str, Any]]:
    """Try the imports in one fresh process of this interpreter, and in another one for what a crash left over."""
    results: list[dict[str, Any]] = []
    private = tempfile.mkdtemp(prefix="primus-imports-")
    deadline = time.monotonic() + timeout
    try:
        variables = _variables(private, environment)
        while len(results) < len(imports):
            left = deadline - time.monotonic()
            if left <= 0:
                late = {"cause": "not_tried", "error": "not tried: the time limit of %g s was used up before" % timeout}
                results.append(_failed(imports[len(results)], late))
                continue
            tried = imports[len(results) :]
            results += _attempt(tried, previews, roots, left, timeout, variables, private, only_roots)
    finally:
        shutil.rmtree(private, ignore_errors=True)
    secrets = _secrets(environment.values())
    for result in results:
        for key, cut_at_end in (("error", True), ("traceback", False), ("version", True)):
            result[key] = result[key] and _shown(result[key].replace(private, "PRIVATE"), secrets, cut_at_end)
        result["error"] = result["error"] and " ".join(result["error"].split())[:_LONGEST]
        result["traceback"] = result["traceback"] and result["traceback"][-_LONGEST:]
        result["version"] = result["version"] and result["version"][:_LONGEST]
    return results


def _secrets(values: Iterable[str]) -> list[str]:
    """The forms in which texts may hold the values: as they are, quoted, line by line; the longest first."""
    forms = {form for value in values for form in (value, repr(value)[1:-1], *value.splitlines())}
    return sorted((form for form in forms if len(form) >= SHORTEST_SECRET), key=len, reverse=True)


def _shown(text: str, secrets: Sequence[str], cut_at_end: bool) -> str:
    """The text without secrets, and as UTF-8 has it: Ansible refuses a whole result that holds a lone surrogate."""
    partial = len(secrets[0]) if secrets and len(text) >= _MAYBE_CUT else 0
    for secret in secrets:
        text = text.replace(secret, "********")
    text = text[: len(text) - partial] if cut_at_end else text[partial:]
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _variables(private: str, environment: Mapping[str, str]) -> dict[str, str]:
    variables = dict(os.environ)
    if "PYTHONUSERBASE" not in variables:  # the user site stays where it is when HOME moves
        variables["PYTHONUSERBASE"] = site.getuserbase()
    for name in _PRIVATE:
        variables[name] = os.path.join(private, name.lower())
        os.mkdir(variables[name])
    variables["PYTHONDONTWRITEBYTECODE"] = "1"  # for interpreters that an import starts
    for name, value in environment.items():
        if not name or "=" in name or "\0" in name + value:
            raise DefinitionError(
                "import_environment: expected names and values of variables, found the name %r" % name
            )
    variables.update(environment)
    return variables


def _attempt(
    imports: Sequence[str],
    previews: Mapping[str, bytes | None],
    roots: Sequence[str],
    left: float,
    timeout: float,
    variables: Mapping[str, str],
    private: str,
    only_roots: bool,
) -> list[dict[str, Any]]:
    """Results up to and with the import that ended the process."""
    results_file = os.path.join(private, "results-%d" % len(imports))
    request = {
        "imports": list(imports),
        "previews": {path: text if text is None else text.decode("latin-1") for path, text in previews.items()},
        "roots": list(roots),
        "timeout": left,
        "results": results_file,
        "only_roots": only_roots,
    }
    start = time.monotonic()
    answer = _processes.run(
        [sys.executable, "-B", "-c", _SOURCE],
        json.dumps(request).encode("utf-8"),
        _processes.Limits(left + 2.0),  # (at `left` it ends itself, and says where it was)
        environment=variables,
        for_parent=True,  # (nobody is to wait for minutes until an import ends that nobody asks for any more)
    )
    seconds = round(time.monotonic() - start, 3)
    results = _results(results_file, imports)
    if len(results) < len(imports):
        what: dict[str, Any]
        if seconds >= left:
            what = {"cause": "timeout", "error": "did not end within the time limit of %g s" % timeout}
        else:
            what = {"cause": "crash", "error": "the interpreter died: %s" % answer.ending}
        what["traceback"] = _place(answer.output.decode("utf-8", "replace").strip()) or None
        results.append(_failed(imports[len(results)], what, seconds - sum(result["seconds"] for result in results)))
    return results


def _results(file: str, imports: Sequence[str]) -> list[dict[str, Any]]:
    """What was written of the imports, in order, up to a line that is none of ours: an import may write there, too."""
    results: list[dict[str, Any]] = []
    try:
        for name, line in zip(imports, (_files.read(file, 40 * _importer.LONGEST * len(imports)) or b"").split(b"\n")):
            result = json.loads(line)
            kinds = [type(result[key]) for key in ("ok", "seconds", *_TEXTS)]
            if result["name"] != name or kinds[:2] != [bool, float] or not {str, type(None)}.issuperset(kinds[2:]):
                break
            results.append(result)
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        pass
    return results


def _failed(name: str, what: Mapping[str, Any], seconds: float = 0.0) -> dict[str, Any]:
    result = {"name": name, "ok": False, "seconds": round(seconds, 3), "version": None, "traceback": None}
    result.update(what)
    return result


def _place(output: str) -> str:
    """Where the interpreter was when it died or its time was up, else the last that it printed.

    faulthandler writes the innermost call first. Of the threads the one that died counts, else the first one, which is
    the last in the list and does the imports.
    """
    trace = max(output.rfind(start) for start in ("Fatal Python error: ", "Timeout ("))
    if trace < 0:
        return output
    threads = output[trace:].split("\n\n")
    lines = next((thread for thread in threads if "Current thread" in thread), threads[-1]).splitlines()
    return "\n".join(line for line in lines if "<frozen importlib" not in line)[:_LONGEST]
