"""What the pictures share: boxes, arrows, and colours for light and dark.

A picture has a background of its own, so it can be read on any page.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

STYLE = """<style>
text { font-family: sans-serif; fill: #222 }
.paper { fill: #fff } .zone { fill: #f5f6f8; stroke: none }
.ours { fill: #e4ecf5; stroke: #456 } .theirs { fill: #e8f1e4; stroke: #454 } .failed { fill: #f8e6e1; stroke: #a54 }
.small { fill: #444 } .line { fill: none; stroke: #666 } .head { fill: #666 } .again { stroke-dasharray: 5 4 }
@media (prefers-color-scheme: dark) {
  text { fill: #e4e4e4 }
  .paper { fill: #16181b } .zone { fill: #202328 }
  .ours { fill: #25344a; stroke: #8aa6c8 } .theirs { fill: #263a2a; stroke: #8fb996 }
  .failed { fill: #482d28; stroke: #d9988a }
  .small { fill: #bbb } .line { stroke: #a0a0a0 } .head { fill: #a0a0a0 }
}
</style>"""
HEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 L8 4 L0 8 z" class="head"/></marker></defs>'
)


def text(x: int, y: int, words: str, *, size: int = 14, small: bool = False, anchor: str = "middle") -> str:
    """One line of text."""
    kind = ' class="small"' if small else ""
    return f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}"{kind}>{escape(words)}</text>'


def line(path: str, *, again: bool = False) -> str:
    """An arrow along an SVG path; dashed for what happens on another run."""
    return f'<path d="{path}" class="line{" again" if again else ""}" marker-end="url(#head)"/>'


@dataclass(frozen=True)
class Box:
    """A titled box; what it holds is below its title."""

    x: int
    y: int
    title: str
    holds: tuple[str, ...] = ()
    kind: str = "ours"
    width: int = 176
    height: int = 46

    @property
    def left(self) -> int:
        return self.x

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def top(self) -> int:
        return self.y

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def middle(self) -> int:
        return self.x + self.width // 2

    @property
    def centre(self) -> int:
        return self.y + self.height // 2

    def svg(self) -> list[str]:
        """The frame, the title, and the smaller lines."""
        return [
            f'<rect x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="5" class="{self.kind}"/>',
            text(self.middle, self.y + 20, self.title),
            *(
                text(self.middle, self.y + 37 + 14 * row, words, size=10, small=True)
                for row, words in enumerate(self.holds)
            ),
        ]


def picture(width: int, height: int, title: str, parts: list[str]) -> str:
    """The whole SVG."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
            f"<title>{escape(title)}</title>",
            STYLE,
            HEAD,
            f'<rect width="{width}" height="{height}" class="paper"/>',
            *parts,
            "</svg>",
            "",
        ]
    )
