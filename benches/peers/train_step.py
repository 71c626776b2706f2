"""One of sinterlm's training steps in PyTorch: forward, backward, clipping by the global norm, update.

    python train_step.py '{"rows": 4, "seq": 256, "d_model": 512, "d_ff": 2048, "n_layers": 6,
        "n_heads": 8, "vocab_size": 50257, "max_seq_len": 1024, "tied_head": false,
        "optimizer": "adamw", "mode": "eager", "threads": 2, "steps": 5}'

`cargo bench --bench train_step -- --list` prints the shapes. `mode` is `eager` or `compile`, both f32,
or `bf16`: eager under autocast. Random tokens. Prints one JSON line: the seconds of each step after
two that aren't counted, and the process's peak memory. Needs requirements.txt.
"""

import json
import math
import resource
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

WARM_UP_STEPS = 2


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        width, d_ff = shape["d_model"], shape["d_ff"]
        self.heads = shape["n_heads"]
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, d_ff), nn.Linear(d_ff, width)

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
    def __init__(self, shape):
        super().__init__()
        width, vocab = shape["d_model"], shape["vocab_size"]
        self.tokens = nn.Embedding(vocab, width)
        self.positions = nn.Embedding(shape["max_seq_len"], width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape["n_layers"]))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
        if shape["tied_head"]:
            self.head.weight = self.tokens.weight

    def forward(self, ids, targets):
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets.flatten())


def optimizers(model, name):
    """AdamW on everything, or Muon on the blocks' matrices and AdamW on the rest."""
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2 and name == "muon"]
    ids = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in ids]
    made = [torch.optim.AdamW(rest, lr=6e-4, fused=True)]
    if matrices:
        made.append(torch.optim.Muon(matrices, lr=0.02, weight_decay=0.0))
    return made


def main():
    task = json.loads(sys.argv[1])
    torch.manual_seed(0)
    torch.set_num_threads(task["threads"])
    model = Gpt(task)
    step_optimizers = optimizers(model, task["optimizer"])
    forward = torch.compile(model) if task["mode"] == "compile" else model
    rows, seq, vocab = task["rows"], task["seq"], task["vocab_size"]
    seconds = []
    for step in range(WARM_UP_STEPS + task["steps"]):
        started = time.perf_counter()
        ids, targets = torch.randint(0, vocab, (2, rows, seq))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=task["mode"] == "bf16"):
            loss = forward(ids, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in step_optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        seconds.append(time.perf_counter() - started)
        assert step > 0 or abs(value - math.log(vocab)) < 0.3, f"the first loss is {value}"
    seconds = seconds[WARM_UP_STEPS:]
    figures = {
        "bench": task.get("bench", "train_step"),
        "program": f"torch {torch.__version__} {task['mode']}",
        "median_seconds": statistics.median(seconds),
        "step_seconds": seconds,
        "tokens": rows * seq,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
