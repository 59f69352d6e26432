"""The Dockerfile and what goes into its build."""

import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import dockerfile
import pytest

from image import ROOT, ignored

STEPS = dockerfile.parse_file(str(ROOT / "Dockerfile"))


def test_linter_has_nothing_to_say() -> None:
    """Hadolint finds nothing in the Dockerfile."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint

    result = subprocess.run(  # noqa: S603  our own command
        [hadolint, "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False
    )

    assert (0, "") == (result.returncode, result.stdout + result.stderr)


def test_builder_stays_behind() -> None:
    """Only the first stage runs anything; what is shipped begins anew from the same image and copies from it."""
    stages = [step.value for step in STEPS if step.cmd == "FROM"]
    builder, shipped = stages[0], stages[1:]

    assert [builder[0]] + [stage[2] for stage in shipped[:1]] * 2 == [stage[0] for stage in shipped]
    before = [step.cmd for step in STEPS[: next(i for i, step in enumerate(STEPS) if step.value == shipped[0])]]
    assert ["RUN"] == [command for command in before if command == "RUN"]
    assert 1 == sum(step.cmd == "RUN" for step in STEPS)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("extproc/cli/serve.py", False),
        ("examples/http_service.py", False),
        ("deploy/image/build.sh", False),
        ("pyproject.toml", False),
        ("extproc/cli/__pycache__/serve.cpython-311.pyc", True),
        ("examples/__pycache__", True),
        ("deploy/otel-collector.yaml", True),
        (".git/config", True),
        (".venv/bin/python", True),
        ("tests/image.py", True),
        (".env", True),
    ],
)
def test_build_gets_no_more_than_it_needs(path: str, *, expected: bool) -> None:
    """.dockerignore lets in the sources, and neither caches, nor history, nor what else lies about."""
    assert expected == ignored(PurePosixPath(path))
