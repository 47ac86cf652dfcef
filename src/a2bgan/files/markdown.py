"""Lines of Markdown tables."""

from collections.abc import Iterable, Sequence


def table_row(cells: Iterable[object]) -> str:
    """One line of a table; bars inside a cell are escaped."""
    escaped = (str(cell).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def table_head(names: Sequence[object]) -> list[str]:
    """The names of the columns, and the rule below them."""
    return [table_row(names), table_row(["---"] * len(names))]
