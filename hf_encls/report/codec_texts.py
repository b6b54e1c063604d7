"""What cards say about the codec of a run: which one it is, what it has heard, under which licence it comes."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hf_encls.codec.facts import CodecFacts
from hf_encls.codec.loading import ASSETS, bundled_codecs
from hf_encls.data.load import KNOWN, data_set_called
from hf_encls.files.escapes import markdown, markdown_code
from hf_encls.model.configuration_encls import EnclsConfig, parse_features
from hf_encls.training.results import Results

ATTRIBUTION = "ATTRIBUTION.md"  # beside a codec: whose recordings it is made of


def codec_text(codec: CodecFacts | None) -> str:
    """Which codec made the features, in one sentence."""
    if not codec:
        return "No codec is involved."
    parts = [f"Codec: {markdown_code(codec.id)}"]
    parts += ["whose weights are random"] if codec.untrained else []
    if codec.trained_on:
        names = codec.trained_on
        parts.append(f"trained on {markdown(names if isinstance(names, str) else ', '.join(names))}")
    if codec.anchored_latents:
        parts.append(f"{codec.anchored_latents} of its latents drawn to a log-mel spectrum while it trained")
    parts += [f"{name} {value}" for name, value in (("policy", codec.policy), ("precision", codec.dtype)) if value]
    parts += [f"weights {codec.hash[:12]}"] if codec.hash else []
    return ", ".join(parts) + "."


def codec_warning(codec: CodecFacts | None, dataset: str) -> str:
    """What a reader of scores on a data set must know of the codec first, in Markdown; empty where there is nothing."""
    if codec and codec.untrained:
        return "The codec of this model is **untrained**. It shows that everything works; its scores say nothing else."
    if codec and has_heard(codec, dataset):
        return (
            f"The codec {markdown_code(codec.id)} was itself trained on {markdown(dataset)}, "
            "clips of this test included: these scores are not those of a codec that never heard them."
        )
    return ""


def plain_warning(codec: CodecFacts | None, dataset: str) -> str:
    """The same as plain text."""
    return codec_warning(codec, dataset).replace("*", "").replace("`", "")


def has_heard(codec: CodecFacts | None, dataset: str) -> bool:
    """Whether the codec was trained on clips of the data set, as far as its facts (`trained_on`) tell.

    Known data sets answer to all their names, ESC-10 to those of ESC-50, and are found inside a text or a folder's
    name too ("ESC-50 folds 1-4", esc50_24k). Of others whole names are compared.
    """
    if not codec or not codec.trained_on or not data_set_called(dataset):
        return False
    texts = [codec.trained_on] if isinstance(codec.trained_on, str) else codec.trained_on
    heard = {name for text in texts for part in (text, *re.split(r"[,;]", text)) for name in _data_sets_in(part)}
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


def used_codec(config: EnclsConfig, known: CodecFacts | None, dataset: str) -> CodecFacts | None:
    """The codec as the results of a run say it: as features were made with it, and whether it has heard the data set."""
    if not config.representation.needs_codec:
        return None
    known = known or CodecFacts(id=config.codec_id or "unknown")
    return replace(
        known,
        revision=config.codec_revision,
        hash=config.codec_hash,
        policy=config.codec_policy,
        dtype=config.codec_dtype,
        bandwidth=config.bandwidth,
        heard_test_clips=has_heard(known, dataset),
    )


def codec_name(codec: CodecFacts | None, dataset: str) -> str:
    """A codec in a few words, as it stands beside a score; "none" where there is none."""
    if not codec:
        return "none"
    untrained = " (untrained)" if codec.untrained and "untrained" not in codec.id else ""
    return codec.id + untrained + (" (heard the test clips)" if has_heard(codec, dataset) else "")


def lacks_codec(results: Results | None, config: Mapping) -> bool:
    """Whether a model of codec features was saved without its codec: it takes features then, no audio.

    Its `config` decides: `holds_codec` in the results tells of the day of training, a codec may be put in later.
    """
    features = config.get("features", results and results.features)
    if features is None or not parse_features(features)[0].needs_codec:
        return False
    return config.get("codec_config") is None


def licence(codec: CodecFacts | None) -> dict[str, str]:
    """The licence of a checkpoint that holds this codec (None: none of it), as the front matter of a card says it."""
    if not codec or codec.untrained:
        return {"license": "apache-2.0"}
    name = re.sub(r"[^a-z0-9.+-]+", "-", (licence_facts(codec).license or "unknown").lower()).strip("-")
    link = f"https://huggingface.co/{codec.id}" if is_hub_id(codec) else "README.md"
    return {"license": "other", "license_name": f"apache-2.0-and-{name}", "license_link": link}


def licence_text(codec: CodecFacts | None) -> str:
    """The same in words, with the attribution that the codec's licence asks for."""
    text = "Network and code: Apache-2.0."
    if not codec or codec.untrained:
        return text
    text += f" The checkpoint also holds the encoder of {markdown_code(codec.id)}, "
    facts = licence_facts(codec)
    if facts.license:
        return text + f"under {markdown(facts.license)}. {facts.attribution or ''}".strip()
    if is_hub_id(codec):
        return text + "under that codec's own licence, which is unknown here: its page on the Hub may say it."
    return text + "whose licence is not stated: find it out before you pass this checkpoint on."


def licence_facts(codec: CodecFacts) -> CodecFacts:
    """A codec with `license` and `attribution`: what the run has noted, else what lies beside a bundled codec."""
    folder = bundled_folder(codec)
    if folder is None:
        return codec
    beside = CodecFacts.of_folder(folder, codec.id)
    terms = {name: getattr(codec, name) or getattr(beside, name) for name in ("license", "attribution")}
    return replace(codec, **terms)


def bundled_folder(codec: CodecFacts | None) -> Path | None:
    """The folder of the bundled codec that this is, by its name and the hash of its weights."""
    if not codec or codec.id not in bundled_codecs():
        return None
    folder = ASSETS / codec.id
    return folder if codec.hash == CodecFacts.of_folder(folder, codec.id).hash else None


def is_hub_id(codec: CodecFacts | None) -> bool:
    """Whether the codec is known by a name of the Hub, `owner/name`."""
    return codec is not None and re.fullmatch(r"[\w.-]+/[\w.-]+", codec.id) is not None
