"""The sections with scores and learning curves."""

from hf_encls.report.tables import markdown_table
from hf_encls.reproduction.page import Page
from hf_encls.reproduction.show import (
    NONE,
    counted,
    epoch_number,
    listed,
    mean,
    number,
    passes,
    percent,
    points,
    seconds,
    signed,
    spread,
    whole,
)


def claims(page: Page) -> str:
    rows = []
    for row in page.report["claims"]:
        if row["claim"] == "epochs":
            found = (
                f"above mel's final accuracy from epoch {epoch_number(row['pass_epoch'])}; loss as low as mel's lowest "
                f"at epoch {epoch_number(row['pass_loss_epoch'])}, mel's own at "
                f"{epoch_number(row['mel_best_loss_epoch'])}"
            )
        elif row["claim"] == "accuracy":
            found = (
                f"test accuracy {points(row['over_mel'])} points over mel; above mel at "
                f"{percent(row['epochs_above'])} % of the epochs; {points(row['over_log_mel'])} over log-mel"
            )
        else:
            found = (
                f"{row['times_mel_total']:.2f} times mel's time in all ({spread(row['times_mel_spread'])}); the network "
                f"alone {row['times_mel_classification']:.2f} times mel's"
            )
        where = f"{row['preset']}, {row['protocol']}" if "preset" in row else ""
        holds = "holds" if row["holds"] else "does not hold"
        rows.append(
            [
                page.report["claim_texts"][row["claim"]],
                page.dataset(row),
                where,
                page.input(row),
                found,
                whole(row.get("runs")),
                holds,
            ]
        )
    parts = []
    for claim in page.report["claim_texts"].values():
        own = [row[1:] for row in rows if row[0] == claim]
        if own:
            table = markdown_table(["data set", "preset, protocol", "input", "measured", "runs", ""], own, left=6)
            parts += ["", claim, "", table]
    return page.section("claims", parts)


def table_1(page: Page) -> str:
    parts = []
    rows = page.report["table_1"]
    head = [
        *("data set", "input", "window acc.", "paper", "diff.", "window loss", "paper", "diff."),
        *("clip acc.", "clip loss", "over mel", "over log-mel", "runs"),
    ]
    for preset, protocol in dict.fromkeys((row["preset"], row["protocol"]) for row in rows):
        body = [
            [
                page.dataset(row),
                page.input(row),
                mean(row["window_accuracy"], 100),
                percent(row["paper"] and row["paper"]["accuracy"]),
                points(row["accuracy_difference"]),
                mean(row["window_loss"]),
                number(row["paper"] and row["paper"]["loss"]),
                signed(row["loss_difference"]),
                mean(row["clip_accuracy"], 100),
                mean(row["clip_loss"]),
                *(
                    counted(points(row[name]), row[f"{name}_runs"], row["runs"])
                    for name in ("over_mel", "over_log_mel")
                ),
                f"{row['runs']:.0f}",
            ]
            for row in rows
            if (row["preset"], row["protocol"]) == (preset, protocol)
        ]
        parts += ["", f"### Preset {preset}, protocol {protocol}", ""]
        parts += [page.texts["leaks"], ""] if protocol == "paper" else []
        parts += [markdown_table(head, body, left=2)]
    return page.section("table_1", parts)


def merit(page: Page) -> str:
    columns = {
        "paper": "preset paper",
        "standardized": "paper, standardised",
        "recommended_paper": "recommended, windows divided",
        "recommended_clip": "recommended, clips divided",
        "recommended_official": "recommended, official",
    }
    rows = page.report["merit"]
    shown = [name for name in columns if any(row[name] is not None for row in rows)]
    body = [
        [
            page.dataset(row),
            page.input(row),
            *(counted(percent(row[name]["mean"]), row[name]["count"]) if row[name] else NONE for name in shown),
            *(
                counted(points(row[name]["difference"]), row[name]["runs"]) if row[name] else NONE
                for name in ("over_mel_in_paper", "leak", "over_log_mel")
            ),
        ]
        for row in rows
    ]
    head = ["data set", "input", *(columns[name] for name in shown)]
    head += ["over mel, preset paper", "leak", "over log-mel, clips divided"]
    return page.section("merit", ["", markdown_table(head, body, left=2)] if body else [])


def convergence(page: Page) -> str:
    parts = []
    rows = [row for row in page.report["convergence"] if "+" not in row["preset"]]
    head = [
        *("data set", "input", "passes mel", "paper", "after s", "passes log-mel", "after s"),
        *("mel's lowest loss at", "own best loss at", "paper", "after s", "final acc.", "epochs", "runs"),
    ]
    for preset, protocol in dict.fromkeys((row["preset"], row["protocol"]) for row in rows):
        body = []
        for row in rows:
            if (row["preset"], row["protocol"]) != (preset, protocol):
                continue
            cited = row["paper"] or {}
            body.append(
                [
                    page.dataset(row),
                    page.input(row),
                    passes(row, "mel"),
                    epoch_number(cited.get("pass_epoch")),
                    seconds(row["mel"] and row["mel"]["pass_s"]) if row["input"] != "mel" else NONE,
                    passes(row, "log_mel"),
                    seconds(row["log_mel"] and row["log_mel"]["pass_s"]) if row["input"] != "log_mel" else NONE,
                    epoch_number(row["mel"]["pass_loss_epoch"] if row["mel"] else None),
                    epoch_number(row["own"]["best_loss_epoch"]),
                    epoch_number(cited.get("best_loss_epoch")),
                    seconds(row["own"]["best_loss_s"]),
                    percent(row["final_accuracy"]),
                    f"{row['epochs']:.0f}",
                    f"{row['own']['runs']:.0f}",
                ]
            )
        parts += ["", f"### Preset {preset}, protocol {protocol}", "", markdown_table(head, body, left=2)]
    return page.section("convergence", parts)


def equal_epochs(page: Page) -> str:
    parts = []
    rows = [row for row in page.report["equal_epochs"] if "+" not in row["preset"]]
    for preset, protocol in dict.fromkeys((row["preset"], row["protocol"]) for row in rows):
        own = [row for row in rows if (row["preset"], row["protocol"]) == (preset, protocol)]
        epochs = list(dict.fromkeys(epoch for row in own for epoch in row["accuracy"]))
        epochs.sort(key=lambda epoch: (len(epoch), epoch))
        body = [
            [
                *(page.dataset(row), page.input(row), f"{row['runs']:.0f}"),
                *(percent(row["accuracy"].get(epoch)) for epoch in epochs),
            ]
            for row in own
        ]
        table = markdown_table(["data set", "input", "runs", *epochs], body, left=2)
        parts += ["", f"### Preset {preset}, protocol {protocol}", "", table]
    return page.section("equal", parts)


def table_2(page: Page) -> str:
    keys = list(page.datasets)
    kinds = {"cited": "*cited*", "measured": "*measured here*"}
    kinds |= dict.fromkeys(("compared", "same_clips"), "*measured here, same clips*")
    body = []
    for row in page.report["table_2"]:
        name = row.get("model") or f"this network, {page.inputs[row['input']]}"
        how = [row.get("preset"), row.get("protocol")]
        how += [f"{part} {row[part]:.0f}" for part in ("fold", "seed") if row.get(part) is not None]
        how += [f"{row['unit']}s"] if "unit" in row else []
        told = row.get("reason") or row.get("note")
        runs = listed(sorted(set(row["runs"].values()))) if "runs" in row else NONE
        scores = [percent(row.get(key)) for key in keys]
        body.append(
            [f"{name} ({told})" if told else name, kinds[row["kind"]], ", ".join(filter(None, how)), runs, *scores]
        )
    head = ["model", "", "preset, protocol, unit", "runs", *page.datasets.values()]
    return page.section("table_2", ["", markdown_table(head, body, left=3)])


def ambiguities(page: Page) -> str:
    parts = []
    for row in page.report["ambiguities"]:
        parts += ["", f"**{row['question']}**", "", f"Paper: {row['paper']}", "", f"Choice: {row['choice']}", ""]
        if not row["found"]:
            parts.append("The other reading was not measured here.")
            continue
        show = epoch_number if row["unit"] == "epoch" else percent
        body = [
            [page.dataset(one), page.input(one), show(one["chosen"]), show(one["other"]), f"{one['runs']:.0f}"]
            for one in row["found"]
        ]
        parts.append(markdown_table(["data set", "input", *row["names"], "runs"], body, left=2))
    return page.section("ambiguities", parts)
