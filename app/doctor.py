"""`python -m app doctor`."""


def main(options: list[str]) -> int:
    return 0
