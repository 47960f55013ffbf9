"""The shape of the code in figures, and the bars that ``make check`` holds it to.

``python -m docs.shape`` prints a line for each house and fails where a bar is passed. A file's
length is its lines; a function's that of its body, the docstring left out. Layers and circles are
the contracts of import-linter, types mypy's, both in pyproject.toml.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOUSES = ("ingress", "deployments", "models", "client", "benchmarks", "web")
SUFFIXES = frozenset({".py", ".js", ".css", ".html"})

MAX_FILE, P90_FILE = 350, 250  # lines
MEDIAN_FUNCTION, P90_FUNCTION = 6, 16  # lines
BROAD_PER_1000 = 1.0  # handlers of Exception, BaseException or anything, per 1,000 lines

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(slots=True)
class Shape:
    """What was measured of one house."""

    files: list[int] = field(default_factory=list)
    functions: list[int] = field(default_factory=list)
    slots: int = 0  # parameters and return values
    typed: int = 0
    broad: int = 0

    def faults(self) -> Iterator[str]:
        """The bars that are passed, in words."""
        per_1000 = 1000 * self.broad / sum(self.files)
        yield from _over("the longest file", max(self.files), MAX_FILE)
        yield from _over("the 90th percentile of files", percentile(self.files, 0.9), P90_FILE)
        yield from _over("broad excepts per 1,000 lines", per_1000, BROAD_PER_1000)
        if self.functions:
            median, p90 = statistics.median(self.functions), percentile(self.functions, 0.9)
            yield from _over("the median function", median, MEDIAN_FUNCTION)
            yield from _over("the 90th percentile of functions", p90, P90_FUNCTION)
        if self.typed < self.slots:
            yield f"{self.slots - self.typed} parameters or return values have no type"

    def __str__(self) -> str:
        files, functions = _three(self.files), _three(self.functions) if self.functions else "-"
        typed = f"{100 * self.typed / self.slots:.0f} %" if self.slots else "-"
        return (
            f"{len(self.files)} files of {sum(self.files)} lines, {files}; functions {functions}; "
            f"typed {typed}; broad excepts {self.broad}"
        )


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which that share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measured(house: str) -> Shape:
    """The shape of the files in that folder, those of other languages by their lengths alone."""
    shape = Shape()
    for path in sorted((ROOT / house).rglob("*")):
        others = {part for part in path.parts if part.startswith(".") or part == "vendor"}
        if path.suffix in SUFFIXES and not others and (text := path.read_text()).strip():
            shape.files.append(text.count("\n"))
            if path.suffix == ".py":
                _measure(ast.parse(text), shape)
    return shape


def _measure(tree: ast.Module, shape: Shape) -> None:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            shape.functions.append(_length(node))
            parameters = [a for a in (*node.args.args, *node.args.kwonlyargs) if not _is_self(a)]
            shape.slots += len(parameters) + 1
            shape.typed += sum(a.annotation is not None for a in parameters)
            shape.typed += node.returns is not None
        elif isinstance(node, ast.ExceptHandler):
            shape.broad += _is_broad(node)


def _length(function: Function) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def _is_self(parameter: ast.arg) -> bool:
    return parameter.arg in ("self", "cls")


def _is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {name.id for name in caught if isinstance(name, ast.Name)}
    return handler.type is None or bool(names & {"Exception", "BaseException"})


def _over(what: str, value: float, bar: float) -> Iterator[str]:
    if value > bar:
        yield f"{what}: {value:g}, at most {bar:g}"


def _three(values: Sequence[float]) -> str:
    middle, p90 = statistics.median(values), percentile(values, 0.9)
    return f"median {middle:g}, p90 {p90:g}, longest {max(values):g}"


def main() -> int:
    """Print the figures; 1 where a bar is passed."""
    faults: list[str] = []
    for house in HOUSES:
        shape = measured(house)
        sys.stdout.write(f"{house}: {shape}\n")
        faults += (f"{house}: {fault}" for fault in shape.faults())
    for fault in faults:
        sys.stderr.write(f"too much: {fault}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
