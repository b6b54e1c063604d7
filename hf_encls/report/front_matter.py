"""Front matter that several people write: their entries stay, in their order and their spelling."""

import copy
from collections.abc import Collection, Mapping, Sequence

import yaml
from huggingface_hub.utils import yaml_dump

from hf_encls.report.pages import entries, seal_of

ONE = ("license", "size_categories")  # lists, but not of things to which others add
WITH_LICENCE = ("license_name", "license_link")  # a licence that was chosen by hand has none of ours


def merged_front(
    published: Mapping,
    wrote: Mapping[str, Sequence[str]],
    ours: Mapping,
    *,
    overwrite: bool = False,
    always: Collection[str] = (),
) -> tuple[dict, list[str]]:
    """What the front matter says after `ours` was written into it, and the keys that stay as somebody set them.

    `wrote` are the seals of what hf_encls wrote last time: what bears none of them was written by hand and stays, what is
    gone was taken out by hand and stays out. To lists ours is added; of one value ours wins with `overwrite`, and for
    the keys in `always`, which are already merged.
    """
    front, kept = copy.deepcopy(dict(published)), []
    for key in [*ours, *(key for key in wrote if key not in ours)]:
        before, value = wrote.get(key, ()), ours.get(key)
        if key in always:
            front[key] = value
        elif key in WITH_LICENCE and "license" in kept:
            continue
        elif key == "model-index" and _is_index(front.get(key, [])):
            changed = _merge_index(front, before, value or [], overwrite)
            kept += [key] if changed else []
        elif key not in ONE and (isinstance(value, list) or (value is None and isinstance(front.get(key), list))):
            _unite(front, key, before, [] if overwrite else before, value or [])
        elif key not in front:
            if value is not None and (overwrite or not before):
                front[key] = value
        elif overwrite or {seal_of(entry) for entry in entries(key, front[key])} <= set(before):
            _set(front, key, value)
        elif value is not None and front[key] != value:
            kept.append(key)
    return front, kept


def rewritten(head: str, front: Mapping, newline: str) -> str:
    """`head`, YAML that says something else, as text that says `front`: what stays the same stays as it is written."""
    old = yaml.safe_load(head) or {}
    if old == front:
        return head
    node = yaml.compose(head, Loader=yaml.SafeLoader)
    if node is None:
        return (head.rstrip() + newline if head.strip() else "") + _dump(front, newline)
    if node.flow_style or not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
        return _dump(front, newline)
    starts = [key.start_mark.index for key, _ in node.value]
    text, seen = head[: starts[0]], set()
    for (key_node, _), start, end in zip(node.value, starts, [*starts[1:], len(head)]):
        key = yaml.safe_load(key_node.value) if key_node.tag != "tag:yaml.org,2002:str" else key_node.value
        block = head[start:end]
        block += "" if block.endswith(("\n", "\r")) else newline
        seen.add(key)
        if key not in front or front[key] != old[key]:
            block = (_dump({key: front[key]}, newline) if key in front else "") + _remarks(block)
        text += block
    text += "".join(_dump({key: value}, newline) for key, value in front.items() if key not in seen)
    try:
        same = yaml.safe_load(text) == front
    except yaml.YAMLError:
        same = False
    return text if same else _dump(front, newline)  # not so where one entry refers to another


def _dump(front: Mapping, newline: str) -> str:
    return yaml_dump(dict(front), sort_keys=False, line_break=newline)


def _remarks(block: str) -> str:
    """The remarks and empty lines below an entry, which belong to the next one."""
    lines = block.splitlines(keepends=True)
    count = next((n for n, line in enumerate(reversed(lines)) if line.strip() and not line.startswith("#")), 0)
    return "".join(lines[len(lines) - count :])


def _set(front: dict, key: str, value: object) -> None:
    if value is None:
        front.pop(key, None)
    else:
        front[key] = value


def _unite(front: dict, key: str, before: Sequence[str], taken_out: Sequence[str], value: list) -> None:
    """Add ours to a list; `taken_out`: what is missing there of these was taken out by hand."""
    published, new = entries(key, front.get(key)), {seal_of(entry) for entry in value}
    seals = {seal_of(entry) for entry in published}
    united = [entry for entry in published if seal_of(entry) not in before or seal_of(entry) in new]
    united += [entry for entry in value if seal_of(entry) not in seals and seal_of(entry) not in taken_out]
    if united != published:
        _set(front, key, united or None)


def _is_index(value: object) -> bool:
    """Whether it has the form of a model index. One of another form is a value like any other."""
    return isinstance(value, list) and all(
        isinstance(model, dict)
        and isinstance(model.get("results"), list)
        and all(isinstance(result, dict) and isinstance(result.get("metrics"), list) for result in model["results"])
        for model in value
    )


def _merge_index(front: dict, before: Sequence[str], value: list, overwrite: bool) -> bool:
    """Put our metrics into the model index in place of those of last time. Whether one stays that was set by hand."""
    key, by_hand, target = "model-index", False, None
    index = copy.deepcopy(front.get(key, []))
    new = {seal_of(entry): entry for entry in entries(key, value)}
    add = {_unvalued(entry): entry for seal, entry in new.items() if overwrite or seal not in before}
    for model in index:
        for result in model["results"]:
            stays = []
            for metric in result["metrics"]:
                entry = {**result, "metrics": metric}
                seal, measure = seal_of(entry), _unvalued(entry)
                ours = seal in before or seal in new
                target = model if ours else target
                if seal in new or not (ours or (overwrite and measure in add)):
                    stays.append(metric)
                    by_hand |= seal not in new and add.pop(measure, None) is not None
                    add.pop(measure, None)
                elif measure in add:
                    stays.append(add.pop(measure)["metrics"])
            result["metrics"][:] = stays
        model["results"][:] = [result for result in model["results"] if result["metrics"]]
    if add:
        name = value[0].get("name")
        target = target or next((model for model in index if model.get("name") == name), None)
        if target is None:
            target = {"name": name, "results": []}
            index.append(target)
        for entry in add.values():
            _add_metric(target["results"], entry)
    index = [model for model in index if model["results"]]
    if index != front.get(key, []):
        _set(front, key, index or None)
    return by_hand


def _add_metric(results: list, entry: Mapping) -> None:
    task = {key: value for key, value in entry.items() if key != "metrics"}
    for result in results:
        if {key: value for key, value in result.items() if key != "metrics"} == task:
            result["metrics"].append(entry["metrics"])
            return
    results.append({**task, "metrics": [entry["metrics"]]})


def _unvalued(entry: Mapping) -> str:
    """What a metric measures, whatever it found."""
    metric = entry["metrics"]
    return seal_of({**entry, "metrics": {**metric, "value": None} if isinstance(metric, dict) else metric})
