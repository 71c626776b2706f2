"""The training steps of benches/benches/train_step.rs in PyTorch, on as many threads as cores.

    python train_step.py [FILTER ...]

Prints one JSON line per shape: the median of five steps after a warm-up (forward, backward, clipping
by the global norm, fused AdamW), random tokens, f32, eager mode. Needs requirements.txt.
"""

import json
import os
import resource
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

STEPS = 5
SHAPES = [  # rows, seq, width, layers, heads, vocabulary, context, tied
    (4, 256, 256, 4, 4, 2048, 256, True),
    (4, 256, 512, 6, 8, 50257, 1024, False),
    (1, 1024, 512, 6, 8, 50257, 1024, False),
]


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        rows, seq, width = x.shape
        q, k, v = (
            part.view(rows, seq, self.heads, -1).transpose(1, 2)
            for part in self.qkv(self.norm_1(x)).chunk(3, -1)
        )
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(rows, seq, width))
        return x + self.down(F.gelu(self.up(self.norm_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, width, layers, heads, vocab, context, tied):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids, targets):
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets.flatten())


def measure(rows, seq, width, layers, heads, vocab, context, tied):
    torch.manual_seed(0)
    model = Gpt(width, layers, heads, vocab, context, tied)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, fused=True)
    seconds = []
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        ids, targets = torch.randint(0, vocab, (2, rows, seq))
        model(ids, targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def main():
    torch.set_num_threads(os.cpu_count())
    for shape in SHAPES:
        rows, seq, width, layers, _, vocab, _, _ = shape
        name = f"train_step/b{rows}_s{seq}_d{width}_l{layers}_v{vocab}/adamw/f32/flex"
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        median = measure(*shape)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        figures = {"bench": name, "median_seconds": round(median, 6), "tokens": rows * seq}
        figures |= {"tokens_per_second": round(rows * seq / median), "peak_memory_bytes": peak}
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
