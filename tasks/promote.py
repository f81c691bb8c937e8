"""Promote: let the version of a run serve, unless something says no."""

import getpass

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.catalog import VersionEntry
from tasks.detect import Detected
from tasks.evaluate import Evaluated
from tasks.run import Run


@task(name="promote", persist_result=False, cache_policy=NO_CACHE)
def promote(
    run: Run,
    version: VersionEntry | None,
    judged: Evaluated | None = None,
    watched: Detected | None = None,
) -> bool:
    """Moves the serving pointer as the options say; gives whether it moved.

    `auto` leaves it alone after a rollback, until someone promotes, where someone chose another
    version since this one was made, where the gate says no, where drift blocks, and where another
    encoder serves and no gate has said that this one may. A run of the version that serves already
    moves nothing.
    """
    wanted = run.options.promote
    serving = run.catalog.serving(run.space)
    if version is None:
        return False
    if wanted == "no":
        if serving is not None and run.options.backfill:
            run.notes.append(
                f"version {serving.version} serves on: `vectorline promote {run.space} "
                f"{version.version}` lets this one serve"
            )
        return False
    if serving is not None and serving.version == version.version:
        return False
    run.check()
    if wanted == "auto" and (objection := _objection(run, version, serving, judged, watched)):
        run.notes.append(objection)
        return False
    run.catalog.promote(
        run.space,
        version.version,
        who=getpass.getuser(),
        why=f"run {version.run_id}",
        expected_from=None if serving is None else serving.version,
    )
    return True


def _objection(
    run: Run,
    version: VersionEntry,
    serving: VersionEntry | None,
    judged: Evaluated | None,
    watched: Detected | None,
) -> str | None:
    """Why the version shall not serve by itself, None where it may."""
    by_hand = f"`vectorline promote {run.space} {version.version}`"
    if run.catalog.hold(run.space):
        return "serving was rolled back by hand: `vectorline promote` lets it move again"
    if serving is None:
        return None
    beside = judged and judged.record.baseline
    if beside and beside.version != serving.version:
        return (
            f"version {serving.version} began to serve while version {version.version} was set "
            f"beside version {beside.version}: the next run judges anew"
        )
    if judged is not None and judged.passed is False:
        return (
            f"the gate says no, so that version {serving.version} serves on: {judged.record.reason}"
        )
    if watched is not None and watched.record.blocked:
        return (
            f"drift keeps version {serving.version} serving: {watched.record.reason}. If that is "
            f"meant to be so, {by_hand} lets version {version.version} serve, and "
            f"`vectorline drift {run.space} --rebase {version.version}` measures from it on"
        )
    shown = judged is not None and judged.passed
    if serving.fingerprint != version.fingerprint and not shown and not run.options.limit:
        return (
            f"version {version.version} is of another encoder than the one that serves, and no "
            f"gate has judged it: compare them, then {by_hand} lets it serve, or give the config "
            "`evaluate:` with a `gate:`"
        )
    if run.catalog.moved_since(version):
        return (
            f"version {serving.version} was chosen after version {version.version} was made, and "
            f"serves on: {by_hand} changes that"
        )
    return None
