"""Tables for a paper: LaTeX with booktabs, and Markdown."""

from collections.abc import Iterable, Mapping

from medistill.report.rivals.costs import TIMES
from medistill.report.rivals.tables import DAGGER, Best
from medistill.report.tables import Table, markdown
from medistill.report.wording import MINUS, UNDEFINED

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "[": "{[}", "]": "{]}", "*": "{*}",  # a row that begins with one would be an option of \\
    "±": r"$\pm$", TIMES: r"$\times$", "·": r"$\cdot$", DAGGER: r"$\dagger$",
    MINUS: "$-$", UNDEFINED: "--",
}  # fmt: skip


def latex(tables: Mapping[str, Table]) -> str:
    """All tables in one file, each with its name as a label; `booktabs` is needed."""
    return "\n\n".join(_tabular(name, table) for name, table in tables.items()) + "\n"


def as_markdown(tables: Mapping[str, Table]) -> str:
    """All tables in one file, each under its caption; the best of a row is bold."""
    parts = []
    for table in tables.values():
        rows = [[f"**{c}**" if isinstance(c, Best) else c for c in row] for row in table.rows]
        parts.append(f"{table.caption}\n\n{markdown([list(table.head), *rows])}")
    return "\n\n".join(parts) + "\n"


def _tabular(name: str, table: Table) -> str:
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(table.caption)}}}",
        rf"\label{{tab:{name}}}",
        rf"\begin{{tabular}}{{{'l' * len(table.head)}}}",
        r"\toprule",
        _line(table.head),
        r"\midrule",
        *map(_line, table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    told = (
        rf"\textbf{{{_escaped(cell)}}}" if isinstance(cell, Best) else _escaped(cell)
        for cell in cells
    )
    return " & ".join(told) + r" \\"


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(letter, letter) for letter in text)
