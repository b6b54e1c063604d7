"""The sections on sizes, computational load and time."""

from hf_encls.report.tables import markdown_table
from hf_encls.reproduction.page import Page
from hf_encls.reproduction.show import (
    NONE,
    listed,
    number,
    spread,
    whole,
)


def sizes(page: Page) -> str:
    body = [
        [
            page.dataset(row),
            page.input(row),
            f"{row['sampling_rate']:,.0f}",
            whole(row["hop_length"]),
            f"{row['frames_per_s']:,.0f}",
            whole(row["paper_frames_per_s"]),
            f"{row['bytes_per_s']:,.0f} ({row['dtype']})",
            f"{row['bytes_float32_per_s']:,.0f}",
        ]
        for row in page.report["sizes"]
    ]
    head = ["data set", "input", "rate (Hz)", "hop", "frames", "paper", "bytes stored", "bytes, float32"]
    readings = [
        [
            f"{row['sampling_rate']:,.0f}",
            whole(row["hop_length"]),
            whole(row["frames"]),
            whole(row["frames_centred"]),
        ]
        for row in page.report["mel_readings"]
    ]
    parts = ["", markdown_table(head, body, left=2), "", f"**{page.texts['readings']}**", ""]
    parts += [page.texts["readings_note"], ""]
    parts += [markdown_table(["rate (Hz)", "hop", "equation", "centred"], readings, left=0)]
    return page.section("sizes", parts)


def load(page: Page) -> str:
    body = [
        [
            page.dataset(row),
            page.input(row),
            f"{row['parameters']:,.0f}",
            f"{row['per_s_millions']:,.1f} M",
            number(row["of_mel"]),
            f"{row['train_windows']:,.0f}",
            f"{row['per_epoch_billions']:,.1f} G",
        ]
        for row in page.report["load"]
    ]
    head = ["data set", "input", "parameters", "per s of audio", "of mel", "training windows", "per epoch"]
    parts = ["", markdown_table(head, body, left=2)]
    made = [
        [page.dataset(row), page.input(row), f"{row['per_s_billions']:,.4f} G", row["how"]]
        for row in page.report["representation_load"]
    ]
    if made:
        table = markdown_table(["data set", "input", "per s of audio", "how"], made, left=2)
        parts += ["", page.texts["made"], "", table]
    return page.section("load", parts if body else [])


def timing(page: Page) -> str:
    rows = page.report["timing"]
    body = [
        [
            page.dataset(row),
            page.input(row),
            *(
                (f"{row['ms'][name]:,.2f} ({spread(row['ms_spread'][name])})" if "ms" in row else NONE)
                for name in ("representation", "classification", "total")
            ),
            f"{row['real_time']:,.0f} x" if "real_time" in row else row["reason"],
        ]
        for row in rows
    ]
    measured = next((row for row in rows if "ms" in row), None)
    parts = [
        "",
        markdown_table(["data set", "input", "representation", "classification", "both", "real time"], body, left=2),
    ]
    if measured:
        parts += [
            "",
            f"On {measured['device']}, {measured['threads']:.0f} threads, {measured['clips']:.0f} test clips "
            f"({measured['audio_s']:.0f} s) per data set, the median of {measured['repeats']:.0f} rounds in which the "
            f"inputs take turns (in brackets the fastest and the slowest). Load average "
            f"of the machine meanwhile: {listed(sorted({row['load_average'] for row in rows if 'ms' in row}))}.",
        ]
    parts += ["", page.picture_lines("timing")]
    return page.section("timing", parts if body else [])
