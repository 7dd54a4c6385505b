"""A training step and a batch of predictions beside a process that takes a core: processor and wall time by threads.

    python benchmarks/busy.py                       sft, on the first two cores, one of them taken
    python benchmarks/busy.py --method concat --neighbours 0

`briefly` is what the command line and its workers set (`parallel/cores.py`), `spinning` is OpenMP's default. Every row
is a process of its own, since OpenMP reads how to wait when it is loaded. Processor time counts, for it depends least
on who else uses the machine: with threads that soon sleep it is that of one thread. Wall time is the median.
Exit code 1 if those threads take more than --most times the median or the processor time of one thread.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

CORES = 2
POLICIES = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "briefly": {"GOMP_SPINCOUNT": "1000"},
    "asleep": {"OMP_WAIT_POLICY": "passive"},
    "spinning": {},
}
FEATURES, LENGTHS = {"film": 64, "sound": 32}, {"film": 38, "sound": 300}
BATCH = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="sft")
    parser.add_argument("--neighbours", type=int, default=1, help="processes that take a core")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--most", type=float, default=1.25)
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inner:
        print(json.dumps(measured(given.method, given.steps)))
        return
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)  # the processes that are started inherit it
    spin = [
        sys.executable,
        "-c",
        f"import os\nos.sched_setaffinity(0, {{{cores[-1]}}})\nwhile os.getppid() == {os.getpid()}: pass",
    ]
    taken = [subprocess.Popen(spin) for _ in range(given.neighbours)]
    try:
        rows = {name: of_policy(sys.argv[1:], changes) for name, changes in POLICIES.items()}
    finally:
        for process in taken:
            process.kill()
    print(f"{given.method}, {len(cores)} cores, {given.neighbours} taken\n{'':10} {'':8} {'CPU ms':>8} {'wall ms':>8}")
    for name, parts in rows.items():
        for part, (cpu, wall) in parts.items():
            print(f"{name:10} {part:8} {cpu:8.1f} {wall:8.1f}")
    one, brief = rows["one thread"], rows["briefly"]
    sys.exit(any(brief[part][i] > given.most * one[part][i] for part in one for i in range(2)))


def of_policy(arguments: list[str], changes: dict[str, str]) -> dict[str, tuple[float, float]]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    call = [sys.executable, __file__, *arguments, "--inner"]
    return json.loads(subprocess.run(call, env=plain | changes, check=True, capture_output=True, text=True).stdout)


def measured(method: str, steps: int) -> dict[str, tuple[float, float]]:
    """Milliseconds of processor and median wall time of a step and of a batch."""
    import torch

    from sparsefuse import build
    from sparsefuse.tokens import Tokens

    torch.manual_seed(0)
    torch.set_num_threads(min(CORES, int(os.environ.get("OMP_NUM_THREADS", CORES))))
    model = build(method, FEATURES, 10, lengths=LENGTHS)
    batch = {
        name: Tokens(torch.randn(BATCH, LENGTHS[name], width), torch.ones(BATCH, LENGTHS[name], dtype=torch.bool))
        for name, width in FEATURES.items()
    }
    optimizer, labels = torch.optim.AdamW(model.parameters()), torch.randint(10, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        outputs, _ = model.training_outputs(batch, None)
        torch.nn.functional.cross_entropy(outputs.logits[:, 0], labels).backward()
        optimizer.step()

    @torch.inference_mode()
    def predict() -> None:
        model(batch)

    found = {"step": timed(step, steps)}
    model.eval()
    return found | {"predict": timed(predict, 3 * steps)}


def timed(run, steps: int) -> tuple[float, float]:
    for _ in range(3):
        run()
    begin, walls = time.process_time(), []
    for _ in range(steps):
        start = time.perf_counter()
        run()
        walls.append(time.perf_counter() - start)
    return 1e3 * (time.process_time() - begin) / steps, 1e3 * statistics.median(walls)


if __name__ == "__main__":
    main()
