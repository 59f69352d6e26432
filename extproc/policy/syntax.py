"""The YAML parser's complaints in our words."""

import yaml

from extproc.policy.problems import sentence

_ADVICE = (
    ("mapping values are not allowed", "quotes around text that holds ': ', or another indentation"),
    ("cannot start any token", "spaces for tabs, and quotes around text that begins with @, `, % or >"),
    ("expected comment or line break", "quotes around text that begins with > or |"),
    ("unexpected end of stream", "closing the quotes"),
    ("expected ',' or", "closing the bracket"),
    ("could not find expected ':'", "key: value"),
    ("did not find expected key", "the same indentation for the keys of one mapping"),
    ("did not find expected '-' indicator", "the same indentation for the items of one list"),
    ("escape", "single quotes, in which a backslash is only itself"),
)
_USUAL_ADVICE = "another indentation or quotes"


def syntax_message(error: yaml.YAMLError) -> tuple[str, yaml.Mark | None]:
    """What a syntax error says, and where it stands if the parser knows."""
    problem, context, mark, context_mark = "something else", None, None, None
    if isinstance(error, yaml.MarkedYAMLError):
        problem = error.problem or problem
        context, mark, context_mark = error.context, error.problem_mark or error.context_mark, error.context_mark
    advice = next((advice for part, advice in _ADVICE if part in problem), _USUAL_ADVICE)
    where = f" {context}" if context else ""
    if where and context_mark and mark and context_mark.line != mark.line:
        where += " that begins above"
    return sentence("valid YAML", f"an error{where}: {problem}", advice), mark
