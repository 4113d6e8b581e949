"""Medians, ratios, and how they are shown."""

from statistics import median

HEADS = ["case", "program", "per s", "per CPU s", "user", "system", "p50", "p99", "calibration"]
NUMBERS = ("rate", "cpu", "user", "system", "p50", "p99", "calibration")
# Ours by theirs, what that is to be, and whose processor was busy all the time.
HEADS += ["vpce by it", "p50", "p99", "target", "limit"]
# Columns of words, to the left; numbers stand to the right.
WORDS = (0, 1, 12, 13)

NOTES = """\
user, system: µs of processor time of what is compared, for each operation (where Gbit/s are counted: each MB).
p50, p99: latency, µs. calibration: a cache line's way between the processors and back, ns. Medians of all pairs.
vpce by it: operations per second of processor time, ours by theirs, median (least–most) of the pairs; then latencies."""


def numbers(case, record):
    """A record as the numbers of a row. Times per operation are µs; of `Gbit/s`, per megabyte of payload."""
    spent = record["user_s"] + record["system_s"]
    bulk = case.unit == "Gbit/s"
    amount = record["bytes"] * 8 / 1e9 if bulk else record["operations"]
    pieces = record["bytes"] / 1e6 if bulk else record["operations"]
    calibration = [value for value in record["calibration_ns"] if value is not None]
    return {
        "rate": amount / record["seconds"],
        # A program that is charged for nothing has no such number; the kernel's forwarding is none's.
        "cpu": amount / spent if spent > 0 else None,
        "user": record["user_s"] * 1e6 / pieces if spent > 0 else None,
        "system": record["system_s"] * 1e6 / pieces if spent > 0 else None,
        "p50": record["p50_us"],
        "p99": record["p99_us"],
        "calibration": median(calibration) if calibration else None,
    }


def spread(values):
    """Median, least and most of what there is."""
    values = [value for value in values if value is not None]
    return {"median": median(values), "least": min(values), "most": max(values)} if values else None


def ratios(ours, theirs):
    """Ours by theirs, pair by pair: what ran one after the other is compared, then the middle is taken."""
    result = {}
    for key in ("rate", "cpu", "p50", "p99"):
        pairs = [(a[key], b[key]) for a, b in zip(ours, theirs)]
        result[key] = spread([a / b for a, b in pairs if a is not None and b])
    return result


def summarise(case, records, skipped):
    """A case's result: `records` are lists by program, one record per pair; none of one that was skipped."""
    rows = {program: [numbers(case, record) for record in runs] for program, runs in records.items() if runs}
    programs = []
    first = next(iter(case.programs))
    for program in records:
        if program not in rows:
            programs.append({"program": program, "skipped": skipped.get(program, "it did not run")})
            continue
        own, runs = rows[program], records[program]
        one = {"program": program, "runs": runs, **{key: spread(row[key] for row in own) for key in own[0]}}
        one["limited_by"] = sorted({run["limited_by"] for run in runs if run["limited_by"]})
        one["tls"] = runs[0].get("tls")
        # Ours with other options stand beside ours, but are not what others are measured by.
        if program != first and first in rows:
            one["ours_by_it"] = ratios(rows[first], own)
        one["targets"] = [judged(target, rows, own, program == first) for target in case.targets.get(program, [])]
        programs.append(one)
    return {"case": case.name, "what": case.what, "unit": case.unit, "programs": programs}


def judged(target, rows, own, alone):
    """A target, the ratio it is about (of ours `alone`: the number), and whether it is met."""
    if alone:
        found = spread(row[target.of] for row in own)
    else:
        found = ratios(rows[target.ours], own)[target.of] if target.ours in rows else None
    text = str(target) if target.ours == "vpce" else f"{target.ours}: {target}"
    return {"target": text, "value": found and found["median"], "met": bool(found and target.met(found["median"]))}


def shown(value, digits=3):
    """Three digits, thousands apart."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}g}"


def middle(of):
    return shown(of["median"]) if of else "-"


def range_of(of):
    return f"{shown(of['median'])} ({shown(of['least'])}–{shown(of['most'])})" if of else ""


def lines(result):
    """A case's rows of the table."""
    for one in result["programs"]:
        start = [result["case"], one["program"]]
        if "skipped" in one:
            yield [*start, f"skipped: {one['skipped']}"]
            continue
        by = one.get("ours_by_it")
        targets = "; ".join(f"{t['target']} {'met' if t['met'] else 'missed'}" for t in one.get("targets", []))
        beside = [range_of(by["cpu"]), middle(by["p50"]), middle(by["p99"])] if by else ["", "", ""]
        yield [*start, *(middle(one[key]) for key in NUMBERS), *beside, targets, ", ".join(one["limited_by"])]


def text(results):
    """The whole table. Reasons for what was skipped take the rest of their line."""
    rows = [HEADS] + [row for result in results for row in lines(result)]
    widths = [max(len(row[i]) for row in rows if len(row) == len(HEADS)) for i in range(len(HEADS))]
    widths[:2] = [max(len(row[i]) for row in rows) for i in range(2)]
    out, last = [], None
    for row in rows:
        if row[0] != last and last is not None:
            out.append("")
        left = WORDS if len(row) == len(HEADS) else range(3)
        cells = enumerate(zip(row, widths))
        cells = [cell.ljust(width) if i in left else cell.rjust(width) for i, (cell, width) in cells]
        out.append("  ".join(cells).rstrip())
        last = row[0]
    out += ["", *(f"{result['case']}: {result['what']}, in {result['unit']}" for result in results), "", NOTES]
    return "\n".join(out)
