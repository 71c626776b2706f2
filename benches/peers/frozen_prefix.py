"""Five epochs of a class head on GPT-2 124M's shape with 11 of 12 blocks frozen, in PyTorch: what the ignored
test `later_epochs_of_gpt2_behind_eleven_frozen_blocks_take_a_sixth_of_the_first` of crate sinterlm-trainer
does, on rows of the same lengths, 8 a step, ordered by length, AdamW on the last block, the final norm and
the head. Weights are random. Prints the seconds of each epoch.

    python benches/peers/frozen_prefix.py [--threads 2] [--epochs 5] [--bf16]
"""

import argparse
import time

import torch
from transformers import GPT2Config, GPT2Model

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--bf16", action="store_true", help="matrix products by autocast in bf16")
args = parser.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(1)

config = GPT2Config(attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, use_cache=False)
model = GPT2Model(config)
head = torch.nn.Linear(config.n_embd, 2, bias=False)
for parameter in model.parameters():
    parameter.requires_grad = False
trained = [*model.h[-1].parameters(), *model.ln_f.parameters()]
for parameter in trained:
    parameter.requires_grad = True
trained += head.parameters()
optimizer = torch.optim.AdamW(trained, lr=1e-3)

lengths = sorted(64 + number * 37 % 65 for number in range(64))
rows = [torch.randint(0, config.vocab_size, (length,)) for length in lengths]
labels = torch.randint(0, 2, (64,))
for epoch in range(args.epochs):
    start = time.perf_counter()
    for first in range(0, 64, 8):
        batch = rows[first : first + 8]
        longest = max(len(row) for row in batch)
        ids = torch.stack([torch.nn.functional.pad(row, (0, longest - len(row))) for row in batch])
        last = torch.tensor([len(row) - 1 for row in batch])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            hidden = model(input_ids=ids).last_hidden_state  # padding stands behind: causal
            scores = head(hidden[torch.arange(8), last])
        loss = torch.nn.functional.cross_entropy(scores.float(), labels[first : first + 8])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
    print(f"epoch {epoch + 1}: {time.perf_counter() - start:.2f} s", flush=True)
