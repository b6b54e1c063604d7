"""One file for each kind of files that a user has."""

import importlib

from targets.archives import Archives
from targets.audio import Audio
from targets.codecs import Codecs
from targets.codes import Codes, Ecdc
from targets.models import Models
from targets.options import Options
from targets.published import Published
from targets.runs import Grid, Runs, Settings
from targets.shards import Shards
from targets.table import Table

TARGETS = [
    *(Audio(), Ecdc(), Codes(), Models(), Codecs(), Published(), Table(), Archives(), Runs(), Grid(), Settings()),
    *(Shards(), Options()),
]


def heavy_imports() -> None:
    """What takes seconds to import, once, before workers are forked."""
    from hf_encls.commands.cli import COMMANDS

    for command in COMMANDS.values():
        importlib.import_module(command.module)
    for name in (
        *("hf_encls.commands.compare", "hf_encls.comparison.models", "hf_encls.inference.pipeline", "hf_encls.audio"),
        *(
            "hf_encls.hub.push_models",
            "hf_encls.inference.embeddings",
            "hf_encls.codec.coding",
            "hf_encls.report.cards",
        ),
        *("hf_encls.reproduction.report", "hf_encls.timelines.formats", "hf_encls.inference.picture"),
        *("matplotlib.backends.backend_agg", "sklearn.manifold", "pyarrow.parquet", "small_models"),
    ):
        importlib.import_module(name)
