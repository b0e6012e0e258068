"""An extension of griffe, which reads the sources for mkdocstrings: functions of a stub that are overloads alone.

griffe takes overloads for additions to a function that has a body, which a stub has not, and would leave them out.
"""

from typing import Any

from griffe import Class, Extension, Module


class StubOverloads(Extension):
    def on_module_members(self, *, mod: Module, **kwargs: Any) -> None:
        add_overloaded(mod)

    def on_class_members(self, *, cls: Class, **kwargs: Any) -> None:
        add_overloaded(cls)


def add_overloaded(parent: Module | Class) -> None:
    """Make a member of each function that is overloads alone: the first, which has the docstring."""
    for name, overloads in parent.overloads.items():
        if name not in parent.members:
            first = overloads[0]
            first.overloads = list(overloads)
            parent.set_member(name, first)
