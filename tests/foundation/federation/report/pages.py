"""A report's page, read back."""

from html.parser import HTMLParser

from foundation.federation.report.page import write_report

Rows = dict[str, list[str]]


class Page(HTMLParser):
    """The tables of a page by their caption, its text, and whether its elements close as they should."""

    VOID = ("meta",)

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, Rows] = {}
        self.words: list[str] = []
        self.open: list[str] = []
        self.row: list[str] | None = None
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag in self.VOID:
            return
        self.open.append(tag)
        if tag == "caption":
            self.caption = ""
        elif tag == "tr":
            self.row = []
        elif tag in ("th", "td") and self.row is not None:
            self.row.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "caption":
            self.tables[self.caption] = {}
        elif tag == "tr" and self.row is not None:
            self.tables[self.caption][self.row[0]] = self.row[1:]
            self.row = None

    def handle_data(self, data):
        if self.open and self.open[-1] == "caption":
            self.caption += data
        elif self.row:
            self.row[-1] += data
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def report(*arguments, **settings) -> str:
    return write_report(*arguments, **settings).read_text()
