"""Rows in columns."""

from collections.abc import Sequence

from headrace_cli.rendering.style import Style

GAP = "  "


def render_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], style: Style, status: int | None = None
) -> str:
    """The last column may be cut at the terminal's edge. `status` is the column that is painted
    by what it says."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [style.paint("strong", _line(heads, widths, style))]
    for row in rows:
        line = _line(row, widths, style)
        if status is not None and row[status]:
            start = sum(width + len(GAP) for width in widths[:status])
            word = row[status]
            line = line[:start] + style.paint(word, word) + line[start + len(word) :]
        lines.append(line)
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int], style: Style) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return style.shorten(GAP.join(padded).rstrip(), style.width)
