"""The names in a run folder."""

from __future__ import annotations

CONFIG = "config.yaml"
TOKENIZER = "tokenizer.json"
TRAIN_TOKENS, VAL_TOKENS, SHARDS = "data/train.bin", "data/val.bin", "data/shards.json"
UNWANTED, UNWANTED_VAL = "data/unwanted.jsonl", "data/unwanted_val.jsonl"
RECORDS, PROCESSOR = "data/records.json", "processor.json"
METRICS, METRICS_TABLE = "metrics.jsonl", "metrics.csv"
CHECKPOINTS, PLOTS, SAMPLES, TENSORBOARD = "checkpoints", "plots", "samples", "tensorboard"
RUN_INFO, REPORT, SAMPLE, SUMMARY = "run.json", "report.html", "sample.txt", "summary.txt"
TRACEBACK = "traceback.txt"
EVALUATION = "evaluation.jsonl"
"""The share of each held-out sample in the measures of the last evaluation."""
AUDIT = "audit.json"
"""The findings of the last audit of what the model remembers."""
LOCK = ".writer"
"""Locked by the process that writes into the folder; says which one."""

LARGEST = {
    CONFIG: 200_000,
    TOKENIZER: 64_000_000,
    SHARDS: 64_000_000,
    UNWANTED: 64_000_000,
    UNWANTED_VAL: 64_000_000,
    RECORDS: 10_000,
    PROCESSOR: 64_000_000,
    RUN_INFO: 8_000_000,
    LOCK: 1_000,
}
"""More bytes than these files ever have; the others may be as large as the disk lets them."""
