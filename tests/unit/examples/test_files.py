"""The sample services as files: what is generated, and what they may import."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_generated_code_is_up_to_date(tmp_path: Path) -> None:
    """Generating from proto/ again gives the committed bytes: `make proto` after a change."""
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto/extproc/examples/users/v1'}"]
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run([*protoc, *outputs, "users.proto"], check=True)  # noqa: S603  our own command
    names = {path.name for path in tmp_path.iterdir()}
    assert {"users_pb2.py", "users_pb2.pyi", "users_pb2_grpc.py"} == names
    assert {name: (tmp_path / name).read_bytes() for name in names} == {
        name: (ROOT / "examples" / name).read_bytes() for name in names
    }


def test_they_are_ordinary_services() -> None:
    """Both programs can be imported where there is no extproc."""
    code = "import sys; sys.modules['extproc'] = None; import http_service, grpc_service"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "examples", check=True)  # noqa: S603  our own command
