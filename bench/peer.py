"""Speed of transformers on the shape that standard input describes, beside which ours is told; see peers.ts.

Decoding is `generate` with a static cache, which compiles the step with torch.compile; prefill is a forward pass with
scaled-dot-product attention. Weights are random. Prints one line of JSON.
"""
import json
import statistics
import sys
import time

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

task = json.load(sys.stdin)
device = "cuda" if torch.cuda.is_available() else "cpu"
dtype = torch.bfloat16
torch.set_float32_matmul_precision("high")


def synchronize():
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(job, times):
    found = []
    for _ in range(times):
        synchronize()
        start = time.perf_counter()
        job()
        synchronize()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


config = AutoConfig.for_model(**task["config"])
config._attn_implementation = "sdpa"
torch.set_default_dtype(dtype)
with torch.device(device), torch.no_grad():
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.02)
model.eval()


def prompt(tokens):
    return torch.randint(300, config.vocab_size, (1, tokens), device=device)


def generate(ids, count):
    return model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
        cache_implementation="static",
        pad_token_id=0,
        eos_token_id=None,
    )


def forward(tokens):
    with torch.inference_mode():
        model(tokens, use_cache=True, logits_to_keep=1)


long = prompt(task["promptTokens"])
short = prompt(task["contextTokens"])
seconds(lambda: forward(long), 2)
prefill = seconds(lambda: forward(long), 5)

new = task["newTokens"]
for _ in range(3):  # compiles, records, runs
    generate(short, new + 1)
# Another length would be another cache, for which the step is compiled again, so the first token is timed as a pass
whole = seconds(lambda: generate(short, new + 1), 3)
first = seconds(lambda: forward(short), 5)

print(
    json.dumps(
        {
            "versions": f"transformers {transformers.__version__}, torch {torch.__version__} on {device}",
            "decode": round(new / (whole - first), 1),
            "prefill": round(task["promptTokens"] / prefill, 1),
        }
    )
)
