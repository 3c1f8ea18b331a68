# docs/TROUBLESHOOTING.md and the errors of the code, held together both ways.
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as the text of an error.

tests/lab/messages.py reads them from the syntax tree of all Python in plugins/ and playbooks/, and from the YAML there:

1. What is given to a ``raise``, to a class of errors, to ``fail_json``, ``Display.error``, ``sys.exit`` and the like,
   or as ``msg`` of a result that is ``failed``, as ``error`` of an import or as ``problem`` of a file. A name stands
   for what it was given in its function; a call for what the function returns; a template for its text, with ``…`` for
   each variable part. A variable part of five words or more is a text of its own.
2. Any other text that says ``expected`` or ``found none``: errors here are written so.
3. ``fail_msg`` and ``msg`` of the tasks ``assert`` and ``fail`` of role and playbooks.

A class of errors that makes its text itself (``Odd``) counts by that text. One word alone is none: a key, a name.
"""

from __future__ import annotations

import re

from lab import checkout, messages

_PAGE = checkout.ROOT / "docs" / "TROUBLESHOOTING.md"


def _entries() -> dict[str, list[list[str]]]:
    """By subject, the messages of each entry; what is between messages and the next entry is the advice."""
    subjects = re.split(r"^## (.+)\n", _PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = {}
    for title, text in zip(subjects[::2], subjects[1::2], strict=True):
        heads = [entry.partition("\n\n")[0] for entry in re.split(r"^- ", text, flags=re.MULTILINE)[1:]]
        found[title] = [[" ".join(each.split()) for each in re.findall(r"`([^`]+)`", head)] for head in heads]
    return found


def test_each_error_has_its_entry_and_each_entry_its_error():
    told = [message for entries in _entries().values() for entry in entries for message in entry]
    texts = messages.collect(checkout.ROOT)
    assert {text: where for text, where in texts.items() if text not in told} == {}
    assert sorted(set(told) - set(texts)) == []
    assert sorted(told) == sorted(set(told))


def test_entries_say_what_to_do_and_are_in_the_order_of_the_alphabet():
    text = _PAGE.read_text(encoding="utf-8")
    for entry in re.split(r"^(?:- |## )", text, flags=re.MULTILINE)[2:]:
        if entry.startswith("`"):
            assert re.search(r"`\n\n  [A-Za-z`*].*\.\n", entry, flags=re.DOTALL), entry
    for title, entries in _entries().items():
        order = [re.sub(r"^\W+", "", entry[0].replace(messages.VARIABLE, "")).lower() for entry in entries]
        assert order == sorted(order), title


def test_the_forms_in_which_an_error_may_be_written(tmp_path):
    """So that a text that nobody documents cannot hide in another form."""
    forms = '''
"""A docstring that says expected."""
class Wrong(Exception):
    pass
class Told(Exception):
    def __init__(self, what):
        super().__init__(f"it told us {what}")
class Spoken(Told):
    def __str__(self):
        return f"spoken of {self.what}"
WORDS = {"a": "one of a table", "b": "two of a table"}
def first(name):
    message = "held in a name: %s"
    raise Wrong(message % name)
def second(name):
    raise Told("what is given")
def third(kind):
    raise Wrong(WORDS[kind] % kind if kind else "said\\n otherwise")
def fourth(error):
    return Wrong("made and returned, " "in two parts" + str(error))
def fifth(look):
    raise other(look, "one", "handed to a helper")
def sixth(found):
    raise Wrong("%s: %s" % (found, returned(found)))
def returned(found):
    return f"a long part that stands behind {found!r}"
def seventh(module, said):
    module.fail_json(msg="failed in Ansible: %s" % said)
    return {"failed": True, "msg": f"failed, and {said} is why"}
def eighth():
    return "expected this, found that"
def ninth():
    log("what nobody calls an error")
'''
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "one.py").write_text(forms, encoding="utf-8")
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "two.yml").write_text(
        "- tasks:\n    - block:\n        - ansible.builtin.assert: {that: x, fail_msg: 'no {{ y }} here'}\n",
        encoding="utf-8",
    )
    assert set(messages.collect(tmp_path)) == {
        "held in a name: …",
        "it told us …",
        "spoken of …",
        "one of a table",
        "two of a table",
        "said otherwise",
        "made and returned, in two parts…",
        "handed to a helper",
        "a long part that stands behind …",
        "failed in Ansible: …",
        "failed, and … is why",
        "expected this, found that",
        "no … here",
    }
