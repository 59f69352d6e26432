"""The hook for pre-commit: valid for it, and run by it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / ".pre-commit-hooks.yaml"
BIN = Path(sys.executable).parent
GOOD = "tracing: {sampling: {ratio: 0.1}}\n"
BAD = "tracing: {sampling: {ratio: five}}\n"


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment in `folder`, with nothing of the user's configuration."""
    environ = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "PRE_COMMIT_HOME": str(folder / ".cache"),
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    return subprocess.run(command, cwd=folder, env=environ, check=False, capture_output=True, text=True, timeout=100)  # noqa: S603


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository that uses the hook as it is declared, but with the extproc that is tested."""
    (hook,) = yaml.safe_load(MANIFEST.read_text("utf-8"))
    local = {"repos": [{"repo": "local", "hooks": [hook | {"language": "system"}]}]}
    (tmp_path / ".pre-commit-config.yaml").write_text(yaml.safe_dump(local), "utf-8")
    run(tmp_path, "git", "init", "-q")
    return tmp_path


def check(repository: Path, **files: str) -> tuple[int, str]:
    """What the hook says of these files: its exit code and its output. Two underscores are a slash, one is a dot."""
    for name, text in files.items():
        path = repository / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    run(repository, "git", "add", "-A")
    done = run(repository, "pre-commit", "run", "--all-files")
    return done.returncode, done.stdout


def test_manifest_is_valid(tmp_path: Path) -> None:
    """pre-commit itself finds nothing wrong with the manifest."""
    done = run(tmp_path, "pre-commit", "validate-manifest", str(MANIFEST))

    assert (0, "") == (done.returncode, done.stdout + done.stderr)


def test_good_policies_pass(repository: Path) -> None:
    """A commit of good policies goes through; other YAML is none of the hook's business."""
    code, output = check(repository, policy_yaml=GOOD, deploy__policies__web_yml=GOOD, other_yaml="a: [")

    assert 0 == code
    assert "Passed" in output


def test_a_bad_policy_stops_the_commit(repository: Path) -> None:
    """A mistake is shown with its place."""
    code, output = check(repository, policies__web_yaml=BAD, policy_yaml=GOOD)

    assert 1 == code
    assert "policies/web.yaml:1:22: sampling.ratio: expected a number from 0 to 1, got 'five'" in output


def test_without_policies_there_is_nothing_to_do(repository: Path) -> None:
    """The hook is skipped where no policy is committed."""
    code, output = check(repository, other_yaml=BAD)

    assert 0 == code
    assert "Skipped" in output
