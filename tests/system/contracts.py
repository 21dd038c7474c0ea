"""The layers of the package as contracts over every source file of the package and the plugin."""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path
from typing import NamedTuple

SWEEPER = "hydra_plugins.hydra_optuna_study"
CONTRACTS = {
    "layer": "a file imports its own layer and those below; every file has a layer",
    "cycle": "no module imports itself by way of others",
    "fast": "nn/fast is imported by nn/network.py alone",
    "numpy": "nn and data import NumPy, the standard library and each other",
    "textbook": "nn/textbook.py runs by itself; its last lines import the data",
    "mlflow": "MLflow is imported by tracking/client.py alone",
    "matplotlib": "only files of figures and pictures import matplotlib",
    "sweeper": "the sweeper is used by its public module, and by the upper layers",
    "plugin": "the sweeper knows neither digits nor MLflow",
    "folder": "a folder of source has at most a dozen files, the sweeper's sixteen",
    "file": "a file has at most 250 lines",
    "function": "a function has at most 40 lines",
}
LAYERS = [  # top to bottom; a file imports its own layer and those below it
    "__main__ cli",  # the doors: these two, and the `__main__` of every package
    "report",
    "job",
    "study compare predict ui",
    "tracking",
    "run",
    "nn",
    "data",
    "config stats console __init__",
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()}
SWEEPS = {"__main__", "cli", "report", "job", "study"}  # who may import the sweeper
STDLIB = sys.stdlib_module_names
DRAWING = ("figure", "figures", "pictures")
LATE = {"imageio", "PIL", "tqdm"}  # data may import them inside a function


class Import(NamedTuple):
    """One import statement, wherever it stands: in a function and under TYPE_CHECKING too."""

    of: str  # the importing module
    what: str  # the imported module, with an object's name behind it
    line: int
    late: bool  # inside a function or below `if __name__ == "__main__"`
    typing: bool  # below `if TYPE_CHECKING`


@functools.cache
def parse(text: str) -> ast.Module:
    return ast.parse(text)


def imports(module: str, package: str, text: str) -> list[Import]:
    """Every import of a file: `import a.b`, `from a import b`, relative, `import_module("a.b")`."""
    found = []

    def visit(node: ast.AST, *, late: bool, typing: bool) -> None:
        test = ast.unparse(node.test) if isinstance(node, ast.If) else ""
        late |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or "__name__" in test
        typing |= test == "TYPE_CHECKING"
        names = []
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom():
                base = package.split(".")[: 1 - node.level or None] if node.level else []
                base += [node.module] if node.module else []
                names = [".".join([*base, alias.name]) for alias in node.names]
            case ast.Call(args=[ast.Constant(value=str(name)), *_]):
                if ast.unparse(node.func).endswith(("import_module", "__import__")):
                    names = [name]
        found.extend(Import(module, name, node.lineno, late, typing) for name in names)
        for child in ast.iter_child_nodes(node):
            visit(child, late=late, typing=typing)

    visit(parse(text), late=False, typing=False)
    return found


def part(module: str) -> str:
    """The layer's name of a module of `mnist_study`: its first part, or the door that it is."""
    names = [*module.split(".")[1:], "__init__"]
    return "__main__" if "__main__" in names else names[0]


def within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def violations(root: Path) -> set[tuple[str, str]]:
    """(contract, sentence) for every breach in the source below `root`."""
    files = {}  # module: (path, text)
    for path in [p for top in ("mnist_study", "hydra_plugins") for p in (root / top).rglob("*.py")]:
        names = path.relative_to(root).with_suffix("").parts
        files[".".join(names).removesuffix(".__init__")] = (path, path.read_text())
    everything = []
    for module, (path, text) in files.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for one in imports(module, package, text):
            private = within(one.what, SWEEPER) and "._" in one.what
            if one.what not in files and one.what.rpartition(".")[0] in files and not private:
                one = one._replace(what=one.what.rpartition(".")[0])  # noqa: PLW2901
            everything.append(one)
    broken = {
        (contract, f"{one.of}:{one.line} imports {one.what}")
        for one in everything
        for contract in breaches(one, len(files[one.of][1].splitlines()))
    }
    strangers = {part(m) for m in files if within(m, "mnist_study")} - RANK.keys()
    broken |= {("layer", f"{name} has no layer") for name in strangers}
    graph = {module: set() for module in files}
    for one in everything:
        if one.what in files and one.what != one.of:
            graph[one.of].add(one.what)
    for of, targets in graph.items():
        broken |= {("cycle", f"{of} <-> {what}") for what in targets if of in reach(graph, what)}
    return broken | sizes(root, files)


def reach(graph: dict[str, set[str]], start: str) -> set[str]:
    """All modules that the imports of `start` lead to."""
    seen, ahead = set(), [start]
    while ahead:
        module = ahead.pop()
        ahead.extend(graph[module] - seen)
        seen |= graph[module]
    return seen


def breaches(one: Import, lines: int) -> list[str]:  # noqa: C901  # one line a contract
    """The names of the contracts that an import breaks; its file has `lines` lines."""
    of, what, root = one.of, one.what, one.what.split(".")[0]
    broken = []
    if root == "hydra_plugins" and not within(of, "hydra_plugins"):
        other = what.startswith("hydra_plugins.") and not within(what, SWEEPER)
        if part(of) not in SWEEPS or (not other and what != SWEEPER):
            broken.append("sweeper")
    if within(of, "hydra_plugins") and root in ("mnist_study", "mlflow"):
        broken.append("plugin")
    if root == "mlflow" and of != "mnist_study.tracking.client":
        broken.append("mlflow")
    if root == "matplotlib" and not one.typing and not of.endswith(DRAWING):
        broken.append("matplotlib")
    if within(of, "hydra_plugins"):
        return broken
    if root == "mnist_study" and RANK.get(part(what), 0) < RANK.get(part(of), 99):
        broken.append("layer")
    if within(what, "mnist_study.nn.fast") and not within(of, "mnist_study.nn.fast"):
        broken += ["fast"] if of != "mnist_study.nn.network" else []
    if within(what, "mnist_study.nn.textbook"):
        broken.append("textbook")
    if of == "mnist_study.nn.textbook" and root == "mnist_study":
        last = one.late and one.line > lines - 30
        broken += [] if last and within(what, "mnist_study.data") else ["textbook"]
    if within(of, "mnist_study.nn") or within(of, "mnist_study.data"):
        inside = within(what, "mnist_study.nn") or within(what, "mnist_study.data")
        late = root in LATE and one.late and within(of, "mnist_study.data")
        if not (inside or late or root == "numpy" or root in STDLIB):
            broken.append("numpy")
    return broken


def sizes(root: Path, files: dict[str, tuple[Path, str]]) -> set[tuple[str, str]]:
    """Folders of more than a dozen files, files over 250 lines, functions over 40."""
    broken = set()
    for folder in {path.parent for path, _ in files.values()}:
        count = sum(path.is_file() for path in folder.iterdir())
        if count > (16 if folder.name == "hydra_optuna_study" else 12):
            broken.add(("folder", f"{folder.relative_to(root)} has {count} files"))
    for module, (_, text) in files.items():
        if (count := len(text.splitlines())) > 250:
            broken.add(("file", f"{module} has {count} lines"))
        for node in ast.walk(parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = node.end_lineno - node.lineno + 1
                if count > 40:
                    broken.add(("function", f"{module}:{node.lineno} {node.name}: {count} lines"))
    return broken
