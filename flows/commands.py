"""What each command does: from parsed arguments to plain data, the JSON that `--json` prints."""

import argparse
import contextlib
import getpass
import importlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter, ValidationError

from schemas.catalog import ConfigEntry, ServingEntry, VersionEntry
from schemas.config import Config, DriftConfig, EvaluateConfig, SinkConfig
from tasks.check import Check
from tasks.config import from_dict, read_config, sinks_of
from tasks.config_mistakes import Wanted, all_parts, sinks_called
from tasks.errors import ConfigError, Interrupted, StoreError
from tasks.mistakes import Mistake
from tasks.run import TRY_SUFFIX, Options, Run, open_run, waiting
from tasks.secrets import blocks_in
from tasks.space import Hit, open_space
from tasks.store.catalog import Catalog
from tasks.store.layout import root
from tasks.store.reference import rebase, reference_of

if TYPE_CHECKING:
    from tasks.search import Query


def execute(args: argparse.Namespace) -> object:
    """Runs the command that was asked for."""
    return COMMANDS[args.command](args)


def _init(args: argparse.Namespace) -> dict[str, Any]:
    from tasks.starter import init

    return {"written": [str(path) for path in init(Path(args.folder))]}


def _doctor(args: argparse.Namespace) -> dict[str, Any]:
    from tasks.doctor import doctor

    checks = [asdict(check) for check in doctor(args.store)]
    return {"ok": all(check["ok"] for check in checks), "checks": checks}


def _plan(args: argparse.Namespace) -> dict[str, Any]:
    from flows.terminal import quiet
    from tasks.estimate import estimate
    from tasks.plan import plan

    config = read_config(Path(args.config))
    _check_blocks(config.publish)
    options = Options(backfill=True, limit=args.limit, rehash=args.rehash)
    with quiet(), open_run(Run(config, args.store, options), write=False) as run:
        if run.new_encoder:
            run.notes.append(
                f"another encoder than those of the space{run.other_fits}: "
                f"`vectorline backfill {args.config}` does this, beside the version "
                "that serves; `run` does not"
            )
        return estimate(run, plan.fn(run))


def _run(args: argparse.Namespace) -> dict[str, Any]:
    options = Options(
        backfill=args.command == "backfill",
        promote=args.promote,
        wait_s=args.wait,
        limit=args.limit,
        allow_removals=args.allow_removals,
        precision=args.precision,
        rehash=args.rehash,
    )
    return refresh(read_config(Path(args.config)), args.store, options)


def refresh(config: Config, store_uri: str, options: Options) -> dict[str, Any]:
    """One run; Ray and the weights start beside the server."""
    _check_blocks(config.publish)
    arguments = (config.space, config.model_dump(mode="json"), store_uri, asdict(options))
    flow = "backfill" if options.backfill else "refresh"
    return _under_prefect(flow, arguments, Run(config, store_uri, options))


def _deploy(args: argparse.Namespace) -> dict[str, Any]:
    from flows.deploy import deploy, deployments, write_prefect_yaml
    from flows.server import check_answers, quiet_environment
    from flows.terminal import quiet

    config = read_config(Path(args.config))
    store_uri, name = root(args.store), args.name or config.space
    made = deployments(config, store_uri, name)
    told = {
        "space": config.space,
        "store": store_uri,
        "pool": args.pool,
        "deployments": [one.summary() for one in made],
    }
    if args.prefect_yaml is not None:
        write_prefect_yaml(Path(args.prefect_yaml), made, args.pool)
        return told | {"removed": [], "written": args.prefect_yaml}
    if "PREFECT_API_URL" not in os.environ:
        raise ConfigError(
            "PREFECT_API_URL is not set, and deployments are made on the server that it names: "
            "start one with `prefect server start`, then "
            "`export PREFECT_API_URL=http://127.0.0.1:4200/api`"
        )
    check_answers(os.environ["PREFECT_API_URL"])
    os.environ.update(quiet_environment())
    with quiet():
        return told | {"removed": deploy(made, store_uri, name, args.pool), "written": None}


def _train(args: argparse.Namespace) -> dict[str, Any]:
    config = read_config(Path(args.config))
    if config.train is None:
        raise ConfigError(f"{args.config} has no `train:`, which says what to fit and its name")
    name = config.train.name
    return _under_prefect("train", (name, config.model_dump(mode="json"), args.store, args.wait))


def _evaluate(args: argparse.Namespace) -> dict[str, Any]:
    catalog = Catalog(args.store)
    candidate = catalog.resolve(args.space, args.version)
    settings = _evaluate_config(args, catalog, candidate.fingerprint)
    arguments = (
        args.space,
        settings.model_dump(mode="json"),
        args.store,
        str(candidate.version),
        args.baseline,
        [
            word
            for name in ("suite", "config")
            if (path := getattr(args, name)) is not None
            for word in (f"--{name}", path)
        ],
    )
    return _under_prefect("evaluate", arguments)


def _evaluate_config(
    args: argparse.Namespace, catalog: Catalog, fingerprint: str
) -> EvaluateConfig:
    """As the config says that is given, else the last one of the candidate's encoder.

    With `--suite` the gate is that part of it which the suite measures.
    """
    from tasks.suites import read_suite

    if args.config is not None:
        settings = _given(args).evaluate
    else:
        entry = catalog.config(args.space, fingerprint)
        settings = None if entry is None else _config(entry.config, args.space).evaluate
    if args.suite is not None:
        suite = str(Path(args.suite).absolute())
        settings = (settings or EvaluateConfig(suite=suite)).model_copy(update={"suite": suite})
        measured = read_suite(suite).metrics  # another suite than the gate was written for
        gate = {name: one for name, one in settings.gate.items() if name in measured}
        settings = settings.model_copy(update={"gate": gate})
    if settings is None:
        raise ConfigError(
            f"nothing says what to measure of space {args.space!r}: give --suite FILE, or a config "
            "with `evaluate: {suite: FILE}`"
        )
    return settings


def _publish(args: argparse.Namespace) -> list[dict[str, Any]]:
    catalog = Catalog(args.store)
    catalog.resolve(args.space, "serving")
    sinks = sinks_of(_config_of(args, catalog, sinks_called(args.to)), args.to)
    _check_blocks(sinks)
    plain = [one.model_dump(mode="json") for one in sinks]
    options = {
        "allow_removals": args.allow_removals,
        "repair": args.repair,
        "wait_s": args.wait,
    }
    found = _under_prefect("publish", (args.space, plain, args.store, options))
    published: list[dict[str, Any]] = found["published"]
    return published


def _drift(args: argparse.Namespace) -> dict[str, Any]:
    catalog = Catalog(args.store)
    candidate = catalog.resolve(args.space, args.candidate)
    if args.rebase is not None:
        return _rebase(args, candidate)
    if args.config is not None:
        settings = _given(args).drift
    else:
        entry = catalog.config(args.space, candidate.fingerprint)
        settings = None if entry is None else _config(entry.config, args.space).drift
    arguments = (
        args.space,
        (settings or DriftConfig()).model_dump(mode="json"),
        args.store,
        str(candidate.version),
        args.baseline,
        [] if args.config is None else ["--config", str(Path(args.config).absolute())],
        args.sketches,
    )
    return _under_prefect("drift", arguments)


def _rebase(args: argparse.Namespace, candidate: VersionEntry) -> dict[str, Any]:
    if args.baseline is not None or args.sketches:
        raise ConfigError("--rebase looks at nothing: leave --baseline and --sketches out")
    try:
        before = reference_of(args.store, candidate)
    except StoreError:  # a tag that is on no version is put on one
        before = None
    after = Catalog(args.store).resolve(args.space, args.rebase)
    rebase(args.store, after)
    same = before is not None and before.table == after.table
    return {
        "space": args.space,
        "reference": after.version,
        "before": before.version if before is not None and same else None,
    }


def _under_prefect(
    flow: str, arguments: tuple[Any, ...], early: Run | None = None
) -> dict[str, Any]:
    """A flow's answer, on the server that PREFECT_API_URL names or on one of its own."""
    from flows.server import (
        check_answers,
        client_environment,
        embedded_server,
        quiet_environment,
    )
    from flows.terminal import quiet

    os.environ.update(quiet_environment())
    with quiet():
        if "PREFECT_API_URL" in os.environ:
            check_answers(os.environ["PREFECT_API_URL"])
            return _call(flow, arguments)
        with embedded_server() as server, _early(early):
            os.environ.update(client_environment(server))
            from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

            importlib.import_module(f"flows.{flow}")
            server.wait_ready()
            # Nobody watches our own server for crashed flows, and heartbeats end up to 1 s late.
            with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
                return _call(flow, arguments)


def _call(flow: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """What the flow of the module that has its name answers; Prefect is imported with it."""
    module = importlib.import_module(f"flows.{flow}")
    from flows.events import answer

    return answer(getattr(module, flow)(*arguments, return_state=True))


@contextlib.contextmanager
def _early(run: Run | None) -> Iterator[None]:
    """A run whose workers start before its flow can."""
    if run is None:
        yield
        return
    try:
        run.start_early()
        waiting.set(run)
        yield
    finally:
        waiting.set(None)
        run.close()


def _search(args: argparse.Namespace) -> list[dict[str, Any]]:
    from tasks.search import Query, Term, term

    named = {"text": args.text, "id": args.id, "image": args.image, "audio": args.audio}
    terms = [Term(kind, value) for kind, value in named.items() if value is not None]
    if len(terms) > 1:
        raise ConfigError("a search takes one of TEXT, --id, --image and --audio; add with --plus")
    terms += [*map(term, args.plus), *(term(one, -1) for one in args.minus)]
    query = Query(terms, args.k, args.where, args.modality, args.chunks, args.exact)
    hits = []
    for hit in _hits(args, query):
        metadata = dict(hit.columns)
        text = metadata.pop("text", None)
        hits.append(
            {
                "id": hit.id,
                "record_id": hit.record_id,
                "chunk": hit.chunk,
                "score": hit.score,
                "text": text,
                "metadata": metadata,
            }
        )
    return hits


def _hits(args: argparse.Namespace, query: "Query") -> list[Hit]:
    """Of the store's own version, or of what a sink has."""
    from tasks.search import search

    if args.sink is None:
        return search(open_space(args.space, args.store, args.version or "serving"), query)
    from tasks.downstream import downstream, search_downstream

    if args.version is not None:
        raise ConfigError("--sink asks for what serves there: leave --version out")
    with downstream(args.store, args.space, _sink(args), _secret_of_block) as there:
        if there.behind:
            print(f"note       {there.label} has {there.behind}", file=sys.stderr)
        return search_downstream(there, query)


def _classify(args: argparse.Namespace) -> dict[str, Any]:
    from tasks.classify import PLAIN, accuracy, classify, read_labels
    from tasks.search import restriction

    space, labels = open_space(args.space, args.store, args.version), read_labels(Path(args.labels))
    where = restriction(space, args.where, args.modality)
    found = classify(space, labels, args.template or PLAIN, where)
    counts = Counter(one.label for one in found)
    return {
        "space": args.space,
        "version": space.version,
        "labels": {label: counts[label] for label in labels},
        "accuracy": None if args.truth is None else accuracy(space, found, args.truth),
        "records": [asdict(one) for one in found],
    }


def _duplicates(args: argparse.Namespace) -> dict[str, Any]:
    from tasks.duplicates import duplicates, firsts
    from tasks.marking import mark
    from tasks.search import restriction

    space = open_space(args.space, args.store, args.version)
    groups = duplicates(space, args.threshold, restriction(space, args.where, args.modality))
    if args.column is not None:
        mark(space, firsts(groups), args.column, args.wait)
    return {
        "space": args.space,
        "version": space.version,
        "threshold": args.threshold,
        "column": args.column,
        "groups": [asdict(group) for group in groups],
    }


def _clusters(args: argparse.Namespace) -> dict[str, Any]:
    from tasks.clusters import Method, clusters
    from tasks.marking import mark

    space = open_space(args.space, args.store, args.version)
    found = clusters(space, Method(args.method), args.n)
    if args.column is not None:
        named = {id_: one.name for one in found for id_ in one.ids}
        mark(space, named, args.column, args.wait)
    return {
        "space": args.space,
        "version": space.version,
        "method": args.method,
        "column": args.column,
        "clusters": [asdict(one) | {"records": len(one.ids)} for one in found],
    }


def _export(args: argparse.Namespace) -> dict[str, Any]:
    from tasks.export import export
    from tasks.words.formats import Format

    space = open_space(args.space, args.store, args.version)
    return export(space, Path(args.path), Format(args.format))


def _spaces(args: argparse.Namespace) -> list[dict[str, Any]]:
    catalog = Catalog(args.store)
    spaces = []
    for name in catalog.spaces():
        serving = catalog.serving(name)
        entry = serving or catalog.latest(name)
        if entry is None:
            continue
        spaces.append(
            {
                "space": name,
                "table": entry.table,
                "version": entry.version,
                "rows": entry.rows,
                "dim": open_space(name, args.store, entry.version).settings.dim,
                "fingerprint": entry.fingerprint,
                "serving": serving is not None,
            }
        )
    return spaces


def _versions(args: argparse.Namespace) -> list[dict[str, Any]]:
    catalog = Catalog(args.store)
    versions = catalog.known(args.space)
    serving = catalog.serving(args.space)
    published = catalog.published(args.space)
    encoders = {
        entry.fingerprint: cast("dict[str, Any]", config.config)["encoder"]["use"]
        for entry in versions
        if (config := catalog.config(args.space, entry.fingerprint)) is not None
    }
    return [
        {
            "version": entry.version,
            "table": entry.table,
            "fingerprint": entry.fingerprint,
            "encoder": encoders.get(entry.fingerprint),
            "lance_version": entry.lance_version,
            "run_id": entry.run_id,
            "tags": catalog.tags(entry),
            "rows": entry.rows,
            "created_at": entry.created_at.isoformat(timespec="seconds"),
            "serving": serving is not None and serving.version == entry.version,
            "sinks": sorted(n for n, held in published.items() if held.version == entry.version),
        }
        for entry in versions
    ]


def _show(args: argparse.Namespace) -> dict[str, Any]:
    from schemas.manifest import Manifest
    from tasks.store import indexes, manifests

    space = open_space(args.space, args.store, args.version)
    entry = space.entry
    manifest = manifests.read(args.store, entry.table, entry.run_id, Manifest)
    return {
        **entry.model_dump(mode="json", exclude={"format", "kind"}),
        "settings": space.settings.model_dump(mode="json", exclude={"format"}),
        "columns": {field.name: str(field.type) for field in space.dataset.schema},
        "index": indexes.describe(space.dataset),
        "manifest": None if manifest is None else manifest.model_dump(mode="json"),
        "sample": space.sample(3),
    }


def _diff(args: argparse.Namespace) -> dict[str, Any]:
    from tasks.changes import changes

    before, after = (open_space(args.space, args.store, one) for one in (args.before, args.after))
    found = asdict(changes(before, after))
    if args.counts:
        found = {
            key: len(value) if isinstance(value, list) else value for key, value in found.items()
        }
    return {"space": args.space, "from": before.version, "to": after.version, **found}


def _verify(args: argparse.Namespace) -> dict[str, Any]:
    from flows.terminal import quiet
    from tasks.verify import verify

    with quiet():
        if args.sink is not None:
            found = _verify_sink(args)
        else:
            found = verify(args.store, args.space, args.version, all_rows=args.all)
    checks = [asdict(check) for check in found]
    return {"space": args.space, "ok": all(check["ok"] for check in checks), "checks": checks}


def _verify_sink(args: argparse.Namespace) -> list[Check]:
    from tasks.downstream import downstream, verify_downstream

    if args.version is not None:
        raise ConfigError("--sink looks at what serves there: leave --version out")
    with downstream(args.store, args.space, _sink(args), _secret_of_block) as there:
        return verify_downstream(there, all_rows=args.all)


def _sink(args: argparse.Namespace) -> SinkConfig:
    """The one that `--sink` names, of the config that is given or of the last one."""
    catalog = Catalog(args.store)
    catalog.known(args.space)
    (sink,) = sinks_of(_config_of(args, catalog, sinks_called(args.sink)), args.sink)
    _check_blocks([sink])
    return sink


def _check_blocks(sinks: Sequence[SinkConfig]) -> None:
    """Raises ConfigError where a sink wants a secret that only a Prefect server has, and none is.

    A server of our own, as flows get otherwise, has no blocks.
    """
    for one in sinks:
        for path, name in blocks_in(one.arguments):
            if "PREFECT_API_URL" not in os.environ:
                raise ConfigError(
                    f"{Mistake(path, '').under('publish', one.label)} comes from Prefect block "
                    f"{name!r}, and PREFECT_API_URL is not set: let it name the Prefect server "
                    "that has it"
                )


def _secret_of_block(name: str, key: str) -> str:
    """The same as in a flow; Prefect is imported where a sink asks for it alone."""
    from flows.server import quiet_environment

    os.environ.update(quiet_environment())
    from tasks.publish import secret_of_block

    return secret_of_block(name, key)


def _promote(args: argparse.Namespace) -> dict[str, Any]:
    catalog = Catalog(args.store)
    version = catalog.resolve(args.space, args.version).version
    serving = catalog.serving(args.space)
    before = None if serving is None else serving.version
    moved = catalog.promote(
        args.space, version, who=getpass.getuser(), why="vectorline promote", expected_from=before
    )
    return _moved(catalog, moved)


def _rollback(args: argparse.Namespace) -> dict[str, Any]:
    catalog = Catalog(args.store)
    catalog.known(args.space)
    return _moved(
        catalog, catalog.rollback(args.space, who=getpass.getuser(), why="vectorline rollback")
    )


def _moved(catalog: Catalog, moved: ServingEntry) -> dict[str, Any]:
    """Another version serves, and these sinks' readers have not got it."""
    published = catalog.published(moved.space)
    labels = _sinks_of_committed(catalog, moved.space)
    behind = [
        {"sink": name, "version": held.version}
        for name, held in sorted(published.items())
        if held.version != moved.to_version and (labels is None or name in labels)
    ]
    return moved.model_dump(mode="json", exclude={"format", "kind"}) | {"sinks_behind": behind}


def _sinks_of_committed(catalog: Catalog, space: str) -> set[str] | None:
    """What `vectorline publish` would publish to; None where the catalog's config does not say.

    No plugin is imported: what serves has moved, and one that fails must not hide it.
    """
    entry = _committed(catalog, space)
    with contextlib.suppress(ValidationError):
        if entry is not None:
            sinks = TypeAdapter(list[SinkConfig]).validate_python(
                entry.config.get("publish", []), strict=False
            )
            return {one.label for one in sinks}
    return None


def _quarantine(args: argparse.Namespace) -> dict[str, Any] | list[dict[str, Any]]:
    from tasks.store import quarantine

    catalog = Catalog(args.store)
    if args.replay:
        return refresh(_config_of(args, catalog), args.store, Options(replay=True))
    tables = quarantine.tables(args.store, args.space)
    if not tables:
        catalog.known(args.space)
    committed = {entry.table for entry in catalog.versions(args.space)}
    config = "" if committed else " --config CONFIG"
    replay = f"vectorline quarantine {args.space} --replay{config}"
    return [
        {
            "id": entry.id,
            "reason": entry.reason.value,
            "detail": entry.detail,
            "source": entry.source_uri,
            "replay": replay,
            "transient": entry.transient,
            "committed": table in committed,
        }
        for table in tables
        for entry in quarantine.read(args.store, table)
    ]


def _maintain(args: argparse.Namespace) -> dict[str, Any]:
    from tasks.drop import finish_drops

    catalog = Catalog(args.store)
    finish_drops(args.store, args.space, args.wait)
    catalog.known(args.space)
    config = _config_of(args, catalog).model_dump(mode="json")
    return _under_prefect("maintain", (args.space, config, args.store, args.wait))


def _drop(args: argparse.Namespace) -> dict[str, Any]:
    from tasks.drop import drop, droppable

    names = droppable(args.store, args.space, args.table)
    if not args.yes:
        _confirm(f"drop {', '.join(names)} with all versions, for good?")
    return drop(args.store, args.space, names, getpass.getuser(), args.wait)


def _confirm(question: str) -> None:
    """Raises ConfigError where nobody can be asked, Interrupted for any answer but yes."""
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} Nobody is there to answer: say --yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Interrupted("nothing was dropped")


def _config_of(args: argparse.Namespace, catalog: Catalog, wanted: Wanted = all_parts) -> Config:
    """The config that is given, else the last one that was committed."""
    if args.config is not None:
        return _given(args, wanted)
    entry = _committed(catalog, args.space)
    if entry is None:
        catalog.known(args.space)
        raise ConfigError(f"the catalog has no config of space {args.space!r}: give --config")
    return _config(entry.config, args.space)


def _committed(catalog: Catalog, space: str) -> ConfigEntry | None:
    """The last config that a version was made with: of the encoder that serves, if one does."""
    serving = catalog.serving(space)
    return catalog.config(space, serving.fingerprint if serving else None)


def _given(args: argparse.Namespace, wanted: Wanted = all_parts) -> Config:
    """The config that `--config` names; raises ConfigError where it is another space's."""
    config = read_config(Path(args.config), wanted)
    if config.space != args.space.removesuffix(TRY_SUFFIX):
        raise ConfigError(
            f"{args.config}: space = {config.space!r}, and the command is for {args.space!r}: give "
            "the config of that space, or leave --config out for the last one that was committed"
        )
    return config


def _config(data: Mapping[str, object], space: str) -> Config:
    return from_dict(data, f"the config of {space} in the catalog")


COMMANDS = {
    "init": _init,
    "doctor": _doctor,
    "plan": _plan,
    "run": _run,
    "backfill": _run,
    "deploy": _deploy,
    "train": _train,
    "evaluate": _evaluate,
    "drift": _drift,
    "publish": _publish,
    "search": _search,
    "classify": _classify,
    "duplicates": _duplicates,
    "clusters": _clusters,
    "export": _export,
    "spaces": _spaces,
    "versions": _versions,
    "show": _show,
    "diff": _diff,
    "promote": _promote,
    "rollback": _rollback,
    "quarantine": _quarantine,
    "maintain": _maintain,
    "drop": _drop,
    "verify": _verify,
}
