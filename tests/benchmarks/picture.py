"""The benchmark's bars as SVG, with nothing to install."""

from __future__ import annotations

from html import escape

COLORS = {
    "floor": "#bbbbbb",
    "torch's floor": "#dddddd",
    "ours": "#1f77b4",
    "every pixel": "#6baed6",
    "plain": "#9ecae1",
    "torch": "#d62728",
    "torch.compile": "#ff9896",
    "jax": "#2ca02c",
    "scikit-learn": "#ff7f0e",
}
BAR, GAP, LEFT, WIDTH = 12, 18, 260, 560  # pixels


def bars(rows):
    """A group of bars a row: time of a step relative to ours; shorter is faster."""
    longest = max(t / r["microseconds"]["ours"] for r in rows for t in r["microseconds"].values())
    shapes, y = [], 50
    for row in rows:
        label = f"{row['optimizer']}: {row['case']}"
        shapes.append(f'<text x="{LEFT - 8}" y="{y + BAR}" text-anchor="end">{label}</text>')
        for name, color in COLORS.items():
            if name not in row["microseconds"]:
                continue
            time = row["microseconds"][name]
            length = WIDTH * time / row["microseconds"]["ours"] / longest
            shapes.append(
                f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 1}" fill="{color}"/>'
                f'<text x="{LEFT + length + 4:.1f}" y="{y + BAR - 3}">{time:.0f} µs</text>'
            )
            y += BAR
        y += GAP
    legend = "".join(
        f'<rect x="{20 + 98 * i}" y="16" width="12" height="12" fill="{color}"/>'
        f'<text x="{36 + 98 * i}" y="26">{escape(name)}</text>'
        for i, (name, color) in enumerate(COLORS.items())
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 90}" height="{y}" '
        'font-family="sans-serif" font-size="11">'
        f'<rect width="100%" height="100%" fill="white"/>{legend}{"".join(shapes)}</svg>\n'
    )
