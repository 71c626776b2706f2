"""One of sinterlm's generations with transformers, key/value cache: GPT-2 with random weights and
sampling, or a GGUF file or Hugging Face folder (`"file"`), made f32, and greedy.

    python decode.py '{"rows": 1, "prompt": 16, "new": 64, "tokens": 64, "d_model": 512, "d_ff": 2048,
        "n_layers": 6, "n_heads": 8, "vocab_size": 50257, "max_seq_len": 1024, "tied_head": false,
        "threads": 2, "steps": 5}'

`cargo bench --bench decode -- --list` prints the shapes. Prints one JSON line: the seconds of each run
after one that isn't counted, and the process's peak memory. Needs requirements.txt.
"""

import json
import pathlib
import resource
import statistics
import sys
import time

import torch
import transformers


def random(task):
    config = transformers.GPT2Config(
        vocab_size=task["vocab_size"],
        n_positions=task["max_seq_len"],
        n_embd=task["d_model"],
        n_inner=task["d_ff"],
        n_layer=task["n_layers"],
        n_head=task["n_heads"],
        tie_word_embeddings=task["tied_head"],
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    return transformers.GPT2LMHeadModel(config)


def from_file(task):
    path = pathlib.Path(task["file"])
    kind = transformers.AutoModelForCausalLM
    if path.is_dir():
        return kind.from_pretrained(path, dtype=torch.float32)
    return kind.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)


def main():
    task = json.loads(sys.argv[1])
    torch.manual_seed(0)
    torch.set_num_threads(task["threads"])
    model = (from_file if task.get("file") else random)(task).eval()
    rows, prompt, new = task["rows"], task["prompt"], task["new"]
    ids = torch.randint(1, task["vocab_size"], (rows, prompt))
    mask = torch.ones_like(ids)
    seconds = []
    with torch.inference_mode():
        for _ in range(1 + task["steps"]):
            started = time.perf_counter()
            out = model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample="file" not in task,
                top_k=0,
            )
            seconds.append(time.perf_counter() - started)
            assert out.shape == (rows, prompt + new), out.shape
    seconds = seconds[1:]
    figures = {
        "bench": task.get("bench", "decode"),
        "program": f"transformers {transformers.__version__}",
        "median_seconds": statistics.median(seconds),
        "step_seconds": seconds,
        "tokens": task["tokens"],
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
