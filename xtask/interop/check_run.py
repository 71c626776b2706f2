"""Uses a finished run as a Python user would: `model` in transformers, `tokenizer.json` in tokenizers.

    python check_run.py RUN GENERATE

RUN is a run directory, GENERATE the compiled example `generate`. Recomputed and compared: the greedy
continuation of some prompts, and the loss of the whole validation text where the run's config names
its files. What can't be compared is named as skipped.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

END = "<|endoftext|>"
TEXT = "Once upon a time, there was a little dog named Max. He liked to run in the park."
PROMPTS = ["Once upon a time", "The little dog", '"Look!" said the girl. She']
NEW_TOKENS = 40
TOKENS_PER_BATCH = 2048
# Relative difference of a mean over thousands of tokens: GELU's other form moved one run's by 4e-6,
# bfloat16 products another's by 1e-6.
LOSS_TOLERANCE = {"f32": 1e-6, "bf16": 1e-3}
# Unicode's White_Space, which Rust trims; Python's strip() would take U+001C to U+001F too.
WHITESPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


class Skip(Exception):
    """A comparison that this run does not allow, with the reason."""


def load(run):
    """The model with every tensor accounted for, the tokenizer, and the id that ends a document."""
    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    tokenizer.encode_special_tokens = True  # the mark inside a text is its characters
    end = tokenizer.token_to_id(END)
    assert end is not None, f"{run}/tokenizer.json: no token {END}"

    logging.disable_progress_bar()
    model, info = AutoModelForCausalLM.from_pretrained(run / "model", output_loading_info=True)
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    faults = {kind: found for kind, found in info.items() if set(found) - tied}
    assert not faults, f"{run}/model: {faults}"
    assert tokenizer.get_vocab_size() <= model.config.vocab_size, "more tokens than embeddings"
    parameters = sum(p.numel() for p in model.parameters())
    print(f"transformers: {parameters} parameters loaded, no key missing, unexpected or misshapen")

    model_tokenizer = run / "model" / "tokenizer.json"
    same = model_tokenizer.read_bytes() == (run / "tokenizer.json").read_bytes()
    assert same, f"{model_tokenizer} is not the run's tokenizer.json"
    auto = AutoTokenizer.from_pretrained(run / "model")
    for text in [TEXT, *PROMPTS]:
        ids, ours = auto(text, add_special_tokens=False).input_ids, tokenizer.encode(text).ids
        assert ids == ours, f"AutoTokenizer reads {text!r} as {ids}, tokenizer.json as {ours}"
    print(f"transformers: AutoTokenizer.from_pretrained gives the ids of tokenizer.json ({auto.__class__.__name__})")

    for key in ("bos_token_id", "eos_token_id"):
        found = getattr(model.config, key)
        if found != end:
            print(f"note: {key} is {found} for transformers, documents end with {end}; set it before model.generate")
    return model.eval(), tokenizer, end


@torch.no_grad()
def stream_loss(model, ids):
    """Sum of nats over all tokens but the first, in windows of the context without overlap."""
    seq = model.config.max_position_embeddings
    inputs, targets = torch.tensor(ids[:-1]), torch.tensor(ids[1:])
    whole = len(targets) // seq * seq
    rows = max(1, TOKENS_PER_BATCH // seq)
    batches = list(zip(inputs[:whole].view(-1, seq).split(rows), targets[:whole].view(-1, seq).split(rows)))
    if whole < len(targets):
        batches.append((inputs[None, whole:], targets[None, whole:]))
    nats = 0.0
    for x, y in batches:
        if x.numel():
            logits = model(input_ids=x).logits
            nats += F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").double().sum().item()
    return nats


def short_text(model, tokenizer, end):
    """The logits of a built-in text are finite and its loss is not beyond an untrained model's."""
    ids = [end, *tokenizer.encode(TEXT).ids][: model.config.max_position_embeddings]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits
    assert logits.isfinite().all(), "logits are not finite"
    loss = stream_loss(model, ids) / (len(ids) - 1)
    untrained = math.log(model.config.vocab_size)
    assert loss < 1.5 * untrained, f"a short text has {loss:.3f} nats per token, an untrained model {untrained:.3f}"
    print(f"transformers: {loss:.4f} nats per token on a short text, logits {logits.min():.3f} to {logits.max():.3f}")
    print("skipped: comparing these with ours: no command prints them")


@torch.no_grad()
def greedy(model, tokenizer, end, prompt):
    """The likeliest continuation, and the smallest lead of a chosen token over the runner-up."""
    ids = [end, *tokenizer.encode(prompt).ids]
    start, lead = len(ids), math.inf
    # Beyond the context the ways of going on differ.
    for _ in range(min(NEW_TOKENS, model.config.max_position_embeddings - start)):
        best = model(input_ids=torch.tensor([ids])).logits[0, -1].topk(2)
        lead = min(lead, (best.values[0] - best.values[1]).item())
        token = best.indices[0].item()
        if token == end or token >= tokenizer.get_vocab_size():
            break
        ids.append(token)
    return tokenizer.decode(ids[start:], skip_special_tokens=False), len(ids) - start, lead


def continuations(model, tokenizer, end, run, generate):
    """Our example writes the same text, token by token, with its own kernels and key-value cache."""
    if not Path(generate).is_file():
        raise Skip(f"greedy text: {generate} is not there; cargo build --release --example generate")
    tokens, smallest = 0, math.inf
    for prompt in PROMPTS:
        room = min(NEW_TOKENS, model.config.max_position_embeddings - 1 - len(tokenizer.encode(prompt).ids))
        assert room > 0, f"the context of {model.config.max_position_embeddings} tokens has no room after {prompt!r}"
        command = [generate, "--model", run, "--prompt", prompt, "--temperature", "0"]
        command += ["--max-new-tokens", str(room), "--device", "flex", "--quiet"]
        ours = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()
        text, count, lead = greedy(model, tokenizer, end, prompt)
        theirs = f"{prompt}{text}\n"
        assert ours == theirs, f"{prompt!r}, smallest lead {lead:.2e}:\n  ours   {ours!r}\n  theirs {theirs!r}"
        tokens, smallest = tokens + count, min(smallest, lead)
    print(
        f"transformers: {len(PROMPTS)} greedy texts equal ours, {tokens} tokens "
        f"(smallest lead of a chosen token {smallest:.1e})"
    )


def run_config(run):
    try:
        import tomllib
    except ImportError:
        raise Skip("validation loss: reading config.toml needs Python 3.11") from None
    return tomllib.loads((run / "config.toml").read_text())


def validation_documents(data):
    """The trimmed documents of the run's validation text, as its config describes them."""
    source = data["source"]
    files = [Path(path) for path in source.get("valid", [])]
    if source["kind"] != "files" or not files:
        raise Skip(f"validation loss: a split of source `{source['kind']}`, no file of its own")
    errors = "replace" if data["invalid_utf8"] == "replace" else "strict"
    documents = []
    for path in files:
        if not path.is_file() or path.suffix.lower() in (".gz", ".zst", ".json", ".jsonl", ".ndjson"):
            raise Skip(f"validation loss: {path} is no plain text file")
        text = path.read_bytes().decode("utf-8-sig", errors)
        pieces = (piece.strip(WHITESPACE) for piece in text.split(data["separator"]))
        documents += [piece for piece in pieces if piece]
    return documents


def validation_loss(model, tokenizer, end, run):
    """The whole validation text has the number of tokens and the loss that summary.json tells."""
    config, summary = run_config(run), json.loads((run / "summary.json").read_text())
    documents = validation_documents(config["data"])
    if "valid" not in summary:
        raise Skip("validation loss: summary.json has none")
    ours, ids = summary["valid"], [end]
    for encoding in tokenizer.encode_batch(documents):
        ids += [*encoding.ids, end]
    size = sum(len(document.encode()) for document in documents)
    assert (len(ids) - 1, size) == (ours["tokens"], ours["bytes"]), (
        f"validation text of {len(ids) - 1} tokens and {size} bytes, summary.json has {ours['tokens']} and {ours['bytes']}"
    )
    loss = stream_loss(model, ids) / (len(ids) - 1)
    difference = abs(loss - ours["loss"]) / ours["loss"]
    tolerance = LOSS_TOLERANCE[config["trainer"]["precision"]]
    assert difference < tolerance, f"validation loss {loss}, summary.json has {ours['loss']}"
    print(
        f"transformers: validation loss {loss:.6f} nats over {len(ids) - 1} tokens of {len(documents)} documents, "
        f"summary.json has {ours['loss']:.6f} (relative difference {difference:.1e})"
    )


def main():
    run, generate = Path(sys.argv[1]), sys.argv[2]
    if json.loads((run / "model" / "config.json").read_text())["model_type"] == "sinterlm":
        print("skipped: transformers has no such model, the run combines options of several families")
        return
    model, tokenizer, end = load(run)
    checks = [
        lambda: short_text(model, tokenizer, end),
        lambda: continuations(model, tokenizer, end, run, generate),
        lambda: validation_loss(model, tokenizer, end, run),
    ]
    for check in checks:
        try:
            check()
        except Skip as skip:
            print(f"skipped: {skip}")


main()
