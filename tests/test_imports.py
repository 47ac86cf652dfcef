"""Imports go one way, and never in a circle."""

import ast
from pathlib import Path

import a2bgan

ROOT = Path(a2bgan.__file__).parent
LAYERS = (
    "errors", "extensions", "files", "data", "models", "training", "detection", "report",
    "detector", "benchmark", "serving", "cli",
)  # fmt: skip
SIDE_BY_SIDE = {("serving", "benchmark"), ("benchmark", "serving")}
"""Neither may use the other, whichever stands first above."""


def imported(file: Path, *, lazily: bool) -> set[str]:
    """Modules of the package that a file imports, at its top or, lazily, anywhere."""
    tree = ast.parse(file.read_text())
    nodes = ast.walk(tree) if lazily else iter(tree.body)
    found = set[str]()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("a2bgan"):
            assert node.module is not None
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in whole}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("a2bgan")}
    return found


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in ROOT.rglob("*.py")}


def test_nothing_imports_upward() -> None:
    wrong = []
    for module, file in MODULES.items():
        if module.count(".") == 0 or module.split(".")[1] == "__main__":
            continue
        own = module.split(".")[1]
        for other in imported(file, lazily=True):
            layer = [*other.split("."), ""][1]
            if layer in LAYERS and (
                LAYERS.index(layer) > LAYERS.index(own) or (own, layer) in SIDE_BY_SIDE
            ):
                wrong.append(f"{module} imports {other}")
    assert wrong == []


def test_there_is_no_circle() -> None:
    graph = {module: imported(file, lazily=False) for module, file in MODULES.items()}
    done, path = set[str](), list[str]()

    def visit(module: str) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done or module not in graph:
            return
        path.append(module)
        for other in sorted(graph[module] - {module}):
            visit(other)
        path.pop()
        done.add(module)

    for module in sorted(graph):
        visit(module)


def test_folders_hold_what_a_reader_can_look_over() -> None:
    crowded = {
        folder.relative_to(ROOT).as_posix(): count
        for folder in [ROOT, *(path for path in ROOT.rglob("*") if path.is_dir())]
        if (count := len(list(folder.glob("*.py")))) > 22
    }
    assert crowded == {}


def test_no_module_needs_unix_to_be_imported() -> None:
    unix = {"fcntl", "resource", "pwd", "grp", "termios", "curses"}
    found = {
        f"{module}: {alias.name}"
        for module, file in MODULES.items()
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name in unix
    }
    assert found == set()
