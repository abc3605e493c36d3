"""Plots with two logarithmic axes, as SVG of plain lines and text."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 84, 232, 48, 56
# Told apart also by those who do not tell red from green, and by their marks.
COLORS = ["#0b62a4", "#d1495b", "#2e8b57", "#8a4fb0", "#c77700", "#3a3a3a"]
MARKS = ["circle", "square", "diamond"]


def decades(values):
    """The powers of ten from at or below the least value to at or above the largest."""
    low = math.floor(math.log10(min(values)) + 1e-9)
    high = math.ceil(math.log10(max(values)) - 1e-9)
    return list(range(low, max(high, low + 1) + 1))


def mark(kind, x, y, color):
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if kind == "diamond" else ""
    return f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" fill="{color}"{turn}/>'


def text(x, y, said, **attributes):
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(said)}</text>'


def draw(title, x_title, series, show_x, show_y):
    """`series` is a mapping of names to lists of (x, y); `show_x` and `show_y` name a power of ten."""
    points = [point for line in series.values() for point in line]
    columns, rows = decades([x for x, _ in points]), decades([y for _, y in points])
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at_x(x):
        return LEFT + wide * (math.log10(x) - columns[0]) / (columns[-1] - columns[0])

    def at_y(y):
        return TOP + high * (rows[-1] - math.log10(y)) / (rows[-1] - rows[0])

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' role="img" aria-label="{escape(title)}" font-family="sans-serif" font-size="13" fill="#222">',
        # A background of its own: the page may be dark.
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#fff"/>',
        text(LEFT, 28, title, font_size=16, font_weight="bold"),
        text(LEFT + wide / 2, HEIGHT - 14, x_title, text_anchor="middle"),
    ]
    for power in columns:
        x = at_x(10.0**power)
        drawn.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{TOP + high}" stroke="#ddd"/>')
        drawn.append(text(x, TOP + high + 20, show_x(power), text_anchor="middle"))
    for power in rows:
        y = at_y(10.0**power)
        drawn.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + wide}" y2="{y:.1f}" stroke="#ddd"/>')
        drawn.append(text(LEFT - 8, y + 4, show_y(power), text_anchor="end"))
    # The legend is in the order of the right ends, so that the eye finds the line.
    names = sorted(series, key=lambda name: -max(series[name])[1])
    for place, name in enumerate(names):
        number = list(series).index(name)
        color, kind = COLORS[number % len(COLORS)], MARKS[number % len(MARKS)]
        line = sorted(series[name])
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in line)
        dashes = "" if name.startswith("cacheness") else ' stroke-dasharray="6 4"'
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dashes}/>')
        drawn.extend(mark(kind, at_x(x), at_y(y), color) for x, y in line)
        x, y = LEFT + wide + 22, TOP + 10 + 24 * place
        drawn.append(f'<line x1="{x - 10}" y1="{y}" x2="{x + 10}" y2="{y}" stroke="{color}" stroke-width="2"{dashes}/>')
        drawn.append(mark(kind, x, y, color))
        drawn.append(text(x + 18, y + 4, name))
    drawn.append("</svg>")
    return "\n".join(drawn) + "\n"
