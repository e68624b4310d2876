"""The pictures of a bench: subjects against streams, and none where there is nothing to compare."""

from loadtests.bench_plots import streams_picture, streams_pictures

FIGURES = {"1 x tok/s": [10.0, 12.0], "8 x tok/s": [50.0, 60.0], "1 x TTFT ms": [4.0], "8 x TTFT ms": [9.0]}


def test_subjects_of_several_streams_are_drawn() -> None:
    picture = streams_picture("Two services", {"ours": FIGURES, "theirs": FIGURES, "empty": {}})
    assert picture is not None and picture.png.startswith(b"\x89PNG")
    assert all(text in picture.svg for text in ("Two services", "ours", "theirs", "Time to first token"))
    assert "empty" not in picture.svg


def test_only_tables_with_such_figures_have_a_picture() -> None:
    groups = {"Starts": ["other"], "Speeds": ["ours", "absent"]}
    found = streams_pictures(groups, {"other": {"ready s": [3.0], "1 x tok/s": [1.0]}, "ours": FIGURES})
    assert list(found) == ["streams-2"] and found["streams-2"].title == "Speeds"
