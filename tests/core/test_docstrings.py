"""The docstrings of the public names follow numpydoc, and are complete where they stand."""

import dataclasses
import inspect

import pytest
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

import mixup_rs

# Not among them: where the quotes stand (GL01, GL02), which a compiled docstring has not; a type or a sentence of
# another style (PR06, PR08, PR09, RT04, RT05, SS05); sections that a name may do without (ES01, SA01 to SA04).
CHECKS = {
    "GL03",  # one blank line between sections
    "GL05",  # no tabs
    "GL06",  # no unknown section
    "GL07",  # sections in order
    "GL08",  # a docstring
    "GL10",  # directives end with two colons
    "SS01",  # a summary
    "SS02",  # which begins with a capital
    "SS03",  # and ends with a full stop
    "SS04",  # is not indented
    "SS06",  # and takes one line
    "PR01",  # every parameter is documented
    "PR02",  # and no other
    "PR03",  # in the signature's order
    "PR04",  # with a type
    "PR05",  # that has no full stop
    "PR07",  # and a description
    "PR10",  # a space before the colon
    "RT02",  # the result's type stands alone
    "RT03",  # and has a description
    "EX01",  # an example
}
#: What they do is all.
RETURN_NOTHING = {"clear_cache", "set_num_threads"}

# Those of fastai, and what is no function and no class, have none of their own here.
TOP = [name for name in mixup_rs.__all__ if not name.startswith(("Rust", "_")) and callable(getattr(mixup_rs, name))]


def members(value):
    """Public ones, inherited ones among them; the fields of a named tuple and of a dataclass are its parameters."""
    fields = {*getattr(value, "_fields", ()), *getattr(value, "__dataclass_fields__", ())}
    inherited = set(dir(tuple)) if hasattr(value, "_fields") else set()
    return [name for name in dir(value) if not name.startswith("_") and name not in fields | inherited]


CLASSES = {name: value for name in TOP if isinstance(value := getattr(mixup_rs, name), type)}
MEMBERS = [f"{name}.{member}" for name, value in CLASSES.items() for member in members(value)]


def is_never_called(value):
    """A named tuple, whose fields are attributes, and a protocol."""
    return hasattr(value, "_fields") or getattr(value, "_is_protocol", False)


def named(name):
    top, *members = name.split(".")
    value = getattr(mixup_rs, top)
    for member in members:
        value = getattr(value, member)
    return value


@pytest.mark.parametrize("name", TOP + MEMBERS)
def test_numpydoc_finds_nothing(name):
    left_out = {"EX01"} if not callable(named(name)) or hasattr(named(name), "_fields") else set()
    if is_never_called(named(name)):
        left_out |= {"PR01"}
    errors = [": ".join(error) for error in validate(f"mixup_rs.{name}")["errors"] if error[0] in CHECKS - left_out]
    assert not errors, f"{name}\n" + "\n".join(errors)


@pytest.mark.parametrize("name", TOP + MEMBERS)
def test_what_numpydoc_cannot_see_in_compiled_code_is_documented(name):
    """numpydoc looks for `return` and `raise` in the source."""
    value = named(name)
    if not callable(value):
        return
    doc = get_doc_object(value, config={"show_class_members": False})
    if fields := getattr(value, "_fields", ()):
        assert [entry.name for section in ("Parameters", "Attributes") for entry in doc[section]] == list(fields)
        return
    missing = set()
    if not isinstance(value, type) and name not in RETURN_NOTHING and not doc["Returns"]:
        missing.add("Returns")
    takes_something = set(inspect.signature(value).parameters) - {"self"} and not is_never_called(value)
    if takes_something and not doc["Raises"]:
        missing.add("Raises")
    if dataclasses.is_dataclass(value):
        assert [entry.name for entry in doc["Parameters"]] == [field.name for field in dataclasses.fields(value)]
    assert not missing, f"{name} has no section {', '.join(sorted(missing))}"
