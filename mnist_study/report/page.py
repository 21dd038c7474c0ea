"""A page as a list of blocks, written as Markdown and as one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """A title; level 1 is the page's."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph; **bold** and `code` are understood."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows under a head; cells are texts."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A PNG file beside the page, and what it shows."""

    name: str
    caption: str


Block = Heading | Text | Bullets | Table | Picture

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem }
h1, h2, h3 { line-height: 1.2 }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; padding-bottom: .3rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: 14px; width: 100% }
td, th { border: 1px solid #ddd; padding: .35rem .5rem; text-align: left; vertical-align: top }
th { background: #f5f5f5 }
code { background: #f3f3f3; padding: .1em .25em; font-size: 90% }
figure { margin: 1.5rem 0 }
img { max-width: 100% }
figcaption { font-size: 14px; color: #555 }
"""


def markdown(blocks: Sequence[Block]) -> str:
    """The page as Markdown; pictures are links to files beside it."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Text(text):
            return text
        case Bullets(items):
            return "\n".join(f"- {item}" for item in items)
        case Table(head, rows):
            lines = [head, ["---"] * len(head), *rows]
            return "\n".join(
                f"| {' | '.join(c.replace('|', '/') for c in line)} |" for line in lines
            )
        case Picture(name, caption):
            return f"![{caption}]({name})\n\n*{caption}*"


def page_html(blocks: Sequence[Block], pictures: Mapping[str, bytes]) -> str:
    """The page as one HTML file that needs no other. Args: pictures: name -> PNG file."""
    title = next((b.text for b in blocks if isinstance(b, Heading)), "")
    body = "\n".join(_html(block, pictures) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block, pictures: Mapping[str, bytes]) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_inline(text)}</h{level}>"
        case Text(text):
            return f"<p>{_inline(text)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>"
        case Table(head, rows):
            first = "".join(f"<th>{_inline(cell)}</th>" for cell in head)
            rest = "".join(
                f"<tr>{''.join(f'<td>{_inline(c)}</td>' for c in row)}</tr>" for row in rows
            )
            return f'<div class="wide"><table><tr>{first}</tr>{rest}</table></div>'
        case Picture(name, caption):
            data = base64.b64encode(pictures[name]).decode()
            shown = html.escape(caption, quote=True)
            return (
                f'<figure><img alt="{shown}" src="data:image/png;base64,{data}">'
                f"<figcaption>{_inline(caption)}</figcaption></figure>"
            )


def _inline(text: str) -> str:
    safe = html.escape(text, quote=False)
    safe = safe.replace(" %", "\u00a0%")  # no line begins with it
    safe = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", safe)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", safe).replace("&lt;br&gt;", "<br>")
