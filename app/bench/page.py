"""A page of a run: one HTML file with the pictures and tables in it, which loads nothing."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from app.bench.plots import Picture

_STYLE = """\
body{font:16px/1.5 system-ui,sans-serif;max-width:78rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}figure{margin:1rem 0}svg{max-width:100%;height:auto}
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
figure svg{width:100%}
td,th{padding:.25rem .7rem;border-bottom:1px solid #ccc;text-align:right}td:first-child,th:first-child{text-align:left}
.facts td{text-align:left}
code{background:#f2f2f2;padding:.1rem .3rem;overflow-wrap:anywhere}"""


def page(title: str, facts: Mapping[str, str], pictures: Sequence[Picture], text: str) -> str:
    """The whole file.

    Args:
        facts: what the run was: date, machine, command.
        text: the report in markdown: headings, tables and paragraphs.
    """
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts.items()
    )
    figures = "".join(
        f'<figure role="img" aria-label="{escape(picture.title)}">{_svg(picture.svg, number)}</figure>'
        for number, picture in enumerate(pictures)
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f'<table class="facts">{rows}</table>'
        f"{figures}{_html(text)}</body></html>\n"
    )


def save(directory: Path, stem: str, title: str, facts: Mapping[str, str], pictures: Mapping[str, Picture], text: str
         ) -> list[Path]:  # fmt: skip
    """Write `STEM-NAME.png` for each picture and `STEM.html`; returns the paths.

    Raises:
        OSError: they cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, picture in pictures.items():
        path = directory / f"{stem}-{name}.png"
        picture.save(path)
        paths.append(path)
    whole = directory / f"{stem}.html"
    whole.write_text(page(title, facts, list(pictures.values()), text), encoding="utf-8")
    return [*paths, whole]


def _svg(svg: str, number: int) -> str:
    """The picture with ids of its own: two of one page must not share their clip paths."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return re.sub(r'(id="|url\(#|href="#)', rf"\g<1>p{number}-", svg)


def _html(markdown: str) -> str:
    """The little markdown that reports are written in."""
    parts = []
    for block in re.split(r"\n\s*\n", markdown.strip()):
        lines = block.splitlines()
        if lines[0].startswith("#"):
            level = min(max(len(lines[0]) - len(lines[0].lstrip("#")), 2), 4)
            parts.append(f"<h{level}>{_inline(lines[0].lstrip('# '))}</h{level}>")
            lines = lines[1:]
        if lines and lines[0].startswith("|"):
            parts.append(_table(lines))
        elif lines and lines[0].startswith("- "):
            items = re.split(r"\n- ", "\n".join(lines)[2:])
            parts.append("<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>")
        elif lines:
            parts.append(f"<p>{_inline(' '.join(lines))}</p>")
    return "".join(parts)


def _table(lines: Sequence[str]) -> str:
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    head = "".join(f"<th>{_inline(cell)}</th>" for cell in cells[0])
    rows = "".join(
        "<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>" for row in cells[2:]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _inline(text: str) -> str:
    """Code and bold; of a link, which would lead nowhere from here, the text."""
    text = re.sub(r"\[([^\]]+)\]\([^)\s]+\)", r"\1", escape(text, quote=False))
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text, flags=re.DOTALL)
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
