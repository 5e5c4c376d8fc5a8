"""The package itself: its types and style, its wheel, and that it knows every code of the node."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import strandline
from strandline import _frames
from strandline.errors import Refused

HERE = Path(__file__).parent.parent
ROOT = HERE.parent.parent


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_types_are_strict() -> None:
    run("-m", "mypy", "--cache-dir", "/dev/null")


def test_style_is_kept() -> None:
    run("-m", "ruff", "check", "--no-cache")
    run("-m", "ruff", "format", "--check", "--no-cache")


def test_the_wheel_holds_the_package(tmp_path: Path) -> None:
    subprocess.run([ROOT / "scripts/python-package", tmp_path], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("strandline-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {f"strandline/{path.name}" for path in (HERE / "src/strandline").iterdir() if path.is_file()}
    assert "strandline/py.typed" in modules <= names
    # from the wheel alone, without what only extras bring
    code = "import sys; sys.path.insert(0, sys.argv[1]); import strandline; print(strandline.__file__, *sys.modules)"
    file, *loaded = run("-I", "-c", code, str(wheel)).split()
    assert file == f"{wheel}/strandline/__init__.py"
    assert not {"pyarrow", "pandas", "polars"} & set(loaded)


def test_a_library_that_is_missing_is_named_as_pip_takes_it() -> None:
    extras = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    declared = {extra: tuple(one.replace(" ", "") for one in brought) for extra, brought in extras.items()}
    assert declared == _frames.EXTRAS
    code = """if True:
        import sys
        sys.path.insert(0, "src")
        sys.modules["pandas"] = None
        from strandline import _frames
        try:
            _frames.pandas_of(None)
        except ImportError as error:
            print(error)
    """
    assert run("-c", code).strip() == "this result needs pandas: pip install 'pyarrow>=15' 'pandas>=2'"


def test_the_version_is_that_of_the_workspace() -> None:
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]
    assert strandline.__version__ == project["version"] == workspace["version"]


def test_every_code_of_the_node_is_a_class() -> None:
    rust = (ROOT / "crates/event/src/error.rs").read_text()
    codes = set(re.findall(r'Self::\w+ => "(\w+)"', rust))
    assert len(codes) > 20
    assert {kind.CODE for kind in Refused.__subclasses__()} == codes
