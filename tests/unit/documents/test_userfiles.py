"""libs/hocket/documents/userfiles.py, and the sentiment engine that goes by such files."""

from hocket.core.work import Work
from hocket.documents.userfiles import merged
from services.workers.extraction.local import run as extract
from services.workers.sentiment.local import run


def test_tables_merge_lists_go_in_front_and_values_replace():
    under = {"a": {"x": 1, "y": 2}, "list": ["old", "both"]}
    over = {"a": {"y": 3}, "list": ["new", "both"]}
    assert merged(under, over) == {"a": {"x": 1, "y": 3}, "list": ["new", "both", "old"]}
    assert under == {"a": {"x": 1, "y": 2}, "list": ["old", "both"]}


def test_a_word_of_the_user_counts_for_its_workflow_only(tmp_path, monkeypatch):
    (tmp_path / "sentiment.claims.toml").write_text("[en.words]\nwrinkly = -3\n")
    monkeypatch.setenv("HOCKET_PATTERNS", str(tmp_path))

    def label(workflow: str | None) -> str:
        text = "The wrinkly samples are in room 4."
        return run(Work(task_id="s", specialty="sentiment", instruction="", text=text, workflow=workflow))["label"]

    assert (label("claims"), label("other"), label(None)) == ("negative", "neutral", "neutral")


def test_a_label_of_the_user_finds_its_value_in_its_workflow_only(tmp_path, monkeypatch):
    (tmp_path / "extraction.intake.toml").write_text('[labels]\nnumber = ["voucher key"]\n')
    monkeypatch.setenv("HOCKET_PATTERNS", str(tmp_path))

    def number(workflow: str | None) -> str | None:
        text = "Voucher key: Q-7741\n\nWe ask for 120.00 EUR."
        return extract(Work(task_id="e", specialty="extraction", instruction="", text=text, workflow=workflow))[
            "number"
        ]

    assert (number("intake"), number("other"), number(None)) == ("Q-7741", None, None)
