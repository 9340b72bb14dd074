"""Draws the least confident images of a run on image files: those that a person should look at first.

    python examples/sheet.py sample_data/digits out/digits sheet.png

Reads `predictions/` as any other program would, without mnist_batch.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

COLUMNS, ROWS, CELL, ZOOM = 10, 2, 112, 3


def draw_sheet(images: Path, output: Path, path: Path) -> None:
    """Writes a PNG of the images for which a run is least confident, lowest confidence first.

    images: the folder that was scored.
    output: the output folder of the run.
    """
    table = pq.read_table(output / "predictions").sort_by("confidence").slice(0, COLUMNS * ROWS)
    canvas = np.full((ROWS * (CELL + 28), COLUMNS * CELL, 3), 255, np.uint8)
    for position, row in enumerate(table.to_pylist()):
        top, left = position // COLUMNS * (CELL + 28) + 6, position % COLUMNS * CELL + (CELL - 28 * ZOOM) // 2
        digit = cv2.imread(str(images / row["id"]), cv2.IMREAD_GRAYSCALE)
        assert digit is not None
        ink = cv2.resize(digit, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST)
        canvas[top : top + 28 * ZOOM, left : left + 28 * ZOOM] = ink[..., None]
        wrong = row["label"] is not None and row["label"] != row["prediction"]
        colour = (40, 40, 200) if wrong else (70, 70, 70)
        text = f"{row['prediction']}   {row['confidence']:.0%}"
        cv2.putText(
            canvas, text, (left + 2, top + 28 * ZOOM + 24), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, 1, cv2.LINE_AA
        )
    cv2.imwrite(str(path), canvas)


if __name__ == "__main__":
    draw_sheet(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
