"""Words of reports: what the vocabulary takes from training patients, and that long reports are read whole."""

import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from foundation.data.cohort import Cohort
from foundation.data.splits import configured_split
from foundation.errors import UserError
from foundation.modalities.report.encoder import Report
from foundation.modalities.report.vocabulary import coverage, learn_pieces, word_pieces
from foundation.modalities.report.windows import in_windows
from pretrain.assemble import learn_vocabularies

CHEST = (
    "Posteroanterior chest radiograph shows extensive consolidation in the left lower lobe with small pleural effusion."
)
SYLLABLES = ["ka", "lo", "zor", "mu", "thax", "µ", "tion", "dwe", "qui", "bra", "ó", "nex"]


def made_texts(count: int = 300) -> list[str]:
    draw = random.Random(0)
    words = ["".join(draw.choices(SYLLABLES, k=draw.randint(2, 4))) for _ in range(400)]
    return [" ".join(draw.choices(words, k=40)) for _ in range(count)]


def test_common_words_of_reports_are_whole():
    tokens = word_pieces().encode(CHEST, add_special_tokens=False).tokens
    assert tokens == [*CHEST.lower().rstrip(".").split(), "."]


def test_a_word_of_five_patients_becomes_a_piece_and_one_of_four_does_not():
    assert "zorbu" not in learn_pieces(["zorbu zorbu zorbu"] * 4)
    pieces = learn_pieces(["zorbu zorbu zorbu"] * 4 + ["Zorbu."])
    assert "zorbu" in pieces
    assert word_pieces(pieces).encode("Zorbu", add_special_tokens=False).tokens == ["zorbu"]
    assert learn_pieces([CHEST] * 9) == [], "what the shipped words cover adds nothing"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Kowalczyk Kowalczyka Kowalczykiem Kowalczykowi Kowalczyku Kowalczykowa", "kowalcz"),
        ("483483483483483483483483", "483"),
    ],
)
def test_one_patients_words_are_no_piece_however_often_they_share_it(text: str, name: str):
    pieces = learn_pieces([text, *["common zorbu"] * 6])
    assert "zorbu" in pieces
    assert not [piece for piece in pieces if name in piece]


def test_letters_of_other_scripts_are_known_where_enough_patients_have_them():
    pieces = learn_pieces(["5 µl опухоль"] * 5 + ["ж"] * 4)
    assert {"µl", "опухоль"} <= {*pieces}
    assert "ж" not in pieces


def test_the_same_texts_give_the_same_pieces_in_every_process():
    lines = "\n".join(made_texts())
    script = "import sys; from foundation.modalities.report.vocabulary import learn_pieces; "
    script += "print(learn_pieces(sys.stdin.read().splitlines()))"
    run = [sys.executable, "-c", script]
    printed = {
        subprocess.run(run, input=lines, capture_output=True, text=True, check=True, timeout=60).stdout
        for _ in range(3)
    }
    assert printed == {f"{learn_pieces(lines.splitlines())}\n"}


def test_the_most_pieces_are_kept_to():
    assert len(learn_pieces(made_texts(), most=50)) <= 50


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40) | st.integers(1, 600))
def test_every_piece_of_a_long_report_stands_in_a_window(count: int):
    report = Report(32, layers=1, max_length=16)
    words = random.Random(count).choices(["lung", "effusion", "lobe", "left", "tumour"], k=count)
    inputs = report.transform(" ".join(words), None)
    numbers = inputs["pieces"].tolist()
    windows = [numbers[start : start + 16] for start in range(0, len(numbers), 16)]
    begin, end = report.tokenizer.cls_token_id, report.tokenizer.sep_token_id
    assert all((window[0], window[-1]) == (begin, end) for window in windows)
    inner = [window[1:-1] for window in windows][: report.max_windows]
    whole = word_pieces().encode(" ".join(words), add_special_tokens=False).ids
    read = inner[0] + [number for window in inner[1:] for number in window[4:]]
    assert read == whole[: 14 + 31 * 10]
    assert report.examined(" ".join(words), inputs) == (report.parts, min(len(whole), 14 + 31 * 10), len(whole))


def test_a_window_is_read_as_it_would_be_alone_whatever_else_is_in_the_batch():
    torch.manual_seed(0)
    report = Report(32, layers=1, max_length=8).eval()
    long, short = "lung " * 20, "no tumour"
    batch = report.collate([report.transform(text, None) for text in (short, long)])
    read = report.read(batch["pieces"], batch["mask"])
    alone = report.transform(long, None)["pieces"]
    for start in range(0, len(alone), 8):
        window = alone[None, start : start + 8]
        expected = report.read(window, torch.ones_like(window, dtype=torch.bool))[0]
        torch.testing.assert_close(read[1, start : start + len(expected)], expected)
    brief = report.transform(short, None)["pieces"][None]
    expected = report.read(brief, torch.ones_like(brief, dtype=torch.bool))[0]
    torch.testing.assert_close(read[0, : len(expected)], expected)
    assert report(batch).values.shape == (2, 1, 32)


def test_windows_without_a_piece_take_no_compute():
    seen = []

    def read(pieces: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen.append(pieces.shape)
        return pieces[..., None].float()

    pieces = torch.arange(1, 21).view(2, 10)
    mask = torch.tensor([[True] * 10, [True] * 3 + [False] * 7])
    values = in_windows(read, pieces, mask, 4)
    assert seen == [(4, 4)]  # three of the first row, one of the second
    assert torch.equal(values[0, :, 0], pieces[0].float())
    assert torch.equal(values[1, :3, 0], pieces[1, :3].float())


def test_coverage_counts_words_pieces_and_what_is_read():
    texts = ["lung lung zq", "lung " * 30]
    told = coverage(texts, word_pieces(), length=10, windows=2)  # 8 + 6 pieces of 30 are read
    assert told == {
        "reports": 2,
        "words": 33,
        "whole_words": round(32 / 33, 4),
        "unknown_pieces": 0.0,
        "pieces": 30,
        "read_whole": 0.5,
        "read": round((4 + 14) / 34, 4),
    }
    assert coverage(["肿瘤"], word_pieces(), 10, 2)["unknown_pieces"] == 1.0


def test_the_vocabulary_is_that_of_training_patients_and_travels_with_the_encoder(
    small_cohort: Path, configure, tmp_path: Path
):
    cfg = configure()
    cohort = Cohort(small_cohort)
    train = configured_split(cohort, cfg.data).train
    texts = pd.Series(cohort.patients["report_text"].to_numpy(), cohort.patients.index)
    texts[cohort.patients["report"].to_numpy()] += " trainword"
    texts[cohort.patients["hospital"] == "summit"] += " testword"
    cohort.patients["report_text"] = texts
    learnt = learn_vocabularies(cfg, cohort, train)
    assert "trainword" in learnt.modality.report.pieces
    assert "testword" not in learnt.modality.report.pieces
    assert "pieces" not in cfg.modality.report
    assert learn_vocabularies(configure("vocabulary=shipped"), cohort, train) == configure("vocabulary=shipped")
    with pytest.raises(UserError, match=r"^vocabulary: found 'all'; choose training or shipped$"):
        learn_vocabularies(configure("vocabulary=all"), cohort, train)
    report = Report(32, layers=1, pieces=OmegaConf.to_container(learnt.modality.report.pieces))
    report.save_assets(tmp_path)
    again = Report.load(report.settings(), tmp_path)
    assert again.tokenizer.tokenize("trainword") == ["trainword"]
    assert again.text.get_input_embeddings().weight.shape == report.text.get_input_embeddings().weight.shape
