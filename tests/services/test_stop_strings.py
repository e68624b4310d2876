"""StopStrings: what is shown is the text up to the first stop string, whatever the pieces it came in."""

from hypothesis import given
from hypothesis import strategies as st

from app.services.stop_strings import StopStrings

letters = st.text("ab", min_size=1, max_size=4)


def shown(stops: list[str], pieces: list[str]) -> tuple[list[str], StopStrings]:
    watcher = StopStrings(stops)
    return [*(watcher.feed(piece) for piece in pieces), watcher.flush()], watcher


@given(st.lists(letters, max_size=4), st.lists(st.text("ab", max_size=3), max_size=8))
def test_the_text_is_cut_at_the_first_stop_string(stops: list[str], pieces: list[str]) -> None:
    text = "".join(pieces)
    ends = sorted((text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text)
    parts, watcher = shown(stops, pieces)
    if not ends:
        assert "".join(parts) == text
        assert watcher.found is None
    else:
        assert watcher.found in stops
        assert "".join(parts) + watcher.found == text[: len("".join(parts)) + len(watcher.found)]
        assert not any(stop in "".join(parts) for stop in stops)


def test_a_stop_string_over_several_pieces_never_shows() -> None:
    parts, watcher = shown(["\n\nUser:"], ["Hi.\n", "\nUs", "er", ": more", " and more"])
    assert parts == ["Hi.", "", "", "", "", ""]
    assert watcher.found == "\n\nUser:"


def test_what_is_no_stop_string_after_all_is_shown_as_soon_as_that_is_sure() -> None:
    parts, _ = shown(["END"], ["the E", "N", "tity", " E"])
    assert parts == ["the ", "", "ENtity", " ", "E"]
