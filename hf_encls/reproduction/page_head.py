"""The head of the page: what the report is of and in what it differs from the paper; its presets and cells."""

from hf_encls.report.tables import markdown_table
from hf_encls.reproduction.page import Page
from hf_encls.reproduction.show import (
    NONE,
    listed,
    percent,
    seconds,
    whole,
)


def head(page: Page) -> str:
    report, made = page.report, page.report["made"]
    lines = [f"# {page.texts['title']}", "", f"{report['reference']}", ""]
    other, left_out = other_conditions(page), made["not_run"]
    if other or left_out:
        intro = page.texts["other_conditions" if other else "not_all"]
        other += [f"not run: {', '.join(left_out)}"] if left_out else []
        lines += [f"**{intro}** {'; '.join(other)}.", ""]
    for row in report["datasets"]:
        if row["status"] == "missing":
            lines.append(f"- **{row['label']}: missing**, not on disk ({row['reason']}).")
            continue
        size = f"{row['clips']:,.0f} clips, {row['classes']:.0f} classes, {row['seconds']:,.0f} s"
        out = f", {row['left_out']:.0f} files left out" if row["left_out"] else ""
        lines.append(f"- **{row['label']}**: {size} at {row['sampling_rate']:,.0f} Hz{out}.")
    for row in report["inputs"]:
        if row["status"] == "missing":
            lines.append(f"- **{row['label']}: missing** ({row['reason']}).")
        elif row["stand_in_for"]:
            names = [row["trained_on"]] if isinstance(row["trained_on"], str) else row["trained_on"] or []
            trained = f", trained on {' and '.join(names)}" if names else ""
            if row["heard"]:
                trained += f". {page.texts['heard']} ({', '.join(row['heard'])})"
            kind = "random weights, never trained" if row["untrained"] else f"another codec{trained}"
            lines.append(f"- **{row['label']}** stands in for {row['stand_in_for']}: {kind}.")
    lines += ["", page.texts["stand_in"], ""] if any(stand_ins(page)) else [""]
    done = f"{made['finished']:.0f} of {made['cells']:.0f} cells are finished"
    lines.append(f"{done}; epochs per cell: {listed(made['epochs'])}; seeds: {listed(made['seeds'])}.")
    machine = made["machine"]
    lines.append(
        f"Made on {machine['processor']} ({machine['cores']:.0f} cores, {machine['device']}, "
        f"{machine['threads']:.0f} threads per run) with torch {made['versions']['torch']}, transformers "
        f"{made['versions']['transformers']}, hf_encls {made['versions']['hf_encls']}. Training alone took "
        f"{made['training_s']:,.0f} s in all."
    )
    return "\n".join([*lines, "", "```", made["command"], "```"])


def stand_ins(page: Page) -> list[str]:
    """What is not the paper's own data set or codec."""
    rows = [*page.report["datasets"], *page.report["inputs"]]
    return [row["label"] for row in rows if row.get("stand_in_for") and row["status"] == "used"]


def other_conditions(page: Page) -> list[str]:
    """In what this report differs from the paper's experiments."""
    made = page.report["made"]
    missing = [
        row["label"] for row in (*page.report["datasets"], *page.report["inputs"]) if row["status"] == "missing"
    ]
    other = [f"stand-ins: {', '.join(stand_ins(page))}"] if stand_ins(page) else []
    other += [f"{row['label']} {page.texts['has_heard']}" for row in page.report["inputs"] if row["heard"]]
    other += [f"missing: {', '.join(missing)}"] if missing else []
    if made["fewer_epochs"]:
        other.append(f"{listed(made['epochs'])} epochs instead of {made['paper_epochs']:.0f}")
    if made["other_hop"]:
        other.append(f"mel hop {listed(made['other_hop'])}")
    if made["bf16"]:
        other.append(page.texts["bf16"])
    if made["no_paper"]:
        other.append(page.texts["no_paper"])
    if made["inputs_left_out"]:
        other.append(f"without the inputs {', '.join(made['inputs_left_out'])}")
    if made["unfinished"]:
        other.append(f"cells not finished: {made['unfinished']:.0f}")
    return other


def presets(page: Page) -> str:
    presets = page.report["presets"]
    lines = list(dict.fromkeys(name for preset in presets.values() for name in preset))
    body = []
    for name in lines:
        values = [str(preset.get(name, NONE)) for preset in presets.values()]
        differs = len(set(values)) > 1
        body.append([f"**{name}**" if differs else name, *values])
    return page.section("presets", ["", markdown_table(["option", *presets], body, left=1 + len(presets))])


def cells(page: Page) -> str:
    body = []
    for row in page.report["cells"]:
        done = row["status"] == "finished"
        test = row["test"] if done else None
        body.append(
            [
                f"`{row['id']}`",
                row["status"] + (f": {row['reason']}" if row.get("reason") else ""),
                percent(test and test["window"]["accuracy"]),
                percent(test and test["clip"]["accuracy"]),
                whole(row["leak"]["clip_leaks"] if done else None),
                whole(row["epochs"] if done else None),
                seconds(row["training_s"] if done else None),
            ]
        )
    head = ["cell", "status", "window acc.", "clip acc.", "leaking test windows", "epochs", "training s"]
    return page.section("cells", ["", markdown_table(head, body, left=2)])
