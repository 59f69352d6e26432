"""The Dockerfile's stages, made in folders: what COPY copies is copied and what RUN runs is run, without an engine."""

import copy
import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Step:
    """An instruction of the Dockerfile: its options, and the words behind them; of RUN the one that the shell reads."""

    name: str
    options: list[str]
    words: list[str]


@dataclass
class Image:
    """A stage, whose file system is the folder `root`; everything that it does not hold is this machine's."""

    root: Path
    base: str
    workdir: str = "/"
    user: str = "root"
    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    exposed: list[str] = field(default_factory=list)

    def inside(self, path: str) -> Path:
        """Where a path of the image is."""
        return self.root / PurePosixPath(self.workdir, path).relative_to("/")

    def argv(self, words: list[str]) -> list[str]:
        """A command line of the image: its program, and those arguments that are files of it, where they are."""
        program = shutil.which(words[0], path=self.variables()["PATH"])
        assert program, f"the image has no {words[0]}"
        return [program, *(self._argument(word) for word in words[1:])]

    def variables(self) -> dict[str, str]:
        """The environment of a process."""
        paths = self.environment.get("PATH", "$PATH").replace("$PATH", os.environ["PATH"]).split(":")
        found = [str(self.inside(path)) if self.inside(path).exists() else path for path in paths]
        return self.environment | {"PATH": ":".join(found)}

    def _argument(self, word: str) -> str:
        path = self.inside(word)
        return str(path) if path.is_file() else word


def steps() -> list[Step]:
    """The Dockerfile."""
    lines = DockerfileParser(str(ROOT / "Dockerfile")).structure
    return [_step(line["instruction"], line["value"]) for line in lines if line["instruction"] != "COMMENT"]


def build(folder: Path) -> dict[str, Image]:
    """Carry the Dockerfile out in `folder`; its stages by name, in their order."""
    stages: dict[str, Image] = {}
    for step in steps():
        if step.name == "FROM":
            base, _, name = step.words
            stages[name] = _begin(folder / name, base, stages.get(base))
        else:
            _carry_out(step, stages[next(reversed(stages))], stages)
    return stages


def ignored(path: PurePosixPath) -> bool:
    """Whether .dockerignore keeps a file of this folder from the build: its last rule that fits says."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    answer = False
    for rule in (line for line in lines if line and not line.startswith("#")):
        if any(re.fullmatch(_regex(rule.removeprefix("!")), str(part)) for part in (path, *path.parents)):
            answer = not rule.startswith("!")
    return answer


def _begin(root: Path, base: str, parent: Image | None) -> Image:
    if parent is None:
        root.mkdir()
        return Image(root, base)
    shutil.copytree(parent.root, root, symlinks=True)
    stage = copy.deepcopy(parent)
    stage.root = root
    return stage


def _step(name: str, value: str) -> Step:
    found = re.fullmatch(r"((?:--\S+\s+)*)(.*)", value)
    assert found
    options, rest = found[1].split(), found[2]
    if name == "HEALTHCHECK":
        return Step(name, options, json.loads(rest.removeprefix("CMD ")))
    if rest.startswith("["):
        return Step(name, options, json.loads(rest))
    return Step(name, options, [rest] if name == "RUN" else shlex.split(rest))


def _carry_out(step: Step, stage: Image, stages: dict[str, Image]) -> None:
    words = step.words
    match step.name:
        case "WORKDIR":
            stage.workdir = words[0]
            stage.inside(".").mkdir(parents=True, exist_ok=True)
        case "USER":
            stage.user = words[0]
        case "ENV":
            stage.environment |= {key: value for key, _, value in (word.partition("=") for word in words)}
        case "COPY":
            _copy(step, stage, stages)
        case "RUN":
            script = re.sub(r"(?<= )/", f"{stage.root}/", words[0])
            subprocess.run(["/bin/sh", "-c", script], cwd=stage.inside("."), check=True)  # noqa: S603  our own
        case "ENTRYPOINT":
            stage.entrypoint = words
        case "CMD":
            stage.command = words
        case "HEALTHCHECK":
            stage.healthcheck = words
        case "EXPOSE":
            stage.exposed = words
        case other:
            raise AssertionError(f"{other}: not known here")


def _copy(step: Step, stage: Image, stages: dict[str, Image]) -> None:
    *sources, target = step.words
    if step.options:
        origin = stages[step.options[0].removeprefix("--from=")]
        stage.inside(target).parent.mkdir(parents=True, exist_ok=True)
        stage.inside(target).symlink_to(origin.inside(sources[0]))
        return
    for source in sources:
        files = [path for path in (ROOT / source, *(ROOT / source).rglob("*")) if path.is_file()]
        let_in = [path for path in files if not ignored(PurePosixPath(path.relative_to(ROOT)))]
        assert let_in, f"COPY {source}: nothing there that .dockerignore lets in"
        for path in let_in:
            place = stage.inside(target) / (source if target.endswith("/") else path.relative_to(ROOT / source))
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)


def _regex(pattern: str) -> str:
    return re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
