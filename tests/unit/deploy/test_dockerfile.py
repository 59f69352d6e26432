"""The Dockerfile and what goes into its build."""

import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from image import ROOT, ignored, steps

STEPS = steps()


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
    begins = [number for number, step in enumerate(STEPS) if step.name == "FROM"]
    bases = [STEPS[number].words[0] for number in begins]

    assert ["build", "runtime", "examples", "extproc"] == [STEPS[number].words[2] for number in begins]
    assert [bases[0], bases[0], "runtime", "runtime"] == bases
    assert [True] == [number < begins[1] for number, step in enumerate(STEPS) if step.name == "RUN"]


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
