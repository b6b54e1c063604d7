"""The names of features: `latents`, `encodec_24khz_codes`, `mimi_24khz`."""

import re

from .codec_encls import FAMILIES
from .codec_features_encls import Codes, Latents
from .mel_encls import LogMel, Mel
from .representation_encls import Representation

REPRESENTATIONS: dict[str, type[Representation]] = {each.kind: each for each in (Latents, Codes, Mel, LogMel)}


def parse_features(name: str) -> tuple[type[Representation], int | None]:
    """The representation that a name means, and the sampling rate in hertz that it asks for; None where it asks for none.

    `encodec_24khz_codes` is codes at 24000 Hz; `latents` are latents at any rate. Raises `ValueError` for another name.
    """
    if name in REPRESENTATIONS:
        return REPRESENTATIONS[name], None
    match = _matched(name)
    if match is None:
        raise ValueError(
            f"expected features to be {', '.join(REPRESENTATIONS)}, encodec_24khz, encodec_48khz or one of the last two "
            f"with _codes, or a name of another codec's family such as dac_16khz, found {name!r}"
        )
    return Codes if match["codes"] else Latents, int(match["rate"]) * (1000 if match["thousands"] else 1)


def family_of(name: str) -> str | None:
    """The codec's family that a name of features asks for: `dac` for `dac_16khz`; None where it asks for none."""
    match = _matched(name)
    return match and match["family"]


def _matched(name: str) -> re.Match | None:
    families = "|".join(FAMILIES)
    return re.fullmatch(rf"(?P<family>{families})_(?P<rate>\d+)(?P<thousands>k?)hz(?P<codes>_codes)?", name)
