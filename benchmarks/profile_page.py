"""
Write where the CPU of a request goes, and what could be gained.

Pure: a measurement in, Markdown out.
"""

from math import inf

from benchmarks.kept import Kept
from benchmarks.markdown import figure, number, paragraphs, percent, table
from benchmarks.parts import PARTS, RUN

#: What each workload of the yardstick is, in a heading.
TITLES = {
    "A": "A: the null model, a body of 1 KiB",
    "B": "B: a JPEG",
    "D": "D: a float32 tensor of 602,112 bytes",
}

#: Parts with less than this share are summed up in one line.
SMALL = 0.01


def section(profile: Kept, image: str) -> str:
    """Return the section on the profile, with the plot at *image*."""
    return paragraphs(
        "## Where the time goes",
        f"{number(profile['seconds'])} s of each workload in a closed loop, sampled"
        f" {number(profile['sampling'])} times a second by py-spy, which does not stop the server."
        " The kernel tells how much CPU each thread used, and the samples share that out: a sample"
        " belongs to the innermost part it was caught in. *Interpreter lock* is the share of the"
        " time in which that part held it; only one thread can. *At most* is the factor by which"
        " the rate would grow without the part where CPU is all that limits it.",
        f"![CPU of a request by part]({image})",
        *(_workload(TITLES[name], each) for name, each in profile["workloads"].items()),
    )


def _workload(title: str, profiled: Kept) -> str:
    threads = table(
        ["thread", "cores", "idle", "CPU µs a request", "interpreter lock"],
        (
            [
                name,
                number(thread["cores"], 2),
                percent(max(0.0, 1 - thread["cores"])) if _is_one(name) else "",
                figure(thread["us_per_request"]),
                percent(thread["gil"]),
            ]
            for name, thread in profiled["threads"].items()
        ),
    )
    return paragraphs(
        f"### {title}",
        f"{profiled['clients']} clients, {figure(profiled['rate'])} answers a second,"
        f" {figure(profiled['cpu_us_per_request'])} µs of CPU each;"
        f" {number(cores_of(profiled), 2)} cores are used, and the interpreter lock is held"
        f" {percent(profiled['gil'])} of the time.",
        threads,
        _parts(profiled),
    )


def cores_of(profiled: Kept) -> float:
    """Return how many cores all threads use together."""
    return sum(float(thread["cores"]) for thread in profiled["threads"].values())


def _is_one(name: str) -> bool:
    """Return whether *name* is that of one thread, not of a group."""
    return name == "reactor" or name.startswith("model-")


def _parts(profiled: Kept) -> str:
    remedies = {part.name: part.remedy for part in PARTS}
    large = [part for part in profiled["parts"] if part["share"] >= SMALL]
    small = [part for part in profiled["parts"] if part["share"] < SMALL]
    rows = [
        [
            part["part"],
            figure(part["us_per_request"]),
            percent(part["share"]),
            percent(part["gil"]),
            "" if part["part"] == RUN.name else f"x {number(gain(part['share']), 2)}",
            remedies.get(part["part"], ""),
        ]
        for part in large
    ]
    if small:
        share, cost, gil = (
            sum(part[key] for part in small) for key in ("share", "us_per_request", "gil")
        )
        rows.append(["smaller parts", figure(cost), percent(share), percent(gil), "", ""])
    head = ["part", "CPU µs a request", "of the CPU", "interpreter lock", "at most"]
    return table([*head, "what would remove it"], rows)


def gain(share: float) -> float:
    """Return by which factor the rate grows at most without a part that has this *share*."""
    return 1 / (1 - share) if share < 1 else inf
