"""Lines of figures as SVG, for the scripts here."""

COLOURS = ["#06c", "#c30", "#283", "#909"]


def short(value):
    for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= power:
            return f"{value / power:g}{letter}"
    return f"{value:g}"


def draw(path, title, axis, lines):
    """`lines`: a name and its points (x, y) for each. The x values of all of them are evenly apart."""
    columns = sorted({x for _, points in lines for x, _ in points})
    top = max(y for _, points in lines for _, y in points) or 1
    right = {x: 60 + 500 * (place + 0.5) / len(columns) for place, x in enumerate(columns)}
    body = []
    for (name, points), colour, row in zip(lines, COLOURS, range(len(lines))):
        place = [(right[x], 250 - 220 * y / top) for x, y in points]
        dots = "".join(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="{colour}"/>' for x, y in place)
        line = " ".join(f"{x:.0f},{y:.0f}" for x, y in place)
        body.append(f'<polyline points="{line}" fill="none" stroke="{colour}"/>{dots}')
        body.append(f'<text x="590" y="{40 + 16 * row}" fill="{colour}">{name}</text>')
    for x in columns:
        body.append(f'<text x="{right[x]:.0f}" y="268" text-anchor="middle">{short(x)}</text>')
    for part in (0, 0.5, 1):
        y = 254 - 220 * part
        body.append(f'<text x="52" y="{y:.0f}" text-anchor="end">{top * part:.3g}</text>')
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="780" height="300" '
        'font-family="sans-serif" font-size="12">'
        '<path d="M60 30V250H570" fill="none" stroke="#888"/>' + "".join(body) +
        f'<text x="315" y="290" text-anchor="middle">{axis}</text>'
        f'<text x="60" y="20">{title}</text></svg>\n')
