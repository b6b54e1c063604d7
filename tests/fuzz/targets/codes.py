"""Compressed sounds: `.ecdc` files, saved codes."""

import io
import json
import struct
from functools import partial
from pathlib import Path
from random import Random

from harness import Case, Result
from mutations import broken_bytes, broken_json, broken_tensors, read_tensors

from targets.audio import scores_are_wrong


def _prepare(root: Path) -> None:
    import numpy as np
    from small_models import save_small_model, small_codec

    from hf_encls.codec.bitstream import write_ecdc
    from hf_encls.codec.codes import save_codes
    from hf_encls.codec.coding import encode

    random = np.random.default_rng(0)
    for khz in (24, 48):
        codec = small_codec(khz)
        codec.save_pretrained(root / f"codec{khz}")
        save_small_model(
            root / f"model{khz}", f"encodec_{khz}khz_codes", codec=codec, window_s=0.4, step_s=0.2, bandwidth=3.0
        )
        for length_s in (0.01, 0.5, 1.3):
            wave = 0.1 * random.standard_normal(round(length_s * khz * 1000)).astype(np.float32)
            codes = encode(codec, [wave], 6.0)
            write_ecdc(codes, root / f"{khz}-{length_s}.ecdc")
            save_codes(codes, root / f"{khz}-{length_s}.safetensors")
            if khz == 24:
                np.save(root / f"{khz}-{length_s}.npy", np.stack(codes.chunks)[:, None].astype(np.int64))


def _case(random: Random, root: Path, work: Path, name: str, broken: bytes, how: str, check) -> Case:
    path, khz = work / name, name[:2]
    path.write_bytes(broken)
    family = ["--family", f"encodec_{khz}khz"]
    if random.random() < 0.5:
        args = ["classify", path, "--model", root / f"model{khz}", "--assume_codec", "--format", "jsonl", *family]
    else:
        args = ["decode", path, "--codec", root / f"codec{khz}", "--output", "back.wav", *family]
    return Case(args, (name,), partial(_possible, check, broken), f"{name} {how} {args[0]}")


def _possible(check, broken: bytes, result: Result) -> str | None:
    wrong = check(broken)
    if wrong or not Path("back.wav").exists():
        return wrong or scores_are_wrong(json.loads(result.out.splitlines()[0]).get("labels"))
    return None


class Ecdc:
    """`.ecdc` files in `classify` and `decode`."""

    name, share = "ecdc", 2.0

    def prepare(self, root: Path) -> None:
        _prepare(root)

    def case(self, random: Random, root: Path, work: Path) -> Case:
        files = sorted(root.glob("*.ecdc"))
        file, other = random.choice(files), random.choice(files)
        data = file.read_bytes()
        if random.random() < 0.4:
            (size,) = struct.unpack(">I", data[5:9])
            text = broken_json(random, data[9 : 9 + size])
            broken, how = data[:5] + struct.pack(">I", len(text)) + text + data[9 + size :], "metadata"
        else:
            broken, how = broken_bytes(random, data, other.read_bytes())
        return _case(random, root, work, file.name, broken, how, _ecdc)


def _ecdc(data: bytes) -> str | None:
    """What cannot be of an accepted `.ecdc` file, computed here once more."""
    (size,) = struct.unpack(">I", data[5:9])
    about = json.loads(data[9 : 9 + size].decode("utf-8-sig"))
    khz = {"encodec_24khz": 24, "encodec_48khz": 48}.get(about.get("m"))
    if data[:5] != b"ECDC\0" or khz is None or about.get("lm") is not False:
        return "a header that is none"
    chunk, stride = (10**30, 10**30) if khz == 24 else (48_000, 47_520)
    need = 0
    for at in range(0, about["al"], stride):
        frames = -(-min(chunk, about["al"] - at) // 320)
        need += -(-frames * about["nc"] * 10 // 8) + (4 if khz == 48 else 0)
    return None if need == len(data) - 9 - size else "a length that its codes do not have"


class Codes:
    """Saved codes, safetensors and `.npy`, in `classify` and `decode`."""

    name, share = "codes", 2.0

    def prepare(self, root: Path) -> None:
        _prepare(root)

    def case(self, random: Random, root: Path, work: Path) -> Case:
        files = sorted([*root.glob("*.safetensors"), *root.glob("*.npy")])
        file, other = random.choice(files), random.choice(files)
        data = file.read_bytes()
        if file.suffix == ".npy":
            broken, how = broken_bytes(random, data, other.read_bytes())
            return _case(random, root, work, file.name, broken, how, _npy)
        kind = random.random()
        if kind < 0.4:
            from mutations import write_tensors

            header, payload = read_tensors(data)
            header["__metadata__"]["encls"] = broken_json(random, header["__metadata__"]["encls"].encode()).decode(
                "utf-8", "replace"
            )
            broken, how = write_tensors(header, payload), "metadata"
        elif kind < 0.7:
            broken, how = broken_tensors(random, data, other.read_bytes()), "tensors"
        else:
            broken, how = broken_bytes(random, data, other.read_bytes())
        return _case(random, root, work, file.name, broken, how, _saved)


def _npy(data: bytes) -> str | None:
    import numpy as np

    return _numbers(np.load(io.BytesIO(data), allow_pickle=False))


def _saved(data: bytes) -> str | None:
    from safetensors.numpy import load

    return _numbers(load(data)["audio_codes"])


def _numbers(codes) -> str | None:
    if codes.dtype.kind not in "iu" or codes.min() < 0 or codes.max() > 1023:
        return "codes that are in no codebook"
    return None
