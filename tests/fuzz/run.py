"""Break files in thousands of ways and meet every program with them.

    python tests/fuzz/run.py --cases 20000 --seed 1
    python tests/fuzz/run.py --cases 500 --targets audio ecdc
    python tests/fuzz/run.py --seed 1 --one models:137 --keep broken/      # that case alone, with all it says

Prints counts for each target; the exit status is 1 where one is unclear, wrong, or hangs. The same seed gives the same
cases.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

for name, value in {
    **{"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "CUDA_VISIBLE_DEVICES": ""},
    **{"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1", "TOKENIZERS_PARALLELISM": "false"},
}.items():
    os.environ[name] = value
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]


def main(args: list[str] | None = None) -> int:
    """Run the cases; returns the exit status."""
    options = _parser().parse_args(args)
    from harness import BAD, KINDS, run_case
    from pool import in_a_process, verdicts
    from targets import TARGETS, heavy_imports

    heavy_imports()
    for number in (signal.SIGINT, signal.SIGTERM):  # also in the background, where a shell has them ignored
        signal.signal(number, signal.default_int_handler)
    chosen = [target for target in TARGETS if not options.targets or target.name in options.targets]
    with tempfile.TemporaryDirectory(prefix="fuzz-seeds-") as folder:
        root = Path(options.good or folder).resolve()
        root.mkdir(parents=True, exist_ok=True)
        if options.one:
            name, _, number = options.one.partition(":")
            (target,) = (each for each in TARGETS if each.name == name)
            in_a_process(_prepare, [target], root)
            work = Path(options.keep or root / "case").resolve()
            verdict = run_case(target, options.seed, int(number), root, work)
            print(f"{verdict.kind}: {verdict.why}\n{verdict.detail}")
            return int(verdict.kind in BAD)
        in_a_process(_prepare, chosen, root)
        total = sum(target.share for target in chosen)
        numbers = {target: range(max(1, round(options.cases * target.share / total))) for target in chosen}
        jobs = [(n / len(those), target, n) for target, those in numbers.items() for n in those]
        jobs = [job[1:] for job in sorted(jobs, key=lambda job: job[0])]  # all targets side by side
        counts, reasons = {target.name: Counter() for target in chosen}, defaultdict(list)
        with suppress(KeyboardInterrupt):  # Ctrl-C: the table of what was done
            for (target, number), verdict in verdicts(jobs, options.seed, root, options.processes):
                counts[target.name][verdict.kind] += 1
                if verdict.kind in BAD:
                    reasons[target.name, verdict.kind, verdict.why].append(number)
        print(table(counts, KINDS))
        for (name, kind, why), numbers in sorted(reasons.items(), key=lambda item: -len(item[1])):
            print(f"{len(numbers):>6}  {kind:<8}{name}:{min(numbers)}  {why}")
    return int(bool(reasons))


def table(counts: dict[str, Counter], kinds: tuple[str, ...]) -> str:
    """The counts of each target and their sums."""
    lines = [f"{'target':<12}{'cases':>8}" + "".join(f"{kind:>9}" for kind in kinds)]
    for name, found in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        lines.append(f"{name:<12}{sum(found.values()):>8}" + "".join(f"{found[kind]:>9}" for kind in kinds))
    return "\n".join(lines)


def _prepare(targets: list, root: Path) -> None:
    from harness import quiet

    quiet()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    for target in targets:
        whole = root / f"{target.name}.whole"
        if not whole.exists():
            shutil.rmtree(root / target.name, ignore_errors=True)
            (root / target.name).mkdir()
            target.prepare(root / target.name)
            whole.touch()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="of all targets together (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--targets", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one for each processor")
    parser.add_argument("--good", metavar="DIR", help="where good files are kept, for the next run (default: nowhere)")
    parser.add_argument("--one", metavar="NAME:NUMBER", help="run this case alone and show what it says")
    parser.add_argument("--keep", metavar="DIR", help="with --one: where its files go and stay")
    return parser


if __name__ == "__main__":
    sys.exit(main())
