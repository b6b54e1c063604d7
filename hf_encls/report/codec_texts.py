"""What cards say about the codec of a run: which one it is, what it has heard, under which licence it comes."""

import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from hf_encls.data.load import KNOWN, data_set_called
from hf_encls.files.escapes import markdown, markdown_code
from hf_encls.model.configuration_encls import parse_features

ASSETS = Path(__file__).parents[1] / "codec" / "assets"  # of the bundled codecs
ATTRIBUTION = "ATTRIBUTION.md"  # beside a codec: whose recordings it is made of


def codec_text(codec: Mapping | None) -> str:
    """Which codec made the features, in one sentence."""
    if not codec:
        return "No codec is involved."
    parts = [f"Codec: {markdown_code(codec['id'])}"]
    parts += ["whose weights are random"] if codec.get("untrained") else []
    if codec.get("trained_on"):
        names = codec["trained_on"]
        parts.append(f"trained on {markdown(names if isinstance(names, str) else ', '.join(map(str, names)))}")
    parts += [f"{name} {codec[key]}" for name, key in (("policy", "policy"), ("precision", "dtype")) if codec.get(key)]
    parts += [f"weights {codec['hash'][:12]}"] if codec.get("hash") else []
    return ", ".join(parts) + "."


def codec_warning(results: Mapping) -> str:
    """What a reader must know of the codec before the scores; empty where there is nothing."""
    codec = results.get("codec")
    if codec and codec.get("untrained"):
        return "The codec of this model is **untrained**. It shows that everything works; its scores say nothing else."
    if codec and has_heard(codec, results["dataset"]):
        return (
            f"The codec {markdown_code(codec['id'])} was itself trained on {markdown(results['dataset'])}, "
            "clips of this test included: these scores are not those of a codec that never heard them."
        )
    return ""


def has_heard(codec: Mapping | None, dataset: str) -> bool:
    """Whether the codec was trained on clips of the data set, as far as its facts (`trained_on`) tell.

    Known data sets answer to all their names, ESC-10 to those of ESC-50, and are found inside a text or a folder's
    name too ("ESC-50 folds 1-4", esc50_24k). Of others whole names are compared.
    """
    if not codec or not codec.get("trained_on") or not data_set_called(dataset):
        return False
    told = [codec["trained_on"]] if isinstance(codec["trained_on"], str) else list(map(str, codec["trained_on"]))
    heard = {name for text in told for part in (text, *re.split(r"[,;]", text)) for name in _data_sets_in(part)}
    return not heard.isdisjoint(_data_sets_in(dataset))


def _data_sets_in(text: str) -> set[str]:
    """What the text as a whole is called, and the known data sets whose names are words of it.

    Names that are anybody's words ("genres", "music speech") count as whole texts only. A name inside a longer one is
    no name of its own: "GTZAN music/speech" is not GTZAN, which means the genres.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    spans = []
    for facts in KNOWN:
        for name in (facts.title, *facts.aliases):
            words = re.findall(r"[^\W_]+", name)
            if len(words) > 2 or re.search(r"\d|[A-Z]{3}", name):
                pattern = r"[\W_]*".join(re.escape(word.casefold()) for word in words)
                matches = re.finditer(rf"(?<![^\W_]){pattern}(?![^\W_])", folded)
                spans += [(match.start(), match.end(), facts.name) for match in matches]
    longest = [s for s in spans if not any(o[0] <= s[0] and s[1] <= o[1] and o[:2] != s[:2] for o in spans)]
    return {name for name in (data_set_called(text), *(data_set_called(span[2]) for span in longest)) if name}


def codec_name(codec: Mapping | None, dataset: str) -> str:
    """A codec in a few words, as it stands beside a score; "none" where there is none."""
    if not codec:
        return "none"
    untrained = " (untrained)" if codec.get("untrained") and "untrained" not in codec["id"] else ""
    return codec["id"] + untrained + (" (heard the test clips)" if has_heard(codec, dataset) else "")


def lacks_codec(results: Mapping, config: Mapping) -> bool:
    """Whether a model of codec features was saved without its codec: it takes features then, no audio.

    Its `config` decides: `holds_codec` in the results tells of the day of training, a codec may be put in later.
    """
    features = config.get("features", results.get("features"))
    if features is None or not parse_features(features)[0].needs_codec:
        return False
    return config.get("codec_config") is None


def licence(codec: Mapping | None) -> dict[str, str]:
    """The licence of a checkpoint that holds this codec (None: none of it), as the front matter of a card says it."""
    if not codec or codec.get("untrained"):
        return {"license": "apache-2.0"}
    if is_hub_id(codec):
        name, link = "apache-2.0-and-codec", f"https://huggingface.co/{codec['id']}"
    else:
        name, link = f"apache-2.0-and-{licence_facts(codec).get('license', 'unknown')}", "README.md"
    return {"license": "other", "license_name": name, "license_link": link}


def licence_text(codec: Mapping | None) -> str:
    """The same in words, with the attribution that the codec's licence asks for."""
    text = "Network and code: Apache-2.0."
    if not codec or codec.get("untrained"):
        return text
    text += f" The checkpoint also holds the encoder of {markdown_code(codec['id'])}, "
    facts = licence_facts(codec)
    if facts.get("license"):
        return text + f"under {facts['license']}. {facts.get('attribution') or ''}".strip()
    if is_hub_id(codec):
        return text + "under that codec's own licence."
    return text + "whose licence is not stated: find it out before you pass this checkpoint on."


def licence_facts(codec: Mapping) -> dict[str, str]:
    """`license` and `attribution` of a codec: what the run has noted, else what lies beside a bundled codec."""
    folder = bundled_folder(codec)
    facts = json.loads((folder / "codec_training.json").read_text(encoding="utf-8")) if folder else {}
    return {key: value for key in ("license", "attribution") if (value := codec.get(key) or facts.get(key))}


def bundled_folder(codec: Mapping | None) -> Path | None:
    """The folder of the bundled codec that this is, by its name and the hash of its weights."""
    if not codec or not re.fullmatch(r"\w+", str(codec.get("id"))):
        return None
    facts = ASSETS / codec["id"] / "codec_training.json"
    if not facts.is_file():
        return None
    same = codec.get("hash") == json.loads(facts.read_text(encoding="utf-8")).get("hash")
    return facts.parent if same else None


def is_hub_id(codec: Mapping | None) -> bool:
    return bool(codec) and re.fullmatch(r"[\w.-]+/[\w.-]+", str(codec.get("id"))) is not None
