"""The page of a run: whole in itself, and nothing of a report can become markup."""

import re
from pathlib import Path

from app.bench.page import page, save
from app.bench.plots import Picture

SVG = '<svg><defs><clipPath id="p"/></defs><g clip-path="url(#p)"/><use href="#p"/></svg>'


def test_two_pictures_of_one_page_share_no_ids() -> None:
    whole = page("t", {}, [Picture("a", b"", SVG), Picture("b", b"", SVG)], "text")
    names = re.findall(r'id="([^"]+)"', whole)
    assert len(names) == len(set(names)) == 2
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', whole)) == set(names)


def test_markdown_becomes_tables_lists_and_headings() -> None:
    table = "| a | b |\n| - | - |\n| 1 | 2 |"
    text = f"# Head\n\nwords `code`\nmore **bold** [link](page.md)\n\n- one\n  and more\n- two\n\n{table}"
    whole = page("t", {}, [], text)
    assert "<h2>Head</h2>" in whole
    assert "<p>words <code>code</code> more <strong>bold</strong> link</p>" in whole
    assert "<ul><li>one\n  and more</li><li>two</li></ul>" in whole
    assert "<thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody>" in whole


def test_what_a_server_said_stays_text() -> None:
    bad = "<script>alert(1)</script>"
    whole = page(bad, {"model": bad, bad: "x"}, [], f"- 1 x {bad}\n\n| {bad} |\n| - |\n| {bad} |\n\n# {bad}")
    assert "<script" not in whole and "Content-Security-Policy" in whole


def test_it_is_saved_with_its_pictures(tmp_path: Path) -> None:
    paths = save(tmp_path / "new", "run", "t", {}, {"one": Picture("a", b"png", SVG)}, "text")
    assert [path.name for path in paths] == ["run-one.png", "run.html"]
    assert paths[0].read_bytes() == b"png"
