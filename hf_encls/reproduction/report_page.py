"""REPORT.md from report.json, and from nothing else: a pure function that formats and never computes."""

from collections.abc import Mapping, Sequence

from hf_encls.reproduction.show import (
    NONE,
    epoch_number,
    listed,
    mean,
    number,
    passes,
    percent,
    points,
    seconds,
    signed,
    whole,
)
from hf_encls.tables import markdown_table


def render(report: Mapping) -> str:
    """The page as Markdown. Every number in it is a number or a part of a text in `report`."""
    page = Page(report)
    sections = [
        page.head(),
        page.claims(),
        page.table_1(),
        page.merit(),
        page.pictures("figure_4"),
        page.convergence(),
        page.equal_epochs(),
        page.pictures("figure_2"),
        page.sizes(),
        page.load(),
        page.timing(),
        page.table_2(),
        page.ambiguities(),
        page.presets(),
        page.cells(),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


class Page:
    """The sections of the page; each is empty where there is nothing to show."""

    def __init__(self, report: Mapping):
        self.report = report
        self.texts = report["texts"]
        self.datasets = {row["key"]: row["label"] for row in report["datasets"]}
        self.inputs = {row["key"]: row["label"] for row in report["inputs"]}

    def head(self) -> str:
        report, made = self.report, self.report["made"]
        lines = [f"# {self.texts['title']}", "", f"{report['reference']}", ""]
        other = self.other_conditions()
        lines += [f"**{self.texts['other_conditions']}** {'; '.join(other)}.", ""] if other else []
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
                    trained += f". {self.texts['heard']} ({', '.join(row['heard'])})"
                kind = "random weights, never trained" if row["untrained"] else f"another codec{trained}"
                lines.append(f"- **{row['label']}** stands in for {row['stand_in_for']}: {kind}.")
        lines += ["", self.texts["stand_in"], ""] if any(self.stand_ins()) else [""]
        done = f"{made['finished']:.0f} of {made['cells']:.0f} cells are finished"
        lines.append(f"{done}; epochs per cell: {listed(made['epochs'])}; seeds: {listed(made['seeds'])}.")
        machine = made["machine"]
        lines.append(
            f"Made on {machine['processor']} ({machine['cores']:.0f} cores, {machine['device']}, "
            f"{machine['threads']:.0f} threads per run) with torch {made['versions']['torch']}, transformers "
            f"{made['versions']['transformers']}, hf_encls {made['versions']['hf_encls']}. Training took "
            f"{made['training_s']:,.0f} s in all."
        )
        return "\n".join([*lines, "", "```", made["command"], "```"])

    def stand_ins(self) -> list[str]:
        """What is not the paper's own data set or codec."""
        rows = [*self.report["datasets"], *self.report["inputs"]]
        return [row["label"] for row in rows if row.get("stand_in_for") and row["status"] == "used"]

    def other_conditions(self) -> list[str]:
        """In what this report differs from the paper's experiments."""
        made = self.report["made"]
        missing = [
            row["label"] for row in (*self.report["datasets"], *self.report["inputs"]) if row["status"] == "missing"
        ]
        other = [f"stand-ins: {', '.join(self.stand_ins())}"] if self.stand_ins() else []
        other += [f"{row['label']} {self.texts['has_heard']}" for row in self.report["inputs"] if row["heard"]]
        other += [f"missing: {', '.join(missing)}"] if missing else []
        if made["fewer_epochs"]:
            other.append(f"{listed(made['epochs'])} epochs instead of {made['paper_epochs']:.0f}")
        if made["other_hop"]:
            other.append(f"mel hop {listed(made['other_hop'])}")
        if made["bf16"]:
            other.append(self.texts["bf16"])
        return other

    def claims(self) -> str:
        rows = []
        for row in self.report["claims"]:
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
                    f"{row['times_mel_total']:.2f} times mel's time in all; the network alone "
                    f"{row['times_mel_classification']:.2f} times mel's"
                )
            where = f"{row['preset']}, {row['protocol']}" if "preset" in row else ""
            holds = "holds" if row["holds"] else "does not hold"
            rows.append(
                [self.report["claim_texts"][row["claim"]], self.dataset(row), where, self.input(row), found, holds]
            )
        parts = []
        for claim in self.report["claim_texts"].values():
            own = [row[1:] for row in rows if row[0] == claim]
            if own:
                table = markdown_table(["data set", "preset, protocol", "input", "measured", ""], own, left=5)
                parts += ["", claim, "", table]
        return self.section("claims", parts)

    def table_1(self) -> str:
        parts = []
        rows = self.report["table_1"]
        head = [
            *("data set", "input", "window acc.", "paper", "diff.", "window loss", "paper", "diff."),
            *("clip acc.", "clip loss", "over mel", "over log-mel", "runs"),
        ]
        for preset, protocol in dict.fromkeys((row["preset"], row["protocol"]) for row in rows):
            body = [
                [
                    self.dataset(row),
                    self.input(row),
                    mean(row["window_accuracy"], 100),
                    percent(row["paper"] and row["paper"]["accuracy"]),
                    points(row["accuracy_difference"]),
                    mean(row["window_loss"]),
                    number(row["paper"] and row["paper"]["loss"]),
                    signed(row["loss_difference"]),
                    mean(row["clip_accuracy"], 100),
                    mean(row["clip_loss"]),
                    points(row["over_mel"]),
                    points(row["over_log_mel"]),
                    f"{row['runs']:.0f}",
                ]
                for row in rows
                if (row["preset"], row["protocol"]) == (preset, protocol)
            ]
            parts += ["", f"### Preset {preset}, protocol {protocol}", ""]
            parts += [self.texts["leaks"], ""] if protocol == "paper" else []
            parts += [markdown_table(head, body, left=2)]
        return self.section("table_1", parts)

    def merit(self) -> str:
        columns = {
            "paper": "preset paper",
            "standardized": "paper, standardised",
            "recommended_paper": "recommended, windows divided",
            "recommended_clip": "recommended, clips divided",
            "recommended_official": "recommended, official",
        }
        rows = self.report["merit"]
        shown = [name for name in columns if any(row[name] is not None for row in rows)]
        body = [
            [
                self.dataset(row),
                self.input(row),
                *(percent(row[name]) for name in shown),
                *(points(row[name]) for name in ("over_mel_in_paper", "leak", "over_log_mel")),
            ]
            for row in rows
        ]
        head = ["data set", "input", *(columns[name] for name in shown)]
        head += ["over mel, preset paper", "leak", "over log-mel, clips divided"]
        return self.section("merit", ["", markdown_table(head, body, left=2)] if body else [])

    def convergence(self) -> str:
        parts = []
        rows = [row for row in self.report["convergence"] if "+" not in row["preset"]]
        head = [
            *("data set", "input", "passes mel", "paper", "after s", "passes log-mel", "after s"),
            *("mel's lowest loss at", "own best loss at", "paper", "after s", "final acc.", "epochs"),
        ]
        for preset, protocol in dict.fromkeys((row["preset"], row["protocol"]) for row in rows):
            body = []
            for row in rows:
                if (row["preset"], row["protocol"]) != (preset, protocol):
                    continue
                cited = row["paper"] or {}
                body.append(
                    [
                        self.dataset(row),
                        self.input(row),
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
                    ]
                )
            parts += ["", f"### Preset {preset}, protocol {protocol}", "", markdown_table(head, body, left=2)]
        return self.section("convergence", parts)

    def equal_epochs(self) -> str:
        parts = []
        rows = [row for row in self.report["equal_epochs"] if "+" not in row["preset"]]
        for preset, protocol in dict.fromkeys((row["preset"], row["protocol"]) for row in rows):
            own = [row for row in rows if (row["preset"], row["protocol"]) == (preset, protocol)]
            epochs = list(dict.fromkeys(epoch for row in own for epoch in row["accuracy"]))
            epochs.sort(key=int)
            body = [
                [self.dataset(row), self.input(row), *(percent(row["accuracy"].get(epoch)) for epoch in epochs)]
                for row in own
            ]
            table = markdown_table(["data set", "input", *epochs], body, left=2)
            parts += ["", f"### Preset {preset}, protocol {protocol}", "", table]
        return self.section("equal", parts)

    def sizes(self) -> str:
        body = [
            [
                self.dataset(row),
                self.input(row),
                f"{row['sampling_rate']:,.0f}",
                whole(row["hop_length"]),
                f"{row['frames_per_s']:,.0f}",
                whole(row["paper_frames_per_s"]),
                f"{row['bytes_per_s']:,.0f} ({row['dtype']})",
                f"{row['bytes_float32_per_s']:,.0f}",
            ]
            for row in self.report["sizes"]
        ]
        head = ["data set", "input", "rate (Hz)", "hop", "frames", "paper", "bytes stored", "bytes, float32"]
        readings = [
            [
                f"{row['sampling_rate']:,.0f}",
                whole(row["hop_length"]),
                whole(row["frames"]),
                whole(row["frames_centred"]),
            ]
            for row in self.report["mel_readings"]
        ]
        parts = ["", markdown_table(head, body, left=2), "", f"**{self.texts['readings']}**", ""]
        parts += [self.texts["readings_note"], ""]
        parts += [markdown_table(["rate (Hz)", "hop", "equation", "centred"], readings, left=0)]
        return self.section("sizes", parts)

    def load(self) -> str:
        body = [
            [
                self.dataset(row),
                self.input(row),
                f"{row['parameters']:,.0f}",
                f"{row['per_s_millions']:,.1f} M",
                number(row["of_mel"]),
                f"{row['train_windows']:,.0f}",
                f"{row['per_epoch_billions']:,.1f} G",
            ]
            for row in self.report["load"]
        ]
        head = ["data set", "input", "parameters", "per s of audio", "of mel", "training windows", "per epoch"]
        parts = ["", markdown_table(head, body, left=2)]
        made = [
            [self.dataset(row), self.input(row), f"{row['per_s_billions']:,.4f} G", row["how"]]
            for row in self.report["representation_load"]
        ]
        if made:
            table = markdown_table(["data set", "input", "per s of audio", "how"], made, left=2)
            parts += ["", self.texts["made"], "", table]
        return self.section("load", parts if body else [])

    def timing(self) -> str:
        rows = self.report["timing"]
        body = [
            [
                self.dataset(row),
                self.input(row),
                *(
                    (f"{row['ms'][name]:,.2f}" if "ms" in row else NONE)
                    for name in ("representation", "classification", "total")
                ),
                f"{row['real_time']:,.0f} x" if "real_time" in row else row["reason"],
            ]
            for row in rows
        ]
        measured = next((row for row in rows if "ms" in row), None)
        parts = [
            "",
            markdown_table(
                ["data set", "input", "representation", "classification", "sum", "real time"], body, left=2
            ),
        ]
        if measured:
            parts += [
                "",
                f"On {measured['device']}, {measured['threads']:.0f} threads, {measured['clips']:.0f} test clips "
                f"({measured['audio_s']:.0f} s) per data set, the fastest of {measured['repeats']:.0f} rounds. Load average "
                f"of the machine meanwhile: {listed(sorted({row['load_average'] for row in rows if 'ms' in row}))}.",
            ]
        parts += ["", self.picture_lines("timing")]
        return self.section("timing", parts if body else [])

    def table_2(self) -> str:
        keys = list(self.datasets)
        kinds = {"cited": "*cited*", "measured": "*measured here*", "compared": "*measured here*"}
        body = []
        for row in self.report["table_2"]:
            name = row.get("model") or f"this network, {self.inputs[row['input']]}"
            how = f"{row['preset']}, {row['protocol']}, {row['unit']}s" if "preset" in row else row.get("protocol", "")
            reason = f" ({row['reason']})" if row.get("reason") else ""
            body.append([f"{name}{reason}", kinds[row["kind"]], how, *(percent(row.get(key)) for key in keys)])
        head = ["model", "", "preset, protocol, unit", *self.datasets.values()]
        return self.section("table_2", ["", markdown_table(head, body, left=3)])

    def ambiguities(self) -> str:
        parts = []
        for row in self.report["ambiguities"]:
            parts += ["", f"**{row['question']}**", "", f"Paper: {row['paper']}", "", f"Choice: {row['choice']}", ""]
            if not row["found"]:
                parts.append("The other reading was not measured here.")
                continue
            show = epoch_number if row["unit"] == "epoch" else percent
            body = [
                [self.dataset(one), self.input(one), show(one["chosen"]), show(one["other"])] for one in row["found"]
            ]
            parts.append(markdown_table(["data set", "input", *row["names"]], body, left=2))
        return self.section("ambiguities", parts)

    def presets(self) -> str:
        presets = self.report["presets"]
        lines = list(dict.fromkeys(name for preset in presets.values() for name in preset))
        body = []
        for name in lines:
            values = [str(preset.get(name, NONE)) for preset in presets.values()]
            differs = len(set(values)) > 1
            body.append([f"**{name}**" if differs else name, *values])
        return self.section("presets", ["", markdown_table(["option", *presets], body, left=1 + len(presets))])

    def cells(self) -> str:
        body = []
        for row in self.report["cells"]:
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
                    seconds(row["times_s"]["training"] if done else None),
                ]
            )
        head = ["cell", "status", "window acc.", "clip acc.", "leaking test windows", "epochs", "training s"]
        return self.section("cells", ["", markdown_table(head, body, left=2)])

    def pictures(self, kind: str) -> str:
        return self.section(kind, ["", self.picture_lines(kind)]) if self.picture_lines(kind) else ""

    def picture_lines(self, kind: str) -> str:
        rows = [row for row in self.report["pictures"] if row["kind"] == kind]
        return "\n\n".join(f"![{row['title']}]({row['file']})" for row in rows)

    def section(self, name: str, parts: Sequence[str]) -> str:
        if not parts:
            return ""
        note = self.texts.get(f"{name}_note")
        return "\n".join([f"## {self.texts[name]}", *(["", note] if note else []), *parts]).rstrip()

    def dataset(self, row: Mapping) -> str:
        return self.datasets[row["dataset"]]

    def input(self, row: Mapping) -> str:
        return self.inputs[row["input"]]
