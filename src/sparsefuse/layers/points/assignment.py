"""The assignment problem: who takes what, so that all together cost least (Kuhn 1955, by shortest augmenting paths)."""

import numpy as np
from numpy.typing import NDArray


def assigned(cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """Costs (M, T), M at most T, of giving each row a column of its own -> the column of each row (M)."""
    rows, columns = cost.shape
    if rows > columns:
        raise ValueError(f"each row needs a column of its own; got {rows} rows and {columns} columns")
    row_price, price = np.zeros(rows), np.zeros(columns)
    owner, column_of = np.full(columns, -1), np.full(rows, -1)
    for new in range(rows):
        reach, before = np.full(columns, np.inf), np.full(columns, -1)
        done = np.zeros(columns, bool)
        row, length = new, 0.0
        while True:  # the tree of shortest paths from the new row grows until it meets a column that is free
            through = length + cost[row] - row_price[row] - price
            better = ~done & (through < reach)
            reach[better], before[better] = through[better], row
            column = int(np.where(done, np.inf, reach).argmin())
            length = reach[column]
            if owner[column] < 0:
                break
            done[column] = True
            row = int(owner[column])
        row_price[new] += length
        row_price[owner[done]] += length - reach[done]
        price[done] -= length - reach[done]
        while column >= 0:  # along the path each row takes the next column, and leaves its own to the one before
            row = int(before[column])
            owner[column] = row
            column_of[row], column = column, int(column_of[row])
    return column_of
