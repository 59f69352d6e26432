"""Shell completion: the scripts, and what they get when they ask."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from extproc.cli import main

BIN = Path(sys.executable).parent


def run(*command: str, **environment: str) -> str:
    """What a program prints, with `extproc` on its path."""
    environ = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"} | environment
    done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True, timeout=60)  # noqa: S603
    return done.stdout


def asked(shell: str, words: str, current: str) -> str:
    """What the script of `shell` is told; the second word says where the cursor is, as that shell puts it."""
    return run("extproc", _EXTPROC_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_CWORD=current)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_for_this_command(shell: str) -> None:
    """The script asks `extproc`, by the variable to which it answers."""
    result = CliRunner().invoke(main, ["completion", shell], prog_name="extproc")

    assert 0 == result.exit_code
    assert f"_EXTPROC_COMPLETE={shell}_complete" in result.stdout
    assert "extproc" in result.stdout.splitlines()[-1] + result.stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("extproc ch", "check"),
        ("extproc check --fa", "--fail-on"),
        ("extproc check --format s", "sarif"),
        ("extproc import x", "xray"),
    ],
)
def test_bash_completes(line: str, expected: str) -> None:
    """A real bash that has run the script completes commands, options and their values."""
    words = line.split()
    script = (
        'eval "$(extproc completion bash)"\n'
        f"COMP_WORDS=({line}) COMP_CWORD={len(words) - 1}\n"
        f"_extproc_completion extproc {words[-1]} {words[-2]}\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )

    assert [expected] == run("bash", "--norc", "-c", script).split()


def test_zsh_and_fish_are_told() -> None:
    """The other shells' scripts get the same answers, with help beside commands."""
    assert ["plain", "check", "Say what is wrong with policy files, and what is odd."] == (
        asked("zsh", "extproc chec", "1").splitlines()
    )
    assert "plain,check\tSay what is wrong" in asked("fish", "extproc chec", "chec")
    assert "plain,sarif" in asked("fish", "extproc check --format ", "")


def test_files_are_completed_by_the_shell() -> None:
    """Where a policy file is wanted the shell is told to offer files."""
    assert "file" in asked("bash", "extproc check pol", "2")


def test_unknown_shell() -> None:
    """Other shells are a usage error that names these."""
    result = CliRunner().invoke(main, ["completion", "tcsh"])

    assert 2 == result.exit_code
    assert "'bash', 'zsh', 'fish'" in result.stderr
