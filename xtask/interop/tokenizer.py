"""Loads tokenizer.json of a run with Hugging Face tokenizers: text comes back unchanged, and a copy
that the library saves gives the same ids."""

import sys
import tempfile
from pathlib import Path

from tokenizers import Tokenizer

TEXTS = ["Once upon a time, there was a little dog.", '"Zoë, look!"\n\nShe ran.', "日本語 🙂  two  spaces", "<|endoftext|>a"]

tokenizer = Tokenizer.from_file(str(Path(sys.argv[1]) / "tokenizer.json"))
with tempfile.TemporaryDirectory() as folder:
    path = f"{folder}/tokenizer.json"
    tokenizer.save(path)
    copy = Tokenizer.from_file(path)
for text in TEXTS:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    assert decoded == text, f"{text!r} came back as {decoded!r}"
    copied = copy.encode(text, add_special_tokens=False).ids
    assert copied == ids, f"{text!r} is {ids}, after saving and loading {copied}"
print(f"tokenizers: {tokenizer.get_vocab_size()} tokens, {len(TEXTS)} texts come back unchanged, a saved copy agrees")
