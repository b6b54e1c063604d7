"""The largest matching of events: Hopcroft and Karp's method, in the order of steps of mir_eval and sed_eval.

Where several matchings are the largest, what is left over depends on that order, and with it the substitutions that
sed_eval counts.
"""

import numpy as np


def largest_matching(fits: np.ndarray) -> tuple[list[int], list[int]]:
    """Pairs of rows and columns that fit, (rows, columns) boolean, each used once and as many as there can be."""
    neighbours: dict[int, list[int]] = {}  # of each column: its rows
    for row, column in np.argwhere(fits).tolist():
        neighbours.setdefault(column, []).append(row)
    matching: dict[int, int] = {}  # row -> column
    for column, rows in neighbours.items():
        free = next((row for row in rows if row not in matching), None)
        if free is not None:
            matching[free] = column
    while _augment(neighbours, matching):
        pass
    rows = sorted(matching)
    return rows, [matching[row] for row in rows]


def _augment(neighbours: dict[int, list[int]], matching: dict[int, int]) -> bool:
    """Make the matching larger along shortest paths; False where it is the largest."""
    before_row: dict[int, list[int]] = {}
    taken = set(matching.values())
    before_column: dict[int, int | None] = {column: None for column in neighbours if column not in taken}
    layer, ends = list(before_column), []
    while layer and not ends:
        columns_of: dict[int, list[int]] = {}
        for column in layer:
            for row in neighbours[column]:
                if row not in before_row:
                    columns_of.setdefault(row, []).append(column)
        layer = []
        before_row |= columns_of
        for row in columns_of:
            if row in matching:
                layer.append(matching[row])
                before_column[matching[row]] = row
            else:
                ends.append(row)

    def follow(row: int) -> bool:
        for column in before_row.pop(row, ()):
            if column in before_column:
                earlier = before_column.pop(column)
                if earlier is None or follow(earlier):
                    matching[row] = column
                    return True
        return False

    for row in ends:
        follow(row)
    return bool(ends)
