"""What people see of a command's result; with `--json` scripts get it as it is."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schemas.table import RESERVED
from tasks.errors import ConfigError, VectorlineError
from tasks.mistakes import of_sink
from tasks.reports.words import chance

TEXT_CHARACTERS = 160
QUARANTINE_ROWS = 20
DIFF_IDS = 5
CLASSIFIED = 20
GROUPS, GROUP_IDS = 20, 6
NAMED = 3  # metrics of one note
BOOKKEEPING = ("run-", "synced-")  # tags that go with what they are for


def show(args: argparse.Namespace, result: object) -> None:
    """Prints a result on standard output, and which sinks failed on standard error."""
    if args.command in ("publish", "run", "backfill"):
        _show_failed_sinks(args, result)
    if args.json:
        print(json.dumps(result, ensure_ascii=False, default=str))
        return
    replayed = args.command == "quarantine" and args.replay
    RENDER["run" if replayed else args.command](args, result)


def show_error(args: argparse.Namespace, error: VectorlineError) -> None:
    """Prints an error on standard error, and for scripts as JSON too."""
    print(f"vectorline: {error}", file=sys.stderr)
    for note in getattr(error, "__notes__", ()):
        print(f"note       {note}", file=sys.stderr)
    if args.json:
        print(json.dumps({"error": {"kind": type(error).__name__, "message": str(error)}}))


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Rows under their columns' names, numbers to the right; plain text without borders."""
    cells = [[_cell(row[name]) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    numeric = [all(isinstance(row[name], int | float) for row in rows) for name in columns]
    for line in [columns, *cells]:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        print("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def _books(records: Mapping[str, int]) -> str:
    """The records that were read by outcome, then those that were not there to be read."""
    parts = [
        f"{count:,} {name.replace('_', ' ')}"
        for name, count in records.items()
        if count and name not in ("read", "removed")
    ]
    removed = f"; {records['removed']:,} removed" if records["removed"] else ""
    return f"{records['read']:,} read: {', '.join(parts) or 'nothing'}{removed}"


def _plan(args: argparse.Namespace, result: dict[str, Any]) -> None:
    print(f"space      {result['space']}  (table {result['table']})")
    print(f"records    {_books(result['records'])}")
    print(
        f"to encode  {result['to_encode']:,} distinct contents, about {result['tokens']:,} "
        f"{result['unit']}"
    )
    seconds = result["seconds_estimate"]
    time = f"about {seconds:,.0f} s" if seconds >= 1 else "less than a second"
    print(f"time       {time} of encoding with this machine's workers")
    free = result["free_bytes"]
    left = "" if free is None else f", {_bytes(free)} free"
    print(f"disk       about {_bytes(result['bytes'])} to write{left}")
    for objection in result["objections"]:
        print(f"STOP       {objection}")
    for note in result["notes"]:
        print(f"note       {note}")


def _run(args: argparse.Namespace, result: dict[str, Any]) -> None:
    made = result["new_version"]
    if result["version"] is None:
        print(f"space {result['space']}: nothing to encode, no version yet")
    elif made:
        print(f"space {result['space']}: version {result['version']}, {result['rows']:,} rows")
    else:
        print(f"space {result['space']}: nothing to do, version {result['version']} is up to date")
    print(f"records    {_books(result['records'])}")
    if made:
        _show_work(result)
    seconds = result["seconds"]
    parts = ", ".join(
        f"{name} {seconds[name]:.1f}" for name in ("start", "plan", "encode", "commit")
    )
    looked = f", drift {result['drift']['seconds']:.1f}" if result["drift"] else ""
    print(f"seconds    {seconds['total']:.1f} ({parts}){looked}")
    _show_reports(result)
    if result["promoted"]:
        print(f"serving    version {result['version']}")
    _show_sinks(result["published"])
    if result["records"]["quarantined"]:
        print(f"quarantine `vectorline quarantine {result['space']}` says why")
    said = f": {result['gate']['reason']}" if result["gate"] else ""
    for note in result["notes"]:
        print(f"note       {note.removesuffix(said)}")


def _show_warnings(metrics: Mapping[str, Any]) -> None:
    """What is odd about metrics, each sentence once with the names of those that it is said of."""
    said: dict[str, list[str]] = {}
    for name, one in metrics.items():
        beside_it = one["compared"]["difference"]["warnings"] if one["compared"] else ()
        for warning in dict.fromkeys([*one["warnings"], *beside_it]):
            said.setdefault(warning, []).append(name)
    for warning, names in said.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        print(f"note       {', '.join(names[:NAMED])}{more}: {warning}")


def _show_reports(result: dict[str, Any]) -> None:
    """What was found of the version, before it serves."""
    evaluated, gate, drift = result["evaluated"], result["gate"], result["drift"]
    if evaluated:
        for name, one in evaluated["metrics"].items():
            between = f" ({_interval(one, '.4f')})" if one["low"] is not None else ""
            print(f"evaluated  {name} {one['value']:.4f}{between}, n = {one['n']:,}")
        _show_warnings(evaluated["metrics"])
    if gate:
        said = "yes" if gate["passed"] else "NO"
        print(f"gate       {said}, {gate['verdict']}: {gate['reason']}")
    if evaluated:
        print(f"report     {evaluated['report']}")
    if drift:
        print(f"drift      {drift['verdict']}: {drift['reason']}")
        print(f"report     {drift['report']}")


def _show_work(result: dict[str, Any]) -> None:
    """What was written, encoded and fitted for a new version."""
    chunks, fit = result["chunks"], result["fit"]
    print(f"rows       {chunks['written']:,} written, {chunks['removed']:,} removed")
    if chunks["truncated"]:
        print(
            f"truncated  {chunks['truncated']:,} contents are longer than the encoder reads; "
            "see `chunk:`"
        )
    print(
        f"encoded    {result['encoded']:,} distinct contents, "
        f"{result['tokens']:,} {result['unit']}, {result['precision']}"
    )
    if fit is not None and result["encoded"]:  # else it is that of an earlier version
        print(f"fit        {_fit(fit)}")


def _fit(fit: dict[str, Any]) -> str:
    away = fit["residual"]
    since = "" if away is None else f", residual to the version before {away:.3f}"
    return f"loss {fit['metrics'].get('loss', 0):.3f}{since}"


def _search(args: argparse.Namespace, result: list[dict[str, Any]]) -> None:
    if not result:
        print("no hits")
    for hit in result:
        metadata = "  ".join(
            f"{name}={value}" for name, value in hit["metadata"].items() if value is not None
        )
        print(f"{hit['score']:.3f}  {hit['id']}  {metadata}".rstrip())
        if hit["text"]:
            text = " ".join(hit["text"].split())
            print(f"       {text[:TEXT_CHARACTERS]}{'...' if len(text) > TEXT_CHARACTERS else ''}")


def _train(args: argparse.Namespace, result: dict[str, Any]) -> None:
    del args
    print(f"model {result['name']}, {result['digest'][:12]}: of {result['records']:,} records")
    for name, value in result["metrics"].items():
        print(f"{name:<17}{value:>9,.{0 if value == int(value) else 3}f}")
    print(f'next: encoder: {{use: {result["encoder"]}, model: "{result["use"]}"}}')


def _classify(args: argparse.Namespace, result: dict[str, Any]) -> None:
    table(
        [{"label": label, "records": count} for label, count in result["labels"].items()],
        ["label", "records"],
    )
    if result["accuracy"] is not None:
        print(f"\n{result['accuracy']:.1%} agree with column {args.truth!r}")
    first = [{**one, "score": f"{one['score']:.3f}"} for one in result["records"][:CLASSIFIED]]
    if first:
        print()
        table(first, ["id", "label", "score"])
    if len(result["records"]) > CLASSIFIED:
        print(f"... and {len(result['records']) - CLASSIFIED:,} more: --json lists them all")


def _duplicates(args: argparse.Namespace, result: dict[str, Any]) -> None:
    groups = result["groups"]
    spare = sum(len(group["ids"]) - 1 for group in groups)
    print(
        f"space {result['space']} version {result['version']}: {len(groups):,} groups with a "
        f"cosine of {result['threshold']:g} or more, {spare:,} records beyond the first of each"
    )
    for group in groups[:GROUPS]:
        shown = ", ".join(group["ids"][:GROUP_IDS])
        more = f", and {len(group['ids']) - GROUP_IDS:,} more" * (len(group["ids"]) > GROUP_IDS)
        print(f"{group['similarity']:.3f}  {shown}{more}")
    if len(groups) > GROUPS:
        print(f"... and {len(groups) - GROUPS:,} more: --json lists them all")
    if args.column is not None:
        print(f"column {args.column!r} of the newest version has the first id of each group")


def _clusters(args: argparse.Namespace, result: dict[str, Any]) -> None:
    found = result["clusters"]
    total = sum(one["records"] for one in found)
    print(
        f"space {result['space']} version {result['version']}: {len(found):,} clusters of "
        f"{total:,} records by {result['method']}"
    )
    for one in found:
        print(f"\n{one['name']}  {one['records']:,} records")
        for typical in one["typical"]:
            text = " ".join((typical["text"] or "").split())[:TEXT_CHARACTERS]
            print(f"     {typical['id']}  {text}".rstrip())
    if args.column is not None:
        print(f"\ncolumn {args.column!r} of the newest version has the cluster of each record")


def _export(args: argparse.Namespace, result: dict[str, Any]) -> None:
    del args
    print(
        f"{result['rows']:,} vectors of {result['dim']} components of {result['space']} version "
        f"{result['version']} in {result['path']}, as {result['format']}"
    )


def _evaluate(args: argparse.Namespace, result: dict[str, Any]) -> None:
    del args
    beside = f" beside version {result['baseline']}" if result["baseline"] else ""
    print(f"space {result['space']}: version {result['version']}{beside}")
    if result["verdict"] or result["reason"]:
        print(f"verdict    {result['verdict'] or 'none'}: {result['reason']}")
    if result["gate"]:
        failed = ", ".join(result["gate"]["failed"])
        print(f"gate       {'yes' if result['gate']['passed'] else f'NO: {failed}'}")
    print()
    table([_metric_row(name, one) for name, one in result["metrics"].items()], METRIC_COLUMNS)
    print()
    _show_warnings(result["metrics"])
    if result["neighbour_overlap"] is not None:
        print(f"neighbours {result['neighbour_overlap']:.1%} of the 10 nearest are the same")
    for name, cost in result["cost"].items():
        print(f"{name:<11}{_cost(cost)}")
    print(f"report     {result['report']}")


def _drift(args: argparse.Namespace, result: dict[str, Any]) -> None:
    del args
    if "reference" in result:
        print(f"space {result['space']}: drift is measured from version {result['reference']} on")
        return
    other = result["baseline"] if result["baseline"] != result["version"] else None
    beside = f" beside version {other}" if other else ""
    print(f"space {result['space']}: version {result['version']}{beside}")
    print(f"verdict    {result['verdict'].upper()}: {result['reason']}")
    print()
    if result["encoders"]:
        both = result["encoders"]
        overlap = both["neighbour_overlap"]
        share = "unknown" if overlap is None else f"{overlap:.1%}"
        print(f"alike      {share} of the 10 nearest of {both['records']:,} records are the same\n")
    if result["tests"]:
        table([_test_row(one) for one in result["tests"]], TEST_COLUMNS)
        print()
    if result["segments"]:
        before, now = result["tests"][0]["sides"]
        rows = [_segment_row(one, before, now) for one in result["segments"][:SEGMENTS]]
        table(rows, ("segment", before, now, "p", "terms"))
        print()
    for note in result["notes"]:
        print(f"note       {note}")
    if result["report"]:
        print(f"report     {result['report']}")


def _show_sinks(published: list[dict[str, Any]]) -> None:
    for one in published:
        if not one["error"]:
            print(
                f"published  {one['sink']}: version {one['to_version']}, {one['upserted']:,} rows "
                f"pushed, {one['deleted']:,} removed, {one['count']:,} there"
            )


def _show_failed_sinks(args: argparse.Namespace, result: object) -> None:
    whole: Any = result
    space, published = (
        (args.space, whole) if args.command == "publish" else (whole["space"], whole["published"])
    )
    failed = [one for one in published if one["error"]]
    for one in failed:
        said = of_sink(one["sink"], one["error"]["message"])
        print(f"vectorline: {said}", file=sys.stderr)
    if any(one["error"]["exit_code"] != ConfigError.exit_code for one in failed):
        again = f"`vectorline publish {space}` goes on from there; what serves, serves"
        print(f"note       {again}", file=sys.stderr)


def _publish(args: argparse.Namespace, result: list[dict[str, Any]]) -> None:
    del args
    rows = [
        {
            "sink": one["sink"],
            "from": "" if one["from_version"] is None else one["from_version"],
            "to": one["to_version"],
            "pushed": f"{one['upserted']:,}",
            "removed": f"{one['deleted']:,}",
            "refused": f"{one['n_refused']:,}",
            "rows": f"{one['count']:,}",
            "seconds": f"{one['seconds']:.1f}",
        }
        if not one["error"]
        else {**dict.fromkeys(PUBLISH_COLUMNS, ""), "sink": one["sink"], "to": "failed"}
        for one in result
    ]
    table(rows, PUBLISH_COLUMNS)
    for one in result:
        for refused in one["refused"][:REFUSED]:
            print(f"refused    {one['sink']}: {refused['id']!r}: {refused['reason']}")


PUBLISH_COLUMNS = ("sink", "from", "to", "pushed", "removed", "refused", "rows", "seconds")
REFUSED = 10
SEGMENTS = 10
NAME_CHARACTERS = 60
TEST_COLUMNS = ("rows", "p", "counts as", "compared", "beside")


def _test_row(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "rows": one["what"],
        "p": chance(one["p_value"], at_most=one["at_most"]),
        "counts as": chance(one["adjusted"], at_most=one["at_most"]),
        "compared": f"{one['n_candidate']:,} {one['sides'][1]}",
        "beside": f"{one['n_baseline']:,} {one['sides'][0]}",
    }


def _cut(text: str) -> str:
    """Other people's text in a table: one line, nothing that moves the cursor."""
    line = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
    return line if len(line) <= NAME_CHARACTERS else line[: NAME_CHARACTERS - 1] + "…"


def _segment_row(one: dict[str, Any], before: str, now: str) -> dict[str, Any]:
    return {
        "segment": _cut(one["name"]),
        before: f"{one['baseline_share']:.1%}",
        now: f"{one['candidate_share']:.1%}",
        "p": chance(one["p_value"]),
        "terms": ", ".join(map(_cut, one["terms"][:5])),
    }


METRIC_COLUMNS = (
    "metric",
    "value",
    "interval",
    "n",
    "baseline",
    "difference",
    "its interval",
    "verdict",
)


def _metric_row(name: str, one: dict[str, Any]) -> dict[str, Any]:
    beside = one["compared"]
    difference = beside["difference"] if beside else None
    return {
        "metric": name,
        "value": f"{one['value']:.4f}",
        "interval": _interval(one, ".4f"),
        "n": one["n"],
        "baseline": f"{beside['baseline']:.4f}" if beside else "",
        "difference": f"{difference['value']:+.4f}" if difference else "",
        "its interval": _interval(difference, "+.4f") if difference else "",
        "verdict": beside["verdict"] if beside and beside["margin"] is not None else "",
    }


def _interval(estimate: dict[str, Any], form: str) -> str:
    if estimate["low"] is None:
        return ""
    return f"{estimate['low']:{form}} to {estimate['high']:{form}}"


def _cost(cost: dict[str, Any]) -> str:
    time = "" if cost["encode_seconds"] is None else f", {cost['encode_seconds']:,.1f} s"
    encoded = f" for {cost['encoded']:,} contents" if cost["encoded"] else ""
    return (
        f"{cost['encoder']}, {cost['dim']} dimensions, {cost['precision']}, "
        f"{_bytes(cost['size_bytes'])} of vectors{time}{encoded}"
    )


def _spaces(args: argparse.Namespace, result: list[dict[str, Any]]) -> None:
    if not result:
        print(f"no spaces in {args.store}: `vectorline init` writes a config to start from")
        return
    rows = [{**row, "fingerprint": row["fingerprint"][:12]} for row in result]
    table(rows, ["space", "version", "rows", "dim", "fingerprint", "serving"])


def _versions(args: argparse.Namespace, result: list[dict[str, Any]]) -> None:
    rows = [
        {
            **row,
            "fingerprint": row["fingerprint"][:12],
            "tags": [tag for tag in row["tags"] if not tag.startswith(BOOKKEEPING)],
        }
        for row in result
    ]
    columns = ["version", "rows", "created_at", "encoder", "fingerprint", "serving"]
    columns += ["sinks"] if any(row["sinks"] for row in rows) else []
    table(rows, [*columns, "tags"])


def _show(args: argparse.Namespace, result: dict[str, Any]) -> None:
    for name in ("space", "version", "table", "lance_version", "rows", "created_at", "run_id"):
        print(f"{name:<14}{result[name]}")
    settings = result["settings"]
    print(
        f"{'encoder':<14}{settings['encoder']['use']}, "
        f"{settings['dim']} dimensions, {settings['precision']}"
    )
    print(f"{'columns':<14}{', '.join(result['columns'])}")
    print(f"{'index':<14}{_index(result['index'])}")
    if result["manifest"]:
        print(f"{'records':<14}{_books(result['manifest']['records'])}")
        if fit := result["manifest"]["fit"]:
            print(f"{'fit':<14}{_fit(fit)}")
    for row in result["sample"]:
        text = " ".join(str(row.get("text") or "").split())[:TEXT_CHARACTERS]
        metadata = {name: row[name] for name in row if name not in RESERVED and row[name]}
        told = text or "  ".join(f"{name}={value}" for name, value in metadata.items())
        print(f"\n{row['id']}" + (f"\n  {told}" if told else ""))


def _diff(args: argparse.Namespace, result: dict[str, Any]) -> None:
    print(f"space {args.space}: from version {result['from']} to version {result['to']}")
    for outcome in ("added", "changed", "metadata_changed", "removed"):
        found = result[outcome]
        ids = [] if args.counts else found[:DIFF_IDS]
        more = ", ..." if not args.counts and len(found) > len(ids) else ""
        count = found if args.counts else len(found)
        print(f"{outcome.replace('_', ' '):<17}{count:>9,}  {', '.join(ids)}{more}".rstrip())
    print(f"{'in both':<17}{result['common']:>9,}")
    if result["neighbour_overlap"] is not None:
        print(
            f"{'same neighbours':<17}{result['neighbour_overlap']:>9.1%}  of the "
            f"{result['neighbours']} nearest of {result['queries']:,} records that are in both"
        )


def _moved(args: argparse.Namespace, result: dict[str, Any]) -> None:
    before = result["from_version"]
    print(
        f"space {result['space']}: version {result['to_version']} serves "
        f"(before: {before or 'none'})"
    )
    if behind := result["sinks_behind"]:
        told = ", ".join(f"{one['sink']} has version {one['version']}" for one in behind)
        print(f"downstream {told}: `vectorline publish {result['space']}` brings this one there")
    if result["hold"]:
        print("runs leave it there until someone runs `vectorline promote`")


def _quarantine(args: argparse.Namespace, result: list[dict[str, Any]]) -> None:
    if not result:
        print(f"nothing of {args.space} is in quarantine")
        return
    for reason, count in Counter(entry["reason"] for entry in result).most_common():
        print(f"{count:>7,}  {reason}")
    print()
    table(result[:QUARANTINE_ROWS], ["id", "reason", "detail", "source"])
    if len(result) > QUARANTINE_ROWS:
        print(f"... and {len(result) - QUARANTINE_ROWS:,} more: --json lists them all")
    if not any(entry["committed"] for entry in result):
        print(f"\nnothing of {args.space} was committed yet")
    print(f"\nto try them all again: {result[0]['replay']}")


def _checks(args: argparse.Namespace, result: dict[str, Any]) -> None:
    for check in result["checks"]:
        mark = "BAD" if not check["ok"] else "ok " if check["looked"] else "-- "
        detail = check["detail"].replace("\n", "\n" + " " * 29)
        print(f"{mark}  {check['name']:<24}{detail}")


def _init(args: argparse.Namespace, result: dict[str, Any]) -> None:
    for path in result["written"]:
        print(f"wrote {path}")
    config = next(path for path in result["written"] if path.endswith(".yaml"))
    print(f"next: vectorline run {config}")


def _index(index: Mapping[str, Any]) -> str:
    """What searches and filters go by."""
    if index["kind"] is None:
        vectors = "none of vectors, a search looks at each row"
    else:
        trained = "trained anew, " if index.get("retrained") else ""
        vectors = f"{index['kind']} of vectors, {trained}recall@10 {index['recall']:.3f}"
    columns = f"; of columns: {', '.join(index['columns'])}" if index["columns"] else ""
    return f"{vectors}{columns}"


def _deploy(args: argparse.Namespace, result: dict[str, Any]) -> None:
    del args
    made = result["deployments"]
    rows = [
        {"deployment": f"{one['flow']}/{one['name']}", "at": one["cron"], "in": one["timezone"]}
        for one in made
    ]
    if rows:
        table(rows, ["deployment", "at", "in"])
    else:
        print(f"space {result['space']}: its config has no schedule")
    for flow in result["removed"]:
        print(f"removed    the deployment of {flow}, which has no time any more")
    if result["written"]:
        print(f"written    {result['written']}: prefect deploy --all --prefect-file FILE")
    elif rows:
        print(f"worker     prefect worker start --pool {result['pool']}")


def _maintain(args: argparse.Namespace, result: dict[str, Any]) -> None:
    del args
    for done in result["tables"]:
        if done["dropped"]:
            print(f"table {done['table']}: dropped, {_bytes(done['freed_bytes'])} freed")
            continue
        print(
            f"table {done['table']}: from {done['fragments_before']:,} fragments to "
            f"{done['fragments']:,}, {_bytes(done['freed_bytes'])} freed"
        )
        print(f"index      {_index(done['index'])}")
        if done["retired"]:
            print(f"versions let go: {', '.join(map(str, done['retired']))}")
        for note in done["notes"]:
            print(f"note       {note}")


def _drop(args: argparse.Namespace, result: dict[str, Any]) -> None:
    del args
    versions = ", ".join(map(str, result["versions"])) or "none"
    print(
        f"dropped {', '.join(result['tables'])} (versions: {versions}), "
        f"{_bytes(result['freed_bytes'])} freed"
    )


RENDER: dict[str, Callable[[argparse.Namespace, Any], None]] = {
    "init": _init,
    "doctor": _checks,
    "plan": _plan,
    "run": _run,
    "backfill": _run,
    "train": _train,
    "search": _search,
    "classify": _classify,
    "duplicates": _duplicates,
    "clusters": _clusters,
    "export": _export,
    "evaluate": _evaluate,
    "drift": _drift,
    "publish": _publish,
    "spaces": _spaces,
    "versions": _versions,
    "show": _show,
    "diff": _diff,
    "promote": _moved,
    "rollback": _moved,
    "quarantine": _quarantine,
    "deploy": _deploy,
    "maintain": _maintain,
    "verify": _checks,
    "drop": _drop,
}
