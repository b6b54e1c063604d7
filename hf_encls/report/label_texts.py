"""What a card says of the labels: how windows got those that are in time, and what several at once are."""

from hf_encls.files.escapes import markdown
from hf_encls.model.problem_encls import SEVERAL_LABELS
from hf_encls.training.results import Results

LABELS_TEXT = (
    "The labels of the data are in time: a window has the label that fills at least {min_overlap:.0%} of it, {others}. "
    "Recordings hold several classes each, so the scores are those of windows, and there are none of clips."
)
SETS_TEXT = (
    "The labels of the data are in time: a window has each that fills at least {min_overlap:.0%} of it, {others}."
)
SEVERAL_TEXT = (
    "A sound can have several labels at once, or none: each has a probability of its own (sigmoid). F1 is that of a yes "
    "from each label's threshold on, which was chosen on the validation part."
)


def labels_text(results: Results) -> str:
    """How windows got labels in time, and what several labels at once are, for people; nothing where clips have classes."""
    rule, several = results.labels, results.problem_type == SEVERAL_LABELS
    sentences = [SEVERAL_TEXT] if several else []
    if rule is not None:
        others = {"drop": "others are left out"} | ({"keep": "others have none"} if several else {})
        others = others.get(rule["unlabelled"], f"others are {markdown(rule['unlabelled'])}")
        text = SETS_TEXT if several else LABELS_TEXT
        sentences.append(text.format(min_overlap=rule["min_overlap"], others=others))
    return " ".join(sentences)
