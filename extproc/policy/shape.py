"""Plain data to the document of its file: pydantic checks, this module says what is wrong in our words."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from extproc.policy.document import ErrorDetails, Model, by_key, validated
from extproc.policy.fields import Says
from extproc.policy.problems import FieldError, Finding, Path, path_text, sentence, shown

_Root = TypeVar("_Root", bound=Model)


def check(data: object, root: type[_Root], *, nulls: bool) -> tuple[_Root | None, list[Finding]]:
    """The document in `data`, or everything that is wrong with its keys and values one by one.

    `root` is the mapping that a file of its kind holds. `nulls` says whether there is a null anywhere: nothing behind a
    key is no way to leave it out.
    """
    document, errors = validated(data, root)
    findings = _worded(errors, data, root)
    if nulls:
        found = _null_findings(data, root)
        findings.update({finding.path: finding for finding in found if finding.path not in findings})
    return (None if findings else document), list(findings.values())


def _worded(errors: Iterable[ErrorDetails], data: object, root: type[Model]) -> dict[Path, Finding]:
    """One finding per path. A key that is missing only because it is misspelt is not reported twice."""
    findings: dict[Path, Finding] = {}
    missing: list[Finding] = []
    suggested: set[Path] = set()
    for error in errors:
        finding = _finding(error, data, root)
        if error["type"] == "missing":
            missing.append(finding)
        else:
            findings.setdefault(finding.path, finding)
        if error["type"] == "extra_forbidden":
            suggested.add((*finding.path[:-1], _suggestion(finding.path, root)[0]))
    findings.update({finding.path: finding for finding in missing if finding.path not in suggested})
    return findings


def _finding(error: ErrorDetails, data: object, root: type[Model]) -> Finding:
    path: Path = error["loc"]
    if path and path[-1] == "[key]" and not _has(data, path):
        path = path[:-1]
    if error["type"] == "extra_forbidden":
        return Finding(path, _unknown_key(path, root))
    got = "nothing" if error["type"] == "missing" else shown(error["input"])
    wrong = error.get("ctx", {}).get("error")
    if isinstance(wrong, FieldError):
        return Finding((*path, *wrong.at), sentence(wrong.expected, wrong.got or got, wrong.advice), code=wrong.code)
    return Finding(path, _mismatch(path, got, error["input"], root))


def _mismatch(path: Path, got: str, value: object, root: type[Model]) -> str:
    annotation = _annotation(path, root)
    says = _says(annotation)
    example = _nearest_choice(annotation, value) or says.example
    if _bare(annotation) is str and isinstance(value, bool | int | float):
        example = f'"{got}"'
    return sentence(says.expected, got, f"{path[-1]}: {example}" if path and isinstance(path[-1], str) else example)


def _null_findings(data: object, root: type[Model]) -> Iterator[Finding]:
    for path in _nulls(data):
        try:
            yield Finding(path, _mismatch(path, "nothing", None, root))
        except LookupError:
            continue  # under an unknown key, which is reported itself


def _nulls(data: object) -> Iterator[Path]:
    """Where the nulls are. Aliases nest deeper than a file can: no recursion."""
    open_values: list[tuple[object, Path]] = [(data, ())]
    while open_values:
        value, path = open_values.pop()
        if value is None:
            yield path
        elif isinstance(value, dict):
            open_values.extend((item, (*path, key)) for key, item in value.items())
        elif isinstance(value, list):
            open_values.extend((item, (*path, index)) for index, item in enumerate(value))


def _unknown_key(path: Path, root: type[Model]) -> str:
    model = _model(path[:-1], root)
    names = by_key(model)
    expected = model.only or (f"one of {', '.join(names)}" if len(names) > 1 else "".join(names) or "no keys here")
    return sentence(expected, shown(path[-1]), _suggestion(path, root)[1])


def _suggestion(path: Path, root: type[Model]) -> tuple[str, str]:
    """For an unknown key, the known one that may be meant ('' for none), and what to write."""
    model, key = _model(path[:-1], root), str(path[-1])
    names = by_key(model)
    if model.only:
        name = next(iter(names))
        return name, f"{name}: {{}}"
    for name, annotation in names.items():
        inner = _bare(annotation)
        if isinstance(inner, type) and issubclass(inner, Model) and key in by_key(inner):
            return name, f"{name}: {{{key}: ...}}"
    near = get_close_matches(key.lower(), names, 1)
    return (near[0], near[0]) if near else ("", "removing it")


def _model(path: Path, root: type[Model]) -> type[Model]:
    """The mapping at `path`; nothing else has unknown keys."""
    model: type[Model] = _bare(_annotation(path, root))
    return model


def _nearest_choice(annotation: object, value: object) -> str | None:
    bare = _bare(annotation)
    if get_origin(bare) is not Literal or not isinstance(value, str):
        return None
    near = get_close_matches(value.lower(), get_args(bare), 1)
    return near[0] if near else None


def _has(data: Any, path: Path) -> bool:  # noqa: ANN401  any YAML value
    for step in path:
        try:
            data = data[step]
        except (LookupError, TypeError):
            return False
    return True


def _annotation(path: Path, root: type[Model]) -> Any:  # noqa: ANN401  types have no common type
    """The type that the document declares for `path`. Raises LookupError where it declares none."""
    found: Any = root
    for step in path:
        bare = _bare(found)
        if isinstance(bare, type) and issubclass(bare, Model):
            found = by_key(bare)[str(step)]
        elif get_origin(bare) in {list, dict}:
            found = get_args(bare)[-1]
        else:
            raise LookupError(path_text(path))
    return found


def _bare(annotation: Any) -> Any:  # noqa: ANN401  types have no common type
    """`annotation` without its metadata and without its None."""
    while True:
        if get_origin(annotation) is Annotated or _is_optional(annotation):
            annotation = get_args(annotation)[0]
        else:
            return annotation


def _is_optional(annotation: object) -> bool:
    return get_origin(annotation) in {Union, UnionType} and get_args(annotation)[-1] is type(None)


@cache
def _says(annotation: Any) -> Says:  # noqa: ANN401  types have no common type
    """What to say of a value: what its declaration says, else what follows from its type."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return next((item for item in reversed(metadata) if isinstance(item, Says)), None) or _says(inner)
    if _is_optional(annotation):
        return _says(get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation.says
    return _says_of_plain(annotation)


def _says_of_plain(annotation: Any) -> Says:  # noqa: ANN401  types have no common type
    arguments = get_args(annotation)
    if annotation is bool:
        return Says("true or false", "true")
    if get_origin(annotation) is Literal:
        return Says(f"one of {', '.join(arguments)}" if len(arguments) > 1 else arguments[0], arguments[-1])
    if get_origin(annotation) is list:
        return Says("a list", f"[{_says(arguments[0]).example}]")
    key, value = map(_says, arguments)
    return Says("a mapping", f"{{{key.example}: {value.example}}}")
