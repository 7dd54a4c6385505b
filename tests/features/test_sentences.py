"""Columns whose cells are the text itself."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from command import call
from sparsefuse.checks import check
from sparsefuse.data.arrays import read_array
from sparsefuse.experiments import fit as module
from sparsefuse.features import extractor
from sparsefuse.features.extract import extract
from sparsefuse.files.rows import read_table
from sparsefuse.inference.inputs import is_readings
from sparsefuse.inference.predictor import load
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ModelFacts
from sparsefuse.serve import reader
from sparsefuse.sharing.arrival import check_run

GOOD, BAD = ("wonderful", "lovely", "great", "fine"), ("awful", "boring", "terrible", "dull")


def write_reviews(folder: Path, *, more: str = "") -> Path:
    rows = [f'{label}{i},"It was {word}, see http://x.org/{i}",{label},Ann Lee' for label, words in
            (("good", GOOD * 2), ("bad", BAD * 2)) for i, word in enumerate(words)]  # fmt: skip
    path = folder / "reviews.csv"
    path.write_text("\n".join(["id,review,label,critic", *rows, *([more] if more else [])]) + "\n")
    return path


def test_a_column_is_text_if_most_cells_are_different_sentences(tmp_path: Path) -> None:
    table = read_table(write_reviews(tmp_path))
    assert [name for name in table.columns if table.is_text(name)] == ["review"]
    table = read_table(write_reviews(tmp_path, more="x,none,good,"))
    assert table.is_text("review")
    assert table.rows[-1]["review"] == "", "a word for nothing is no text"
    assert not read_table(write_reviews(tmp_path, more="x,clips/gone.txt,good,")).is_text("review")


def test_words_of_cells_are_those_of_files(tmp_path: Path) -> None:
    manifest = write_reviews(tmp_path)
    manifest.write_text(manifest.read_text().replace("critic", "start").replace("Ann Lee", "2"))
    summary = extract(manifest, tmp_path / "out", jobs=1, progress=False, roots=[])
    table = read_table(summary.manifest)
    assert table.columns == ["id", "review", "label", "start"]
    (tmp_path / "one.txt").write_text("It was wonderful, see http://x.org/0")
    expected = extractor("text")(tmp_path / "one.txt")
    np.testing.assert_array_equal(read_array(table.rows[0]["review"], tmp_path / "out"), expected)
    assert extract(manifest, tmp_path / "out", jobs=1, progress=False).reused == 16
    assert not list((tmp_path / "out").glob(".fetched"))
    with pytest.raises(ValueError, match=r"column 'review' is sentences, which 'frames' cannot read"):
        extract(manifest, tmp_path / "o", features={"x": {"extractor": "frames", "source": "review"}}, jobs=1)


def test_check_says_what_each_column_is_taken_for(tmp_path: Path) -> None:
    report = check(str(write_reviews(tmp_path)), jobs=1)
    assert report.columns == {"id": "id", "review": "sentences", "label": "label", "critic": "ignored"}
    assert sum(report.balance["train"].values()) == 11
    assert not report.counts["error"]
    (tmp_path / "a.csv").write_text("time (s),x\n0,1\n1,3\n")
    (tmp_path / "b.csv").write_text("time (s),x\n0,2\n1,5\n")
    rows = ["id,imu,vidoe,label,split", "a,a.csv,x,p,train", "b,b.csv,y,q,train"]
    (tmp_path / "m.csv").write_text("\n".join(rows))
    report = check(str(tmp_path / "m.csv"), jobs=1)
    assert report.columns["vidoe"] == "ignored; did you mean 'video'?"
    assert report.columns["imu"] == "features (.csv), all their columns"
    (found,) = report.by_kind()["time"]
    assert found.message == "column 'imu': a.csv has a column 'time (s)', which is taken as a feature"


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_sentences_train_and_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "write_report", lambda _: "")
    manifest = write_reviews(tmp_path)
    lines = [line.partition(",")[2] for line in manifest.read_text().splitlines()]
    manifest.write_text("\n".join(lines) + "\n")  # without ids
    run = module.fit(manifest, features="raw", epochs=6, jobs=1)
    assert RunFolder(run).read(ModelFacts).features == {"review": 256}
    predictor = load(run)
    assert predictor.predict_one({"review": "It was lovely, see http://x.org/9"}).label == "good"
    assert predictor.predict_one("dull").label == "bad"
    capsys.readouterr()
    assert call(monkeypatch, "predict", run, manifest, "--offline") == 0
    assert len(capsys.readouterr().out.splitlines()) == 16
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"review": "so boring and awful"}) + "\n"))
    assert call(monkeypatch, "predict", run, "-", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    reader._warm_up(predictor)  # of a server: `whole`, which says how a file is read, is no option of the extractor
    check_run(
        run, [file.name for file in run.iterdir() if file.suffix in (".json", ".safetensors")]
    )  # nor for those who pull it
    assert said["probabilities"] == predictor.predict_one({"review": "so boring and awful"}).to_json()["probabilities"]
    assert "`sparsefuse fit`" in str(call(monkeypatch, "train", manifest))
    for header, expected in (("review", "\n00001: "), ("text", "no column is one of review, which the model reads")):
        (tmp_path / "new.csv").write_text(f"{header}\nsuch a lovely one\nso boring and awful\n")
        capsys.readouterr()
        ended = call(monkeypatch, "predict", run, "new.csv")
        assert expected in f"{ended}{capsys.readouterr().out}", "neither a transcript nor without a name"
    (tmp_path / "said.csv").write_text("word,start,end\nso,0,1\nboring,1,2\n")
    assert is_readings(tmp_path / "said.csv", predictor), "a transcript has neither"
