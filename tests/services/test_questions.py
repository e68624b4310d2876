import pytest

from app.errors import InvalidRequest
from app.services.questions import Label, checked_labels


def check(*texts: str) -> list[str]:
    labels = [Label(text) for text in texts]
    return [label.text for label in checked_labels(labels, "labels", least=2, most=4)]


def test_labels_are_normalised() -> None:
    assert check(" e\u0301 ", "o") == ["\u00e9", "o"]


@pytest.mark.parametrize(
    "texts",
    [
        ["one"],
        ["1", "2", "3", "4", "5"],
        ["a", " "],
        ["a", " a"],
        ["\u00e9", "e\u0301"],
        ["a", "b\nc"],
        ["a", "b\x00c"],
        ["a", "b\u2028c"],
        ["a", "b" * 129],
    ],
)
def test_bad_labels_are_refused_without_echo(texts: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(*texts)
    assert caught.value.param == "labels"
    assert "b\n" not in caught.value.message


def test_128_characters_are_a_label() -> None:
    assert check("a", "b" * 128)
