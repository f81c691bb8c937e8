"""The command line. Nothing heavy is imported before a command is known."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

DEFAULT_STORE = "./vectors"
FAILED, USAGE, REFUSED, INTERRUPTED = 1, 2, 3, 130

EPILOG = """exit codes: 0 done, 1 failed, 2 bad usage or config, 3 a gate said no, 130 interrupted
A version V is a number, a tag, `serving`, `latest` or a time such as 2026-05-01T12:00."""
DRIFT = """Exit code 3: drift, or another encoder. A look writes a report, HTML and JSON.
Beside the reference it is one of 365 that have alpha together; at a version that was looked at, it
spends nothing. A verdict that was found before is told again, unless the encoder is another one."""


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="vectorline",
        description="Keep texts, images, sounds and graphs as vectors: versioned, searchable.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", dest="about", help="print the version")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="one JSON value on standard output")
    common.add_argument("--debug", action="store_true", help="show tracebacks")
    common.add_argument(
        "--store",
        default=os.environ.get("VECTORLINE_STORE", DEFAULT_STORE),
        metavar="URI",
        help="where vectors are kept, a folder or s3://bucket/prefix "
        "(default: VECTORLINE_STORE or ./vectors)",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[common])

    init = command("init", "write a commented config and a small corpus to start from")
    init.add_argument("folder", nargs="?", default=".", metavar="DIR")
    command("doctor", "say what is installed, which devices there are, and what is wrong")
    plan = command("plan", "say what a run would do, and write nothing")
    run = command("run", "bring a space up to date with its sources")
    backfill = command("backfill", "encode all with a new encoder, beside the one that serves")
    for parser_ in (plan, run, backfill):
        parser_.add_argument("config", metavar="CONFIG", help="the space's YAML")
        parser_.add_argument(
            "--limit", type=_positive, metavar="N", help="the first N records, into SPACE.try"
        )
        parser_.add_argument(
            "--rehash", action="store_true", help="read files that look unchanged too"
        )
    _run_options(run, promote="auto")
    _run_options(backfill, promote="no")
    deploy = command("deploy", "let Prefect run a space's flows at the times of its `schedule`")
    deploy.add_argument("config", metavar="CONFIG", help="the space's YAML")
    deploy.add_argument(
        "--pool",
        default="vectorline",
        help="the work pool whose workers run them (default: vectorline)",
    )
    deploy.add_argument(
        "--name", help="of its deployments and their queue (default: the name of the space)"
    )
    deploy.add_argument(
        "--prefect-yaml",
        metavar="FILE",
        help="write a file for `prefect deploy`, instead of making them on PREFECT_API_URL",
    )
    train = command("train", "fit an encoder's weights to a corpus, and keep them in the store")
    train.add_argument("config", metavar="CONFIG")
    _wait(train)
    _space_commands(command)
    return parser


def _run_options(parser: argparse.ArgumentParser, promote: str) -> None:
    parser.add_argument(
        "--promote",
        choices=["auto", "yes", "no"],
        default=promote,
        help=f"let the version serve (default: {promote})",
    )
    _wait(parser)
    parser.add_argument(
        "--allow-removals", action="store_true", help="remove however many records are gone"
    )
    parser.add_argument(
        "--precision", choices=["float32", "bfloat16", "float16"], help="change the table's"
    )


def _space_commands(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    search = command("search", "find the records nearest to a text or to a record")
    search.add_argument("space", metavar="SPACE")
    search.add_argument("text", nargs="?", metavar="TEXT")
    search.add_argument("--id", help="the record whose neighbours are wanted")
    search.add_argument("--image", metavar="PATH", help="the same of an image")
    search.add_argument("--audio", metavar="PATH", help="the same of a sound")
    for sign, verb in (("plus", "add"), ("minus", "take away")):
        search.add_argument(
            f"--{sign}",
            action="append",
            default=[],
            metavar="X",
            help=f"{verb} a text, id:ID, image:PATH or audio:PATH; with a weight: 0.5*red",
        )
    search.add_argument("-k", type=_positive, default=10, help="how many hits (default: 10)")
    search.add_argument("--where", metavar="EXPR", help='a filter in SQL, such as "year > 2020"')
    search.add_argument("--modality", metavar="M", help="records of one modality only")
    search.add_argument(
        "--chunks", action="store_true", help="each chunk for itself, not the best of each record"
    )
    search.add_argument(
        "--exact", action="store_true", help="look at each row, without an index: slow, misses none"
    )
    search.add_argument("--version", metavar="V", help="which version (default: serving)")
    search.add_argument("--sink", metavar="NAME", help="ask this store downstream instead")
    search.add_argument("--config", metavar="CONFIG", help="for --sink: its `publish`")
    classify = command("classify", "give each record the label that describes it best")
    duplicates = command("duplicates", "find groups of records that are nearly the same")
    for parser in (classify, duplicates):
        parser.add_argument("space", metavar="SPACE")
        parser.add_argument("--where", metavar="EXPR", help="a filter in SQL: these records alone")
        parser.add_argument("--modality", metavar="M", help="records of one modality only")
    classify.add_argument(
        "--labels",
        required=True,
        metavar="FILE",
        help="a label in each line, with a description after a tab, or YAML, or JSON",
    )
    classify.add_argument(
        "--template",
        action="append",
        metavar="T",
        help='how a label is said, such as "a photo of a {}"; may be repeated (default: {})',
    )
    classify.add_argument(
        "--truth", metavar="COLUMN", help="a metadata column with the right labels: how many agree"
    )
    classify.add_argument(
        "--version", default="serving", metavar="V", help="which version (default: serving)"
    )
    duplicates.add_argument(
        "--threshold",
        type=float,
        default=0.95,
        metavar="T",
        help="the cosine from which on two are nearly the same (default: 0.95)",
    )
    duplicates.add_argument(
        "--column", metavar="NAME", help="write the first id of each group into a column"
    )
    duplicates.add_argument(
        "--version", default="latest", metavar="V", help="which version (default: latest)"
    )
    _wait(duplicates)
    clusters = command("clusters", "put records into groups, and show what is typical of each")
    clusters.add_argument("space", metavar="SPACE")
    clusters.add_argument("-n", type=_positive, default=10, help="how many (default: 10)")
    clusters.add_argument(
        "--method",
        choices=["k-means", "hdbscan"],
        default="k-means",
        help="hdbscan finds how many there are, and leaves out noise (default: k-means)",
    )
    clusters.add_argument(
        "--column", metavar="NAME", help="write the name of each record's cluster into a column"
    )
    clusters.add_argument(
        "--version", default="latest", metavar="V", help="which version (default: latest)"
    )
    _wait(clusters)
    export = command("export", "write a version's vectors into a file for other programs")
    export.add_argument("space", metavar="SPACE")
    export.add_argument("path", metavar="PATH")
    export.add_argument(
        "--format",
        required=True,
        choices=["word2vec", "word2vec-binary", "glove"],
        help="an id and its numbers in each line; word2vec's begin with their number and dimension",
    )
    export.add_argument(
        "--version", default="serving", metavar="V", help="which version (default: serving)"
    )
    evaluate = command("evaluate", "measure a version, and compare it with the one that serves")
    evaluate.add_argument("space", metavar="SPACE")
    evaluate.add_argument(
        "--suite", metavar="FILE", help="what to measure, instead of what the config says"
    )
    evaluate.add_argument(
        "--baseline", metavar="V", help="the version to compare with (default: serving)"
    )
    evaluate.add_argument(
        "--version", default="latest", metavar="V", help="which version (default: latest)"
    )
    evaluate.add_argument(
        "--config", metavar="CONFIG", help="its `evaluate`, not that of the last committed config"
    )
    drift = command("drift", "say whether what came in since a version is of another kind")
    drift.epilog = DRIFT
    drift.add_argument("space", metavar="SPACE")
    drift.add_argument(
        "--baseline", metavar="V", help="the version to measure from (default: the reference)"
    )
    drift.add_argument(
        "--candidate", default="latest", metavar="V", help="which version (default: latest)"
    )
    drift.add_argument(
        "--sketches", action="store_true", help="compare what is kept of both, and read no rows"
    )
    drift.add_argument(
        "--rebase", metavar="V", help="only let this version be the reference from now on"
    )
    drift.add_argument(
        "--config", metavar="CONFIG", help="its `drift`, not that of the last committed config"
    )
    publish = command("publish", "let the vector stores downstream hold what serves")
    publish.add_argument("space", metavar="SPACE")
    publish.add_argument("--to", metavar="SINK", help="this one alone (default: all)")
    publish.add_argument(
        "--repair",
        action="store_true",
        help="compare every row, and push what differs; takes over what another store published",
    )
    publish.add_argument(
        "--allow-removals", action="store_true", help="even if more rows vanish than max_removed"
    )
    publish.add_argument(
        "--config", metavar="CONFIG", help="its `publish`, not that of the last committed config"
    )
    _wait(publish)
    command("spaces", "list the spaces of a store")
    versions = command("versions", "list the versions of a space")
    show = command("show", "show a version and some of its rows")
    diff = command("diff", "say what differs between two versions: records, and their neighbours")
    promote = command("promote", "let a version serve")
    rollback = command("rollback", "let the version serve that served before")
    quarantine = command("quarantine", "list the records that could not be encoded, and why")
    maintain = command("maintain", "keep indexes and files in order, let old versions go")
    verify = command("verify", "check that a space is what the store says of it")
    drop = command("drop", "remove a space with all of its versions, or one of its tables")
    for parser in (versions, show, diff, promote, rollback, quarantine, maintain, verify, drop):
        parser.add_argument("space", metavar="SPACE")
    show.add_argument("version", nargs="?", default="serving", metavar="V")
    diff.add_argument("before", metavar="A", help="a version")
    diff.add_argument("after", metavar="B", help="a later one, or any other")
    diff.add_argument("--counts", action="store_true", help="numbers, not the ids of all records")
    promote.add_argument("version", metavar="V")
    quarantine.add_argument("--replay", action="store_true", help="try them all again, by a run")
    quarantine.add_argument(
        "--config", metavar="CONFIG", help="for --replay: instead of the last committed config"
    )
    maintain.add_argument(
        "--config",
        metavar="CONFIG",
        help="its `retention` and `index`, not those of the last committed config",
    )
    _wait(maintain)
    drop.add_argument("--table", metavar="T", help="this table alone, which must not serve")
    drop.add_argument("--yes", action="store_true", help="do not ask")
    _wait(drop)
    verify.add_argument(
        "--version", metavar="V", help="this one alone (default: all; rows of serving and latest)"
    )
    verify.add_argument("--sink", metavar="NAME", help="look at what this store downstream has")
    verify.add_argument("--config", metavar="CONFIG", help="for --sink: its `publish`")
    verify.add_argument(
        "--all",
        action="store_true",
        help="all texts are encoded again, not a thousand of each version; a sink's rows all read",
    )


def _wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait", type=_duration, default=0.0, metavar="10m", help="for another writer to end"
    )


def _positive(text: str) -> int:
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected an integer of 1 or more")
    return value


def _duration(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], text[-1:]) if text[-1:] in units else (text, "s")
    try:
        value = float(number) * units[unit]
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a time such as 90s, 10m or 2h")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; gives its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.about:
        from importlib.metadata import version

        print(f"vectorline {version('vectorline')}")
        return 0
    if args.command is None:
        parser.print_help()
        return USAGE
    from flows.shadow import shadowed

    if (complaint := shadowed()) is not None:
        print(f"vectorline: {complaint}", file=sys.stderr)
        return USAGE
    return _execute(args)


def _execute(args: argparse.Namespace) -> int:
    from flows import commands, display
    from tasks.errors import VectorlineError

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends a command as Ctrl-C does
    try:
        result = commands.execute(args)
        display.show(args, result)
    except VectorlineError as error:
        if args.debug:
            raise
        display.show_error(args, error)
        return error.exit_code
    except KeyboardInterrupt:
        print("vectorline: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return _exit_code(args.command, result)


def _exit_code(command: str, result: object) -> int:
    """Of a command that came to its end: whether what it looked at is well."""
    if isinstance(result, list) and command == "publish":
        codes = _codes(result)
        if INTERRUPTED in codes:
            return INTERRUPTED
        return codes.pop() if len(codes) == 1 else FAILED if codes else 0
    if not isinstance(result, dict):
        return 0
    if command == "verify" and not result["ok"]:
        return FAILED
    if command == "drift":
        return REFUSED if result.get("alarm") else 0
    gate, drift = result.get("gate"), result.get("drift")
    refused = (gate and not gate["passed"]) or (drift and drift["blocked"])
    if refused and not result.get("promoted"):
        return REFUSED
    codes = _codes(result.get("published", ()))
    if INTERRUPTED in codes:
        return INTERRUPTED
    return 0 if not codes else REFUSED if codes == {REFUSED} else FAILED


def _codes(published: Iterable[Mapping[str, Any]]) -> set[int]:
    """Of the errors of those sinks that have not their version."""
    return {one["error"]["exit_code"] for one in published if one["error"]}
