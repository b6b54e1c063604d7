"""Comparing a folder on disk with the facts of a public data set."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hf_encls.data.facts import DatasetFacts, checksums
from hf_encls.data.load import FOLDER, KNOWN, load_clips, module_of, nearly_known, recognise
from hf_encls.files import checksum


@dataclass
class Validation:
    """How a folder differs from the data set it should hold. `wrong` rows have the file and what is wrong with it.

    Their `kind` is that of a file that is left out, or `facts` where a usable one differs from the facts.
    """

    dataset: str
    data_dir: str
    used: int
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    wrong: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    checksums_compared: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is missing, too much, wrong or to be warned of."""
        return not (self.missing or self.extra or self.wrong or self.warnings)

    def as_dict(self) -> dict:
        """All of it as JSON, with `ok`."""
        return asdict(self) | {"ok": self.ok}

    def text(self, most: int = 20) -> str:
        """Lines for a person; of each kind the first `most` files."""
        lines = [f"{self.data_dir} against {self.dataset}: {self.used} clips can be used"]
        lines.append(f"{self.checksums_compared} checksums compared (md5)")
        lines += [f"warning: {warning}" for warning in self.warnings]
        for title, names in (("missing", self.missing), ("extra", self.extra)):
            if names:
                lines.append(f"{title}: {len(names)}")
                lines += [f"  {name}" for name in names[:most]] + _more(names, most)
        if self.wrong:
            lines.append(f"wrong: {len(self.wrong)}")
            lines += [f"  {row['file']}: {row['reason']}" for row in self.wrong[:most]] + _more(self.wrong, most)
        return "\n".join([*lines, "as it should be" if self.ok else "not as it should be"])


def validate(dataset: str | None, data_dir: str | Path, *, compare_checksums: bool = True) -> Validation:
    """Compare a folder with the facts: names, sampling rate, channels, duration, and md5 where an index gives it.

    `dataset` is a name as for `load_clips`; None recognises it. Checksums are compared for files of the edition that
    the index describes (WAV). Raises `ValueError` for a folder that is none of the known data sets, or holds nothing.
    """
    root = Path(data_dir)
    name = dataset or recognise(root)
    if name == FOLDER:
        names = ", ".join(facts.name for facts in KNOWN)
        near = "".join(f". {warning}" for warning in nearly_known(root, "dataset"))
        raise ValueError(
            f"{root} is none of the data sets whose facts are known ({names}): nothing to compare it with{near}"
        )
    clips, report, facts = load_clips(root, dataset)
    module = module_of(facts.name)
    result = Validation(facts.name, str(root), report.used, warnings=list(report.warnings))
    expected = module.expected_clips(facts)
    digests = {Path(path).stem: (Path(path).suffix, digest) for path, digest in checksums(facts).items()}
    present = set()
    for row in report.left_out:
        stem = module.clip_name(Path(row["file"]).stem)
        if row["kind"] == "missing":
            continue  # in the table, not on disk: it is among the missing
        if expected and stem not in expected:
            result.extra.append(row["file"])
        else:
            present.add(stem)
            result.wrong.append(row)
    columns = ("clip_id", "sampling_rate", "duration_s", "num_channels", "audio")
    for file, rate, duration_s, channels, audio in zip(*(clips[column][:] for column in columns), strict=True):
        path = Path(file)
        clip = module.clip_name(path.stem)
        present.add(clip)
        if expected and clip not in expected:
            result.extra.append(file)
            continue
        reasons = list(_off(facts, path.suffix.lower(), rate, duration_s, channels))
        suffix, digest = digests.get(path.stem, ("", ""))
        if compare_checksums and suffix == path.suffix.lower():
            result.checksums_compared += 1
            actual = checksum(audio["path"], "md5")
            if actual != digest:
                reasons.append(f"md5 is {actual}, the index says {digest}: another edition, or a damaged file")
        if reasons:
            result.wrong.append({"file": file, "kind": "facts", "reason": "; ".join(reasons)})
    result.missing = sorted(set(expected) - present)
    return result


def _off(facts: DatasetFacts, suffix: str, rate: int, duration_s: float, channels: int) -> Iterator[str]:
    """Reasons why a clip is not as the facts say; 1e-5 s (less than a sample) allows for rounding."""
    if rate != facts.sampling_rate:
        yield f"sampling rate {rate} Hz, expected {facts.sampling_rate}"
    if channels != facts.num_channels:
        yield f"{channels} channels, expected {facts.num_channels}"
    shortest, longest = facts.durations_s.get(suffix, (0.0, float("inf")))
    if not shortest - 1e-5 <= duration_s <= longest + 1e-5:
        span = f"{shortest:g}" if shortest == longest else f"{shortest:g} to {longest:g}"
        yield f"{duration_s:.3f} s long, expected {span}"


def _more(rows: list, most: int) -> list[str]:
    return [f"  and {len(rows) - most} more"] if len(rows) > most else []
