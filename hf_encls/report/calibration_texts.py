"""What is said of a run's probabilities: how honest they are, and what is answered `unknown`."""

from collections.abc import Mapping

from hf_encls.model.calibration_encls import UNKNOWN
from hf_encls.model.problem_encls import SEVERAL_LABELS
from hf_encls.report.tables import markdown_table, score_text, text_table
from hf_encls.training.results import Results

ALWAYS = "It always answers with one of its classes, also for sounds that are none of them, and for silence."
SEVERAL = "It knows its labels only: of a sound that is none of them it should say none, and may be wrong."


def calibration_table(results: Results, markdown: bool = False) -> str:
    """Calibration error and loss as trained and under the temperatures, and coverage, of validation and test.

    Nothing for results of earlier versions, which have no calibration error.
    """
    rows = []
    for part in ("validation", "test"):
        scores = getattr(results, part)
        for unit, each, _ in scores.scored() if scores else ():
            if each.ece is not None:
                names = ("ece", "calibrated_ece", "loss", "calibrated_loss", "coverage")
                rows.append([part, unit.text, *(score_text(each, name) for name in names)])
    head = ["split", "unit", "ECE as trained", "ECE", "loss as trained", "loss", "not unknown"]
    if results.unknown is None:
        head, rows = head[:-1], [row[:-1] for row in rows]
    table = markdown_table if markdown else text_table
    return table(head, rows, left=2) if rows else ""


def calibration_text(results: Results) -> str:
    """What a reader of a card must know of the probabilities, in Markdown; nothing for results of earlier versions."""
    fitted, table = results.calibration or {}, calibration_table(results, markdown=True)
    if not table:
        return ""
    said = ["ECE is the expected calibration error over 15 equal bins: how far confidence and accuracy are apart."]
    temperatures = _by_unit(fitted, "temperature", "{:.3g} for {}")
    if temperatures:
        said.append(f"Temperatures were fitted on the validation part ({temperatures}); they change no answer.")
    else:
        said.append("Probabilities are as they were trained: no temperature was fitted.")
    if "refit_windows" in (results.fit or {}):
        said.append(
            "The validation part was asked before the model was fitted to it as well; test was asked at the end."
        )
    thresholds = _by_unit(fitted, "unknown_below", "{:.3f} for {}")
    if thresholds:
        said.append(
            f"hf_encls answers `{UNKNOWN}` where no class has a probability of {thresholds}: by the validation part, that "
            f"is so for at most {results.unknown:.1%} of known sounds. The last column is the share that is left. The stock "
            "pipeline gives the probabilities alone."
        )
    return "\n\n".join([" ".join(said), table])


def limit_text(results: Results) -> str:
    """The limit that a classifier of some sounds has with all others."""
    if results.problem_type == SEVERAL_LABELS:
        return SEVERAL
    test = results.test.clip or results.test.window
    if results.unknown is None or test.coverage is None:
        return ALWAYS
    return (
        f"It answers `{UNKNOWN}` where no class is probable enough, {1 - test.coverage:.1%} of the time in its own test. A "
        "sound that is none of its classes may still be taken for one."
    )


def _by_unit(fitted: Mapping[str, float], name: str, text: str) -> str:
    """The numbers of windows and of clips, those that are there."""
    keys = {"windows": f"window_{name}", "clips": f"clip_{name}"}
    return " and ".join(text.format(fitted[key], unit) for unit, key in keys.items() if key in fitted)
