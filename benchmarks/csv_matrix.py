"""How fast pyarrow alone reads a CSV file of a label and 784 pixels into a matrix.

    python benchmarks/csv_matrix.py FILE

Prints rows per second. pyarrow parses blocks of 16 MB with all cores.
"""

import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.csv

started = time.monotonic()
rows = 0
reader = pa.csv.open_csv(
    sys.argv[1],
    pa.csv.ReadOptions(block_size=1 << 24),
    convert_options=pa.csv.ConvertOptions(column_types={f"pixel{position}": pa.uint8() for position in range(784)}),
)
for batch in reader:
    matrix = np.empty((784, len(batch)), np.uint8)
    for position, column in enumerate(batch.columns[1:]):
        matrix[position] = column.to_numpy()
    rows += len(np.ascontiguousarray(matrix.T))
print(round(rows / (time.monotonic() - started)))
