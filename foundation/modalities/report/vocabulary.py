"""The word pieces of reports: a shipped list of clinical words, and those that training patients' reports add to it."""

import string
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

_WORDS = Path(__file__).with_name("words.txt")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = string.ascii_lowercase + string.digits + string.punctuation
MOST = 8_000  # pieces that reports add
LENGTH, WINDOWS = 128, 32  # pieces of a window, and windows of a report, that are read unless an encoder says otherwise
FEWEST = 5  # patients whose reports must hold a piece: what fewer wrote may name one of them, and teaches little


def word_pieces(pieces: Iterable[str] = ()) -> Tokenizer:
    """A WordPiece tokenizer of the shipped words and some more; any other word falls apart, at last into letters."""
    listed = [*_base(), *_WORDS.read_text().split(), *pieces]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(listed))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    return tokenizer


def learn_pieces(texts: Iterable[str], most: int = MOST, fewest: int = FEWEST) -> list[str]:
    """Word pieces that texts add to the shipped words, by the WordPiece training of Hugging Face's tokenizers.

    Each patient's text counts a word once. The same texts give the same pieces in the same order, in every process.

    Args:
        texts: one a patient.
        most: pieces at most.
        fewest: patients whose texts must hold a piece.
    """
    tokenizer = word_pieces()
    shipped = tokenizer.get_vocab()
    lines = [" ".join(sorted(words_of(text, tokenizer) - shipped.keys())) for text in texts]
    letters = Counter(letter for line in lines for letter in set(line) - {" "})
    others = sorted(letter for letter, patients in letters.items() if patients >= fewest and letter not in _LETTERS)
    # All pieces to begin with are named in order: those that the trainer comes upon have no order of their own.
    base = [*_base(), *(form for letter in others for form in (letter, f"##{letter}"))]
    kept = {*_LETTERS, *others}
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=len(base) + most, min_frequency=fewest, special_tokens=base, show_progress=False
    )
    learner.train_from_iterator((" ".join(w for w in line.split() if kept.issuperset(w)) for line in lines), trainer)
    numbered = learner.get_vocab()
    # The trainer counts words: one patient's name, in five inflections or compounds, would count five times.
    holders = _holders(numbered.keys() - shipped.keys(), lines)
    return [
        piece
        for piece in sorted(numbered, key=lambda piece: numbered[piece])
        if piece not in shipped and (piece in base or holders[piece] >= fewest)
    ]


def _holders(pieces: Collection[str], lines: Iterable[str]) -> Counter[str]:
    """By piece, of how many lines' words it is a part: their beginning, or where it begins with ##, what follows."""
    longest = max((len(piece.removeprefix("##")) for piece in pieces), default=0)

    @cache
    def parts(word: str) -> frozenset[str]:
        spans = ((start, end) for start in range(len(word)) for end in range(start + 1, start + longest + 1))
        return frozenset("##" * (start > 0) + word[start:end] for start, end in spans).intersection(pieces)

    return Counter(piece for line in lines for piece in frozenset[str]().union(*map(parts, line.split())))


def words_of(text: str, tokenizer: Tokenizer) -> set[str]:
    """The words of a text, as a tokenizer sees them before it takes them apart."""
    return {word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))}


def coverage(texts: Iterable[str], tokenizer: Tokenizer, length: int, windows: int) -> dict[str, Any]:
    """How much of reports is read, and in what: plain values for a run record.

    Args:
        texts: of reports.
        tokenizer: of the encoder.
        length: of a window, in pieces.
        windows: of a report at most.

    Returns:
        `reports`; `words` and the share of them that are `whole_words`, one piece each; the share of `unknown_pieces`;
        `pieces` of the longest report; the share of reports that are `read_whole`, and of all pieces that are `read`.
    """
    most = most_pieces(tokenizer, length, windows)
    unknown_piece = tokenizer.model.unk_token
    sizes, words, whole, unknown = [], 0, 0, 0
    for text in texts:
        encoded = tokenizer.encode(text, add_special_tokens=False)
        of_word = Counter(encoded.word_ids)
        sizes.append(len(encoded.ids))
        words += len(of_word)
        missed = encoded.tokens.count(unknown_piece)
        whole += sum(pieces == 1 for pieces in of_word.values()) - missed
        unknown += missed
    total = max(1, sum(sizes))
    return {
        "reports": len(sizes),
        "words": words,
        "whole_words": round(whole / max(1, words), 4),
        "unknown_pieces": round(unknown / total, 4),
        "pieces": max(sizes, default=0),
        "read_whole": round(sum(size <= most for size in sizes) / max(1, len(sizes)), 4),
        "read": round(sum(min(size, most) for size in sizes) / total, 4),
    }


def most_pieces(tokenizer: Tokenizer, length: int, windows: int) -> int:
    """How many word pieces of a text windows hold, those that two share counted once."""
    room = length - tokenizer.num_special_tokens_to_add(is_pair=False)
    return room + (windows - 1) * (room - length // 4)  # windows overlap by a quarter


@cache
def _base() -> Sequence[str]:
    return (*SPECIAL, *_LETTERS, *(f"##{letter}" for letter in _LETTERS))
