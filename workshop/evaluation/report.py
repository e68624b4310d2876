"""The table of the model card: what was measured, the target, and whether it was reached."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One measured figure, with `most` for a target that is an upper bound; it may have none."""

    test: str
    reached: float
    rows: int
    target: float | None = None
    most: bool = False
    share: bool = True

    @property
    def passed(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.reached <= self.target if self.most else self.reached >= self.target

    def cells(self) -> tuple[str, str, str, str, str]:
        """Test, rows, target, reached, verdict."""
        bound = "" if self.target is None else f"{'<=' if self.most else '>='} {self._number(self.target)}"
        verdict = {None: "", True: "pass", False: "fail"}[self.passed]
        return self.test, str(self.rows), bound, self._number(self.reached), verdict

    def _number(self, value: float) -> str:
        return f"{100 * value:.1f} %" if self.share else f"{value:.3f}".rstrip("0").rstrip(".")


HEAD = ("test", "rows", "target", "reached", "")


def as_markdown(lines: list[Line]) -> str:
    """A Markdown table."""
    rows = [HEAD, ("---",) * 5, *(line.cells() for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def as_text(lines: list[Line]) -> str:
    """Aligned columns for a terminal."""
    rows = [HEAD, *(line.cells() for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
