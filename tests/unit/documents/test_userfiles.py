"""libs/hocket/documents/userfiles.py, and the sentiment engine that goes by such files."""

from hocket.core.work import Work
from hocket.documents.userfiles import merged
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
        text = "The fabric of the chairs is wrinkly."
        return run(Work(task_id="s", specialty="sentiment", instruction="", text=text, workflow=workflow))["label"]

    assert (label("claims"), label("other"), label(None)) == ("negative", "neutral", "neutral")
