"""REPORT.md from report.json, and from nothing else: it formats and never computes."""

from collections.abc import Mapping

from hf_encls.reproduction import page_costs, page_head, page_scores
from hf_encls.reproduction.page import Page


def render(report: Mapping) -> str:
    """The page as Markdown. Every number in it is a number or a part of a text in `report`."""
    page = Page(report)
    sections = [
        page_head.head(page),
        page_scores.claims(page),
        page_scores.table_1(page),
        page_scores.merit(page),
        page.pictures("figure_4"),
        page_scores.convergence(page),
        page_scores.equal_epochs(page),
        page.pictures("figure_2"),
        page_costs.sizes(page),
        page_costs.load(page),
        page_costs.timing(page),
        page_scores.table_2(page),
        page_scores.ambiguities(page),
        page_head.presets(page),
        page_head.cells(page),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"
