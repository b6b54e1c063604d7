"""What every section of the report's page has at hand. Its parts format and never compute."""

from collections.abc import Mapping, Sequence


class Page:
    """The report, and how its data sets, inputs, pictures and sections stand on the page."""

    def __init__(self, report: Mapping):
        self.report = report
        self.texts = report["texts"]
        self.datasets = {row["key"]: row["label"] for row in report["datasets"]}
        self.inputs = {row["key"]: row["label"] for row in report["inputs"]}

    def pictures(self, kind: str) -> str:
        """A section of pictures."""
        return self.section(kind, ["", self.picture_lines(kind)]) if self.picture_lines(kind) else ""

    def picture_lines(self, kind: str) -> str:
        """The pictures of a kind."""
        rows = [row for row in self.report["pictures"] if row["kind"] == kind]
        return "\n\n".join(f"![{row['title']}]({row['file']})" for row in rows)

    def section(self, name: str, parts: Sequence[str]) -> str:
        """A section with its heading and its note; nothing where there are no parts."""
        if not parts:
            return ""
        note = self.texts.get(f"{name}_note")
        return "\n".join([f"## {self.texts[name]}", *(["", note] if note else []), *parts]).rstrip()

    def dataset(self, row: Mapping) -> str:
        """The name of a row's data set."""
        return self.datasets[row["dataset"]]

    def input(self, row: Mapping) -> str:
        """The name of a row's input."""
        return self.inputs[row["input"]]
