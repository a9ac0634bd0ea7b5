"""Whether a rotation function that is configured can be there at all: looked for without running any of its code."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from pathlib import Path

from keywheel.config import RotationFunction
from keywheel.errors import ConfigurationError

# What the server says itself, and what would be taken for credentials.
RESERVED = re.compile(
    r"AWS_(?:ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|REGION|DEFAULT_REGION|ENDPOINT_URL\w*|LAMBDA_\w+)"
    r"|SECRETS_MANAGER_ENDPOINT|_HANDLER|LAMBDA_TASK_ROOT|HOME|TMPDIR"
)


def python_of(function: RotationFunction) -> str:
    """The interpreter that runs the function."""
    return function.python or sys.executable


def check(name: str, function: RotationFunction) -> None:
    """Return if the function's interpreter, module and handler are there.

    Raises:
        ConfigurationError: they are not; it says what is missing.
    """
    where = f"functions.{name}"
    for variable in function.environment:
        if RESERVED.fullmatch(variable):
            raise ConfigurationError(f"{where}: environment may not set {variable}, which the server sets itself.")
    if shutil.which(python_of(function)) is None:
        raise ConfigurationError(f"{where}: python = {function.python!r} is no program that can be run.")
    directory = Path(function.directory)
    if not directory.is_absolute() or not directory.is_dir():
        raise ConfigurationError(f"{where}: directory = {function.directory!r} must be a directory's absolute path.")
    module, _, handler = function.handler.rpartition(".")
    file = _file(directory, module)
    if file is None:
        raise ConfigurationError(f"{where}: handler = {function.handler!r}: there is no module {module} in directory.")
    try:
        names = _names(file)
    except (SyntaxError, ValueError, OSError) as error:
        raise ConfigurationError(f"{where}: the module {module} cannot be read ({type(error).__name__}).") from None
    if names is not None and handler not in names:
        raise ConfigurationError(f"{where}: handler = {function.handler!r}: {module} has no function {handler}.")


def _file(directory: Path, module: str) -> Path | None:
    """The file of a module; its own directory where it is compiled, and cannot be looked into."""
    path = directory.joinpath(*module.replace("/", ".").split("."))
    for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
        if file.is_file():
            return file
    compiled = any(file.suffix in (".so", ".pyc") for file in path.parent.glob(f"{path.name}.*"))
    return path.parent if compiled else None


def _names(file: Path) -> set[str] | None:
    """The names that a module binds, wherever it does; None where that cannot be told."""
    if file.is_dir():
        return None
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return None if "*" in found else found
