"""Read, merge and validate profiles.

A file is a tree of sections; every number in it is a leaf `{value, unit, source, status}`. `extends: other` starts from
another profile and replaces the leaves it names, so an ablation is a file of one leaf.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import reprlib
import types
import typing
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from rsrp_lava.errors import ProfileError, unknown_name
from rsrp_lava.files import read_file
from rsrp_lava.hardware_profiles.schema import Fact, Profile, Section

#: Keys of a file that are text about the profile, not facts about the chip.
_ABOUT = ("name", "summary", "provenance")
#: Fields of a profile that no file has.
_OURS = ("facts", "digest")
#: Characters of the largest file that is read; profiles have some thousands.
_LARGEST_FILE = 100_000
#: Mistakes that are named at once.
_MOST_MISTAKES = 10
#: How a value is shown in a message: a few lines of YAML that name each other can hold millions of values.
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2


_TAG = "tag:yaml.org,2002:"


def _resolvers_but(*kinds: str) -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """What YAML 1.1 takes for a value of some kind, by its first character, without these kinds."""
    return {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.removeprefix(_TAG) not in kinds]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _OldLoader(yaml.SafeLoader):
    """Plain values only: no dates, sets or bytes. A key that is given twice is refused; YAML would keep the last."""

    yaml_implicit_resolvers = _resolvers_but("timestamp")

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen:
                raise yaml.MarkedYAMLError(problem=f"'{name}' is given twice", problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _refuse(loader: _OldLoader, node: yaml.Node) -> None:
    loader.construct_undefined(node)


for _kind in ("timestamp", "set", "binary", "omap", "pairs"):
    _OldLoader.add_constructor(f"{_TAG}{_kind}", _refuse)

#: Numbers as everybody writes them: 1e-3 is one (to YAML 1.1 a text), and 3:1 is none (to YAML 1.1 it is 181, to base 60).
_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$")
_FLOAT = re.compile(
    r"(?:[-+]?[0-9][0-9_]*(?:\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)|[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


class _PlainLoader(_OldLoader):
    """The same, with numbers as everybody writes them."""

    yaml_implicit_resolvers = _resolvers_but("timestamp", "int", "float")


class _PlainDumper(yaml.SafeDumper):
    """Writes what `_PlainLoader` reads back equal: a text that it would take for a number is quoted."""


for _class in (_PlainLoader, _PlainDumper):  # first the floats, as in YAML 1.1
    _class.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+.0123456789"))
    _class.add_implicit_resolver(f"{_TAG}int", _INTEGER, list("-+0123456789"))


def parse_yaml(text: str, *, old: bool = False) -> Any:
    """YAML of text, numbers, truth values, lists and mappings; whatever is wrong with it is a `yaml.YAMLError`.

    `old`: numbers as YAML 1.1 reads them, which is how older versions of this program wrote and read files.
    """
    try:
        return yaml.load(text, _OldLoader if old else _PlainLoader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, LookupError, AttributeError, TypeError) as error:  # of a value that is not what its tag says
        raise yaml.YAMLError(f"a value cannot be read ({error})") from None


def dump_yaml(values: Any) -> str:
    """Plain values as YAML that `parse_yaml` reads back equal (tuples as lists), in their order."""
    return yaml.dump(values, Dumper=_PlainDumper, sort_keys=False)


def profile_names() -> list[str]:
    """Names of all profiles that come with the package, sorted."""
    folder = resources.files("rsrp_lava.hardware_profiles")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_profile(name: str, overrides: Mapping[str, Any] | None = None, tree: Mapping[str, Any] | None = None) -> Profile:
    """The profile of that name, or of a YAML file.

    Parameters
    ----------
    name : one of `profile_names()`, or the path of a file that ends in .yaml
    overrides : values that replace the profile's, by dotted path: {"learning_storage.p_bits": 4}
    tree : what the file said, from `read_profile`; the file is not looked at then

    Raises `ProfileError` with the path of the key that is wrong.
    """
    changes = json.dumps(dict(overrides or {}), sort_keys=True)
    if tree is not None:
        return _checked(name, dump_yaml(dict(tree)), changes)
    if is_profile_file(name):
        name = str(Path(name).absolute())  # the same name means another file elsewhere
    return _load(name, changes, *_versions(name))


def read_profile(name: str) -> dict[str, Any]:
    """What a profile says, merged with all it extends: the sections of a profile that needs no other file."""
    return _read(name, ())


def profile_values(profile: Profile) -> dict[str, Any]:
    """Every number of a profile by its dotted path, in the order of the file; `profile.facts` has the same paths."""
    return {path: functools.reduce(getattr, path.split("."), profile) for path in profile.facts}


def is_profile_file(name: str) -> bool:
    """Whether it is the path of a file, not the name of a profile that comes with the package."""
    return name.endswith((".yaml", ".yml"))


def _versions(name: str) -> tuple[int, ...]:
    """When the file was written: one that was edited is read again."""
    try:
        return (Path(name).stat().st_mtime_ns,) if is_profile_file(name) else ()
    except OSError:
        return ()


@functools.lru_cache(maxsize=256)
def _load(name: str, overrides: str, *_versions: int) -> Profile:
    return _profile(name, _read(name, ()), overrides)


@functools.lru_cache(maxsize=256)
def _checked(name: str, tree: str, overrides: str) -> Profile:
    return _profile(name, parse_yaml(tree), overrides)


def _profile(name: str, tree: dict[str, Any], overrides: str) -> Profile:
    for path, value in json.loads(overrides).items():
        _override(tree, path, value, name)
    facts: dict[str, Fact] = {}
    values = _values(name, tree, Profile, "", facts)
    try:
        profile = Profile.model_validate({**values, "facts": facts})
    except ValidationError as error:
        raise ProfileError(f"profile {name}: {_explain(error)}") from None
    digest = hashlib.sha256(json.dumps({k: v for k, v in values.items() if k not in _ABOUT}, sort_keys=True).encode())
    return profile.model_copy(update={"digest": digest.hexdigest()})


def _read(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    """The tree of a profile, merged with those it extends."""
    if name in seen:
        raise ProfileError(f"profile {name}: extends itself ({' → '.join([*seen, name])}); let one of them stand alone")
    if is_profile_file(name):
        try:
            text = read_file(name, 4 * _LARGEST_FILE).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise ProfileError(f"profile {name}: cannot be read ({reason.lower()}); give the path of a YAML file") from None
    elif name in profile_names():
        text = resources.files("rsrp_lava.hardware_profiles").joinpath(f"{name}.yaml").read_text("utf-8")
    else:
        raise ProfileError(unknown_name("profile", name, profile_names()))
    if len(text) > _LARGEST_FILE:
        raise ProfileError(f"profile {name}: has more than {_LARGEST_FILE:,} characters; give the path of a profile")
    try:
        tree = parse_yaml(text)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise ProfileError(f"profile {name}: not valid YAML: {problem}") from None
    if not isinstance(tree, dict):
        raise ProfileError(f"profile {name}: must hold the sections of a profile (docs/hardware.md)")
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    if is_profile_file(name):  # what is claimed of the parent was not shown for its ablation
        tree = {
            "name": Path(name).stem,
            "provenance": {"summary": f"An ablation of {parent}; compared with nothing."},
        } | tree
    parent = str(Path(name).parent / str(parent)) if is_profile_file(name) and is_profile_file(str(parent)) else str(parent)
    return _merge(_read(parent, (*seen, name)), tree)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`; a leaf (it holds a value) is replaced as a whole."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _merge(below[key], value) if both and "value" not in value else value
    return merged


def _override(tree: dict[str, Any], path: str, value: Any, name: str) -> None:
    *sections, last = path.split(".")
    place: Any = tree
    for section in sections:
        place = place.get(section) if isinstance(place, dict) else None
    if not isinstance(place, dict) or not isinstance(place.get(last), dict) or "value" not in place[last]:
        raise ProfileError(f"profile_overrides: profile {name} has no {path}; see docs/hardware.md for the paths there are")
    place[last] = {**place[last], "value": value, "source": "override of the experiment", "status": "inferred"}


def _values(name: str, tree: Any, model: type[BaseModel], path: str, facts: dict[str, Fact]) -> dict[str, Any]:
    """The tree without units and sources, which go into `facts`; what is not a section or a proper leaf is refused."""
    values: dict[str, Any] = {}
    for key, entry in tree.items():
        place = f"{path}{key}"
        field = model.model_fields.get(key)
        if field is None or (path == "" and key in _OURS):
            known = [field for field in model.model_fields if path or field not in _OURS]
            raise ProfileError(f"profile {name}: {place}: {unknown_name('key', str(key), known)}")
        section = _section(field.annotation)
        if path == "" and key in _ABOUT:
            values[key] = entry
        elif section is not None:
            if entry is not None and not isinstance(entry, dict):
                raise ProfileError(f"profile {name}: {place}: must be a section, not {_SHORT.repr(entry)}")
            values[key] = None if entry is None else _values(name, entry, section, f"{place}.", facts)
        else:
            extra = field.json_schema_extra
            values[key] = _leaf(name, entry, place, extra["unit"] if isinstance(extra, dict) else None, facts)
    return values


def _section(annotation: Any) -> type[Section] | None:
    """The section class of a field, if it is one (or one or null)."""
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return next((o for o in options if isinstance(o, type) and issubclass(o, Section)), None)


def _leaf(name: str, entry: Any, place: str, unit: Any, facts: dict[str, Fact]) -> Any:
    keys = "{value, source, status}" if unit is None else f"{{value, unit: {unit}, source, status}}"
    if not isinstance(entry, dict) or "value" not in entry:
        raise ProfileError(f"profile {name}: {place}: must be {keys}, not {_SHORT.repr(entry)}")
    if entry.get("unit") != unit:
        raise ProfileError(f"profile {name}: {place}.unit: {_SHORT.repr(entry.get('unit'))} — must be {unit!r}")
    try:
        facts[place] = Fact.model_validate({key: value for key, value in entry.items() if key != "value"})
    except ValidationError as error:
        raise ProfileError(f"profile {name}: {place}.{_explain(error)}; a leaf is {keys}") from None
    return entry["value"]


def _explain(error: ValidationError) -> str:
    problems, mistakes = [], error.errors()
    for mistake in mistakes[:_MOST_MISTAKES]:
        path = ".".join(str(part) for part in mistake["loc"])
        if mistake["type"] == "value_error":
            problems.append(f"{path}.{mistake['ctx']['error']}" if path else str(mistake["ctx"]["error"]))
        elif mistake["type"] == "missing":
            problems.append(f"{path}: is missing")
        else:
            problems.append(f"{path}: {_SHORT.repr(mistake['input'])} — {mistake['msg'][0].lower()}{mistake['msg'][1:]}")
    if len(mistakes) > _MOST_MISTAKES:
        problems.append(f"and {len(mistakes) - _MOST_MISTAKES} more")
    return "; ".join(problems)
