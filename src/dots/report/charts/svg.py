"""Building SVG and HTML elements whose text is always escaped."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

Value = str | int | float | None


def element(name: str, *children: str, **attributes: Value) -> Markup:
    """An element; attributes that are None are left out, "_" in their names becomes "-".

    Children that are Markup go in as they are, all other text is escaped. A trailing "_"
    keeps a Python keyword apart: class_="axis".
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_written(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if not children:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def _written(value: str | int | float) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)


def join(parts: Iterable[str]) -> Markup:
    """The parts one after the other, escaped where they are plain text."""
    return Markup("").join(parts)


def figure(
    width: float, height: float, label: str, *children: str, class_: str = "chart"
) -> Markup:
    """An inline SVG picture that scales with its column; `label` is what a reader hears."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {_written(float(width))} {_written(float(height))}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
        class_=class_,
    )


def text(x: float, y: float, content: str, anchor: str = "start", class_: str = "") -> Markup:
    """A line of text at a point."""
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=class_ or None)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def text_width(content: str, size: float = 11) -> float:
    """About how wide text is, in the units of `size`, in an ordinary sans-serif font."""
    return size * sum(_relative_width(char) for char in content)


def _relative_width(char: str) -> float:
    if ord(char) > 0x2E7F:  # wide scripts
        return 1.0
    if char in "il.,:;'|!()[]jtfr ":
        return 0.36
    return 0.7 if char.isupper() or char in "mwMW%" else 0.58


def marker(x: float, y: float, style: int, size: float = 4) -> Markup:
    """A point whose shape tells series apart where colour does not."""
    class_ = f"point s{style % 6}"
    s = size
    shapes: tuple[tuple[tuple[float, float], ...], ...] = (
        (),
        ((-s, -s), (s, -s), (s, s), (-s, s)),
        ((0, -s * 1.3), (s * 1.2, s), (-s * 1.2, s)),
        ((0, -s * 1.4), (s * 1.4, 0), (0, s * 1.4), (-s * 1.4, 0)),
        ((-s * 1.2, -s), (s * 1.2, -s), (0, s * 1.3)),
        ((-s * 0.5, -s * 1.3), (s * 0.5, -s * 1.3), (s * 0.5, s * 1.3), (-s * 0.5, s * 1.3)),
    )
    corners = shapes[style % 6]
    if not corners:
        return element("circle", cx=x, cy=y, r=s, class_=class_)
    at = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return element("polygon", points=at, class_=class_)
