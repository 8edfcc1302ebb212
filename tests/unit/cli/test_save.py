"""`--save`: an answer as files, with the charts in it, and nothing written over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hocket.cli.base import CliError
from hocket.cli.save import files_of, must_be_free, save
from hocket.contracts.records import Answer, Output, Receipt, TaskInput
from hocket.core.work import Document, Work
from hocket.runtime.settings import Settings
from services.workers.analysis.local import run

SALES = Path("examples/sales.csv")


def answer() -> Answer:
    document = Document(name=SALES.name, media_type="text/csv", data=SALES.read_bytes())
    data = json.dumps(run(Work(task_id="figures", specialty="analysis", instruction="", documents=(document,))))
    return Answer(
        request_id="r", status="completed", content="Verdict: look.", receipt=Receipt(admitted_at=0, answered_at=1),
        outputs=(TaskInput(task_id="figures", output=Output(specialty="analysis", data=data)),),
    )  # fmt: skip


def test_the_text_the_records_and_the_chart_are_written(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out" / "sales"
    save(answer(), folder, settings)
    assert {path.name for path in folder.iterdir()} == {"answer.txt", "figures.json", "figures-chart.svg"}
    assert (folder / "answer.txt").read_text() == "Verdict: look.\n"
    chart = (folder / "figures-chart.svg").read_text()
    assert chart == json.loads((folder / "figures.json").read_text())["chart"]
    assert chart.startswith("<svg ") and "Umsatz by month" in chart
    assert "figures-chart.svg" in capsys.readouterr().err


def test_nothing_is_written_over_and_nothing_beside_the_folder(tmp_path: Path) -> None:
    must_be_free(None)
    must_be_free(tmp_path / "new")
    (tmp_path / "mine.txt").write_text("mine")
    for taken in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(CliError, match="not an empty folder"):
            must_be_free(taken)
    names = [name for name, _ in files_of("", {"../../etc/x": {"../c": "<svg />"}})]
    assert names == ["answer.txt", "______etc_x.json", "______etc_x-___c.svg"]
