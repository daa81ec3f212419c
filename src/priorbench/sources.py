"""Which code a result depends on: the modules that a command runs through, and a hash of their texts.

The rules of the workflow have this hash among their parameters, so that a module that changes repeats the jobs that run
through it, and what is made from them, and no others.  It is found by reading imports, without importing anything:
building the DAG must not import torch.  Imports within a function count where the function can be reached by its name.
"""

import ast
import hashlib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from priorbench.registry import QUESTIONS, REGISTRIES

#: Modules that decide nothing which is not among the parameters of a rule (configuration, specs, names of plug-ins), or
#: no more than whether and by whom it is done (commands, locks, signals, messages).  Their imports do not count either.
ASIDE = {
    *("__init__", "cli", "config", "config_sections", "options", "protocols", "registry", "runs"),
    *("errors", "lock", "provenance", "sources", "stop"),
}
#: What each command of the workflow calls; plug-ins come on top.
COMMANDS = {
    "acquire": ("datasets.pipeline:acquire",),
    "convert": ("datasets.pipeline:convert",),
    "checks": ("datasets.pipeline:draw_checks",),
    "relabel": ("labels.relabel",),
    "neighbours": ("neighbours:build",),
    "split": ("splits:split",),
    "card": ("datasets.card",),
    "pretrain": ("training.run:run_all", "training.data"),
    "finetune": ("training.run:run_all", "training.data"),
    "probe": ("evaluation.probes", "training.data"),
    "collect-probes": ("evaluation.probe_table:collect_probes",),
    "collect": ("analysis.collect",),
    "details": ("evaluation.details",),
    "collect-details": ("evaluation.details_table:collect_details",),
    "dynamics": ("potential.dynamics",),
    "collect-dynamics": ("potential.dynamics_table",),
    "statistics": ("analysis.statistics",),
    "tables": ("analysis.tables",),
    "figures": ("analysis.figures",),
    "details-figure": ("analysis.details_figure",),
    "dynamics-figure": ("analysis.dynamics_figure",),
    "claims": ("analysis.claims",),
    "answer": ("questions.answer",),
    "report": ("report.page",),
}
PACKAGE = Path(__file__).resolve().parent
_IMPORT = re.compile(r"^[ \t]*(?:from +(priorbench[\w.]*) +import +(\([^)]*\)|.*)|import +(priorbench[\w.]*))", re.M)
_INDENTED = re.compile(r"^[ \t]+(?:from|import) +priorbench", re.M)
_PASSED_OVER = re.compile(r"\.pyc?$|^\.|~$")  # modules, caches, what editors leave
_TYPES_ONLY = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n|\n)+", re.M)

Names = frozenset[str]  # of a module what is used; none for all of it


def code_of(command: str, **plug_ins: str) -> str:
    """:func:`code_hash` of a command of the workflow with the registered ``plug_ins`` that it uses, by their kinds.

    One that is registered from outside this package counts by its own text.
    """
    entries = COMMANDS[command]
    found = []
    outside: list[bytes] = []
    for kind, name in plug_ins.items():
        registry = QUESTIONS if kind == "question" else REGISTRIES[kind]
        module = registry[name].partition(":")[0]
        if not module.startswith("priorbench."):
            origin = (spec := find_spec(module)) and spec.origin
            outside.append(Path(origin).read_bytes() if origin else module.encode())
            continue
        module = module.removeprefix("priorbench.")
        function = entries[0].partition(":")[2] if kind == "dataset" else ""  # the method of the same name
        found.append(f"{module}:{function}" if function else module)
    own = code_hash(*entries, *found)
    return hashlib.sha256(b"\0".join([own.encode(), *outside])).hexdigest() if outside else own


@cache
def code_hash(*entries: str) -> str:
    """SHA-256 over the texts of :func:`sources`, and of the files beside them that are no modules.

    Those are C sources and assets; of several modules in a folder, one has those of its own name and of no module's.
    """
    digest = hashlib.sha256()
    for module in sources(*entries):
        digest.update(_content(module))
    return digest.hexdigest()


def sources(*entries: str) -> list[str]:
    """The modules ``entries`` and all of this package that they import, sorted, by their names in it.

    An entry is a module, or ``module:function``: then of the imports within functions only those count that it can
    reach.  Plug-ins are found by name at run time, so each is an entry of its own.
    """
    found: dict[str, set[Names]] = {}
    waiting = [(name, frozenset(filter(None, [function]))) for name, _, function in (e.partition(":") for e in entries)]
    while waiting:
        name, names = waiting.pop()
        known = found.setdefault(name, set())
        if names not in known:
            known.add(names)
            waiting += _imports(name, names)
    return sorted(found)


@cache
def _path(name: str) -> Path | None:
    """The file of a module or package; None for what is neither."""
    stem = PACKAGE.joinpath(*name.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


@cache
def _text(name: str) -> str:
    """The text of a module without what is imported for types alone."""
    path = _path(name)
    if path is None:
        raise ValueError(f"no module {name!r} in {PACKAGE}")
    return _TYPES_ONLY.sub("", path.read_text(encoding="utf-8"))


@cache
def _imports(name: str, names: Names) -> list[tuple[str, Names]]:
    """Every module of this package that a module imports where it uses ``names``, and what of each."""
    found: list[tuple[str, Names]] = []
    for origin, imported, whole in _IMPORT.findall(_reached(name, names)):
        module = (origin or whole).removeprefix("priorbench").removeprefix(".")
        words = re.findall(r"(\w+)(?: +as +\w+)?", re.sub(r"#.*", "", imported))
        inside = {word: f"{module}.{word}".removeprefix(".") for word in words}
        found += [(full, frozenset()) for full in inside.values() if _path(full)]
        if module and _path(module):
            found.append((module, frozenset(word for word, full in inside.items() if not _path(full))))
    return [(module, used) for module, used in found if module not in ASIDE]


def _reached(name: str, names: Names) -> str:
    """The text of a module without the functions that neither ``names`` nor the module's own level can reach.

    Whatever has the name of a function is taken for it; all methods of a class can be reached with the class.
    """
    text = _text(name)
    if not names or not _INDENTED.search(text):
        return text
    functions, reaches, level = _parts(name)
    waiting, seen = [*names, "__init__", *level], set[str]()
    while waiting:
        if (word := waiting.pop()) not in seen:
            seen.add(word)
            waiting += reaches.get(word, ())
    lines = text.splitlines()
    for function in functions.keys() - seen:
        for start, end in functions[function]:
            lines[start:end] = [""] * (end - start)
    return "\n".join(lines)


@cache
def _parts(name: str) -> tuple[dict[str, list[tuple[int, int]]], dict[str, set[str]], set[str]]:
    """Of a module the lines of each function and method, what each function and class reaches, and its own level."""
    functions, reaches, level = dict[str, list[tuple[int, int]]](), dict[str, set[str]](), set[str]()
    nodes: list[ast.AST] = [*ast.parse(_text(name)).body]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.FunctionDef):
            functions.setdefault(node.name, []).append((node.lineno - 1, node.end_lineno or node.lineno))
            reaches.setdefault(node.name, set()).update(_words(node))
        elif isinstance(node, ast.ClassDef):
            methods = {method.name for method in node.body if isinstance(method, ast.FunctionDef)}
            reaches.setdefault(node.name, set()).update(methods, *map(_words, node.bases))
            nodes += node.body
        else:
            level |= _words(node)
    return functions, reaches, level


def _words(node: ast.AST) -> set[str]:
    """Every name and attribute in ``node``."""
    found = set[str]()
    for inside in ast.walk(node):
        if isinstance(inside, ast.Name):
            found.add(inside.id)
        elif isinstance(inside, ast.Attribute):
            found.add(inside.attr)
    return found


@cache
def _content(name: str) -> bytes:
    """The module and the files that go with it, each after its place."""
    path = _path(name)
    assert path is not None
    files = [path]
    if path.parent != PACKAGE:
        beside = [file for file in path.parent.rglob("*") if file.is_file() and not _PASSED_OVER.search(file.name)]
        others = {file.stem for file in path.parent.glob("*.py")} - {path.stem}
        files += sorted(file for file in beside if file.stem not in others)
    return b"".join(f"{f.relative_to(PACKAGE).as_posix()}\0".encode() + f.read_bytes() + b"\0" for f in files)
