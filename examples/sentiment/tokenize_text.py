#!/usr/bin/env python3
"""BERT WordPiece encoding of a text file, one sentence a line, into an .npz.

    tokenize_text.py sentences.txt sentences.npz [--vocab FILE] [--max-length N]

The file holds input_ids, attention_mask and token_type_ids, int64 [rows,
longest row]; shorter rows are padded with [PAD] and masked. Lower case,
accents stripped, as the uncased BERT tokenizer does it. Needs numpy only.

(Not called tokenize.py: that would hide the standard library's module.)
"""

import argparse
import pathlib
import unicodedata

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
MAX_WORD = 100  # longer words become [UNK], as in BERT


def load_vocab(path=HERE / "vocab.txt"):
    """Token -> id, the id being the line number."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    return {token: index for index, token in enumerate(lines)}


def is_punctuation(char):
    code = ord(char)
    return (33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96
            or 123 <= code <= 126 or unicodedata.category(char)[0] == "P")


def is_cjk(char):
    code = ord(char)
    return (0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF
            or 0x20000 <= code <= 0x2CEAF or 0xF900 <= code <= 0xFAFF
            or 0x2F800 <= code <= 0x2FA1F)


def split_words(text):
    """Words and single punctuation marks of `text`, lower case, no accents."""
    chars = []
    for char in unicodedata.normalize("NFD", text).lower():
        category = unicodedata.category(char)
        if category == "Mn":
            continue
        if char in "\t\n\r" or category == "Zs":
            chars.append(" ")
        elif char == "\ufffd" or category[0] == "C":
            continue
        elif is_punctuation(char) or is_cjk(char):
            chars.append(f" {char} ")
        else:
            chars.append(char)
    return "".join(chars).split()


def word_pieces(word, vocab):
    """Greedy longest match from the left; [UNK] if any part has no piece."""
    if len(word) > MAX_WORD:
        return ["[UNK]"]
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocab:
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


def tokens(text, vocab):
    return [piece for word in split_words(text)
            for piece in word_pieces(word, vocab)]


def encode(sentences, vocab, max_length=512):
    """The three model inputs for a batch of sentences."""
    rows = [[vocab["[CLS]"]]
            + [vocab[t] for t in tokens(s, vocab)][:max_length - 2]
            + [vocab["[SEP]"]] for s in sentences]
    shape = (len(rows), max(map(len, rows), default=0))
    ids = np.full(shape, vocab["[PAD]"], np.int64)
    mask = np.zeros(shape, np.int64)
    for index, row in enumerate(rows):
        ids[index, :len(row)] = row
        mask[index, :len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask,
            "token_type_ids": np.zeros(shape, np.int64)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=pathlib.Path, help="one sentence a line")
    parser.add_argument("output", type=pathlib.Path, help=".npz to write")
    parser.add_argument("--vocab", type=pathlib.Path, default=HERE / "vocab.txt")
    parser.add_argument("--max-length", type=int, default=512)
    args = parser.parse_args()
    sentences = args.text.read_text(encoding="utf-8").splitlines()
    inputs = encode(sentences, load_vocab(args.vocab), args.max_length)
    np.savez(args.output, **inputs)


if __name__ == "__main__":
    main()
