"""Draws docs/performance.svg from benchmarks/results.json: each form's share of the model's ceiling, and its target.

python benchmarks/chart.py
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
LEFT, WIDTH, LINE = 110, 480, 26
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #333 }
.bar { fill: #4a78b5 }
.target { stroke: #c0392b; stroke-width: 2 }
.axis { stroke: #999; stroke-width: 1 }
.note { fill: #777 }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd }
  .bar { fill: #7aa5dc }
  .target { stroke: #ff7b6b }
  .note { fill: #999 }
}
"""


def main() -> None:
    """Writes the chart."""
    rows = json.loads((HERE / "results.json").read_text())["table"]
    forms = [row for row in rows if row["target"].endswith("x ceiling")]
    height = LINE * len(forms) + 44
    end = LEFT + WIDTH
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {end + 150} {height}" role="img">',
        "<title>Images per second by form of input, as a share of the rate of the model alone</title>",
        f"<style>{STYLE}</style>",
    ]
    for position, row in enumerate(forms):
        y, share, target = 8 + LINE * position, row["value"], float(row["target"].split()[0])
        rate = row["measured"].split(", ")[1]
        target_x = LEFT + WIDTH * target
        lines += [
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(row["what"])}</text>',
            f'<rect class="bar" x="{LEFT}" y="{y}" width="{WIDTH * min(share, 1):.1f}" height="18"/>',
            f'<line class="target" x1="{target_x:.1f}" y1="{y - 2}" x2="{target_x:.1f}" y2="{y + 20}"/>',
            f'<text x="{end + 8}" y="{y + 14}">{share:.2f} · {rate}</text>',
        ]
    y = 8 + LINE * len(forms)
    lines += [
        f'<line class="axis" x1="{LEFT}" y1="{y}" x2="{end}" y2="{y}"/>',
        *(
            f'<text class="note" x="{LEFT + WIDTH * share:.0f}" y="{y + 18}" text-anchor="middle">{share:g}</text>'
            for share in (0, 0.25, 0.5, 0.75, 1)
        ),
        f'<text class="note" x="{end + 24}" y="{y + 18}">red: target</text>',
        "</svg>",
    ]
    (HERE.parent / "docs" / "performance.svg").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
