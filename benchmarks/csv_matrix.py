"""How fast pyarrow alone reads a CSV file of a label and 784 pixels into a matrix, with all cores.

    python benchmarks/csv_matrix.py FILE

Prints rows per second.
"""

import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.csv

started = time.monotonic()
table = pa.csv.read_csv(
    sys.argv[1],
    pa.csv.ReadOptions(block_size=1 << 24),
    convert_options=pa.csv.ConvertOptions(column_types={f"pixel{position}": pa.uint8() for position in range(784)}),
)
matrix = np.empty((len(table), 784), np.uint8)
first = 0
for batch in table.to_batches():
    columns = [column.to_numpy() for column in batch.columns[1:]]
    matrix[first : first + len(batch)] = np.stack(columns, axis=1)
    first += len(batch)
print(round(len(matrix) / (time.monotonic() - started)))
