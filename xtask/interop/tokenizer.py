"""Loads tokenizer.json with Hugging Face tokenizers and checks that text comes back unchanged."""

import sys

from tokenizers import Tokenizer

TEXTS = ["Once upon a time, there was a little dog.", '"Zoë, look!"\n\nShe ran.', "日本語 🙂  two  spaces"]

tokenizer = Tokenizer.from_file(sys.argv[1])
for text in TEXTS:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    assert decoded == text, f"{text!r} came back as {decoded!r}"
print(f"tokenizers: {tokenizer.get_vocab_size()} tokens, {len(TEXTS)} texts come back unchanged")
