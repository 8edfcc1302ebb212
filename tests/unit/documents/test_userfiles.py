"""libs/hocket/documents/userfiles.py, the engines that go by such files, and docs/howto/rules.md."""

import re

import pytest

from hocket.core.work import BadInput, Document, Work
from hocket.documents.userfiles import merged
from services.workers.analysis.local import run as analyse
from services.workers.extraction.local import run as extract
from services.workers.research.local import run as research
from services.workers.sentiment.local import run
from tests.support.tree import ROOT


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


@pytest.fixture
def house(tmp_path, monkeypatch):
    """The files of docs/howto/rules.md, as they stand there; nothing is set before they are asked for."""
    page = (ROOT / "docs/howto/rules.md").read_text("utf-8")
    files = dict(re.findall(r"`house/([\w.-]+)`:\n\n```toml\n(.*?)```", page, re.DOTALL))
    assert set(files) == {"extraction.invoice-intake.toml", "sentiment.toml", "analysis.toml", "research.toml"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    return lambda: monkeypatch.setenv("HOCKET_PATTERNS", str(tmp_path))


def work(text: str = "", workflow: str | None = None, **files: bytes) -> Work:
    documents = tuple(
        Document(name=f"a.{kind}", media_type={"csv": "text/csv"}.get(kind, "text/plain"), data=data)
        for kind, data in files.items()
    )
    return Work(task_id="t", specialty="s", instruction=text, text=text, workflow=workflow, documents=documents)


def test_the_pages_labels_count_in_their_workflow(house):
    text = "Voucher key: Q-7741\nCall-off no: 55-A\n\nWe ask for 120.00 EUR."
    house()
    here, there = (extract(work(text, workflow)) for workflow in ("invoice-intake", "other"))
    assert (here["number"], here["ids"]) == ("Q-7741", [{"label": "order", "value": "55-A"}])
    assert (there["number"], there["ids"]) == (None, [])


def test_the_pages_word_is_felt(house):
    text = "The blotchy samples are in room 4."
    before = run(work(text))["label"]
    house()
    assert (before, run(work(text))["label"]) == ("neutral", "negative")


def test_the_pages_words_for_tables_are_read(house):
    table = work(csv=b"Name;Amount\na;1,50\nb;tba\ncarried forward;1,50\n")

    def amount() -> tuple[float | None, int]:
        found = analyse(table)["tables"][0]
        return found["columns"][1].get("total"), found["rows"]

    before = amount()
    house()
    assert (before, amount()) == ((None, 3), (1.5, 2))


def test_the_pages_name_finds_nothing(house):
    asked = work("Northgate Instruments: rent", txt=b"Northgate Instruments was founded.\n\nThe rent is due.")
    before = research(asked)["passages"]
    house()
    assert [len(before), [passage["quote"] for passage in research(asked)["passages"]]] == [2, ["The rent is due."]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("missing = 3", r"analysis\.toml are wrong: missing must be a list of texts"),
        ("totals = [1]", "totals must be a list of texts"),
        ("months = {en = 'may'}", r"months\.en must be a list of texts"),
        ("months = 'may'", "months must be a table"),
        ("missing = [", "cannot be read"),
    ],
)
def test_rules_of_another_kind_name_their_file(text, said, tmp_path, monkeypatch):
    (tmp_path / "analysis.toml").write_text(text)
    monkeypatch.setenv("HOCKET_PATTERNS", str(tmp_path))
    document = Document(name="a.csv", media_type="text/csv", data=b"a;b\n1;2\n")
    with pytest.raises(BadInput, match=said):
        analyse(Work(task_id="a", specialty="analysis", instruction="", documents=(document,)))
