"""`extproc explain`: which policy decides on a request, and why."""

import json
import re
import secrets
from contextlib import closing
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from time import time

import click
from rich.console import Console

from extproc.cli import sampler_text
from extproc.cli.arguments import Parsed, format_option, load_policy, stdout_console
from extproc.engine import explain as engine
from extproc.engine.outcome import Reason
from extproc.engine.wire import Mutation
from extproc.policy.plan import DEFAULT_POLICY, Plan
from extproc.replay import show_found
from extproc.replay.find import Found, find
from extproc.replay.headers import request_headers
from extproc.replay.lines import LogError, Logs
from extproc.replay.progress import watched
from extproc.replay.reading import Reading


def _parse_trace_id(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", text.lower()) or not int(text, 16):
        raise ValueError(f"expected 32 hex digits that are not all zero, got {text!r}")
    return text.lower()


def _parse_header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ValueError(f"expected 'name: value', got {text!r}; try -H 'x-tier: gold'")
    return name.strip().lower(), value.strip()


_HEADER = Parsed("header", _parse_header)
_TRACE_ID = Parsed("trace id", _parse_trace_id)
_LIMIT = 20


@click.command("explain", short_help="Show which policy decides on a request, and why.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("words", metavar="METHOD URL | --log LOG...", nargs=-1)
@click.option("-H", "--header", "headers", type=_HEADER, multiple=True, help="A request header, 'name: value'.")
@click.option("--service", help="The upstream cluster that the route leads to.")
@click.option("--trace-id", type=_TRACE_ID, help="The trace's id, 32 hex digits.  [default: a random one]")
@click.option("--log", is_flag=True, help="Find requests in access logs, instead of explaining one.")
@click.option("--policy", metavar="NAME", help="With --log: those that this policy decides; default is no policy's.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="With --log: requests at most.  [default: 20]")
@format_option("text", "json", text="How to print it.")
def command(
    file: Path,
    words: tuple[str, ...],
    headers: tuple[tuple[str, str], ...],
    service: str | None,
    trace_id: str | None,
    log: bool,  # noqa: FBT001  click's
    policy: str | None,
    limit: int | None,
    output: str,
) -> None:
    """Show what the policy FILE does with one request: METHOD URL.

    Every policy is listed with the first field that fails, then the decision with the sampler's arithmetic, the tags
    and what Envoy is told. URL is a path with its query, or a whole URL whose host is then matched too.

    \b
    extproc explain policy.yaml GET /api/users/42
    extproc explain policy.yaml POST https://shop.example.com/api/orders/7 --service order-service -H 'x-tier: gold'
    extproc explain policy.yaml GET / -H 'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

    With --log, find the requests of access logs on which a policy decides. LOG is what `extproc simulate` reads.

    \b
    extproc explain policy.yaml --log access.log --policy checkout
    extproc explain policy.yaml --log access.log.*.gz --policy default --limit 100 --format json
    """  # noqa: D301  click reads the backspace
    if log:
        if headers or service is not None or trace_id is not None:
            raise click.UsageError("-H, --service and --trace-id describe one request: they do not go with --log")
        _find(load_policy(file), words, policy, limit or _LIMIT, output)
        return
    if policy is not None or limit is not None:
        raise click.UsageError("--policy and --limit go with --log")
    method, url = _request_words(words)
    plan = load_policy(file)
    request = request_headers(method, url, headers)
    explanation = engine.explain(plan, request, service or "", trace_id or secrets.token_hex(16), time())
    click.echo(json.dumps(_as_data(explanation), indent=2) if output == "json" else _as_text(explanation))


def _request_words(words: tuple[str, ...]) -> tuple[str, str]:
    missing = ("METHOD", "URL")[len(words) :]
    if missing:
        raise click.MissingParameter(param_hint=f"'{missing[0]}'", param_type="argument")
    if len(words) > len(("METHOD", "URL")):
        raise click.UsageError(f"Got unexpected extra argument ({words[2]})")
    return words[0], words[1]


def _find(plan: Plan, logs: tuple[str, ...], policy: str | None, limit: int, output: str) -> None:
    if not logs:
        raise click.MissingParameter(param_hint="'LOG'", param_type="argument")
    names = [each.name for each in (*plan.policies, plan.default)]
    if policy is not None and policy not in names:
        near = get_close_matches(policy, names, 1) or names
        raise click.BadParameter(f"the file has no policy {policy!r}; try {near[0]}", param_hint="--policy")
    reading = Reading()
    try:
        with closing(watched(Logs(logs), Console(stderr=True))) as lines:
            found = list(islice(find(plan, reading.entries(lines), policy), limit))
    except LogError as error:
        raise click.ClickException(str(error)) from error
    _print_found(found, output)
    if reading.complaint:
        click.echo(f"warning: {reading.complaint}", err=True)
    count = "1 request" if len(found) == 1 else f"{len(found):,} requests"
    click.echo(f"{count}, and maybe more: --limit" if len(found) == limit else count, err=True)
    if reading.failed:
        raise click.exceptions.Exit(1)


def _print_found(found: list[Found], output: str) -> None:
    console = stdout_console()
    if output == "json":
        click.echo(json.dumps({"requests": [show_found.as_data(each) for each in found]}, indent=2))
    elif found:
        console.print(show_found.as_table(found))


def _as_data(explanation: engine.Explanation) -> dict[str, object]:
    sampler, mutation, trial = explanation.sampler, explanation.mutation, explanation.trial
    threshold = sampler_text.threshold(sampler)
    return {
        "request": {
            "method": explanation.method,
            "path": explanation.path,
            "host": explanation.host,
            "service": explanation.service,
        },
        "policies": [
            {
                "index": verdict.policy.index,
                "name": verdict.policy.name,
                "matches": verdict.failed is None,
                "decides": verdict.policy is explanation.policy,
                "failed": verdict.failed,
                "expected": verdict.expected if verdict.failed else None,
                "got": verdict.got,
            }
            for verdict in explanation.verdicts
        ],
        "decision": {
            "policy": explanation.policy.name,
            "reason": explanation.reason,
            "sampled": explanation.sampled,
            "trace_id": explanation.trace_id,
            "sampling": sampler.settings(),
            "randomness": None if explanation.randomness is None else f"{explanation.randomness:014x}",
            "threshold": None if threshold is None else f"{threshold:014x}",
            "assumes": sampler_text.assumption(sampler) if explanation.randomness is not None else None,
            "boost": sampler_text.boost(explanation.policy),
        },
        "dry_run": None if trial is None else {"policy": trial.policy, "sampled": trial.sampled},
        "captures": explanation.captures,
        "tags": explanation.metadata,
        "tags_from_response": list(explanation.later),
        "mutations": {
            "set_headers": dict(mutation.set_headers),
            "remove_headers": list(mutation.remove_headers),
            "clear_route_cache": mutation.clear_route_cache,
        },
    }


def _as_text(explanation: engine.Explanation) -> str:
    where = f"   host {explanation.host}" if explanation.host else ""
    via = f"   service {explanation.service}" if explanation.service else ""
    lines = [click.style(f"{explanation.method} {explanation.path}", bold=True) + where + via, "", "Policies"]
    width = max((len(verdict.policy.name) for verdict in explanation.verdicts), default=0)
    lines += [_verdict_line(explanation, verdict, width) for verdict in explanation.verdicts]
    if explanation.policy.index < 0:
        lines.append(
            "  no policy matches: the default sampling decides" if explanation.verdicts else "  none in the file"
        )
    lines += ["", "Decision", *_decision_lines(explanation), "", "Dynamic metadata, from which Envoy takes its tags"]
    lines += [f"  {name} = {value}" for name, value in sorted(explanation.metadata.items())]
    lines += [f"  {name}, once the response is there" for name in explanation.later]
    lines += ["", "Header mutations"]
    lines += _mutation_lines(explanation.mutation) or ["  none"]
    return "\n".join(lines)


def _mutation_lines(mutation: Mutation) -> list[str]:
    lines = [f"  set {name}: {value}" for name, value in mutation.set_headers]
    lines += [f"  remove {name}" for name in mutation.remove_headers]
    return [*lines, "  clear_route_cache: true"] if mutation.clear_route_cache else lines


def _verdict_line(explanation: engine.Explanation, verdict: engine.Verdict, width: int) -> str:
    name = verdict.policy.name.ljust(width)
    if verdict.policy is explanation.policy:
        return click.style(f"  {name}  decides: every field holds", fg="green")
    if verdict.failed is None and verdict.policy.dry_run:
        return f"  {name}  would match too, but is a dry run"
    if verdict.failed is None:
        return f"  {name}  would match too, but comes later"
    got = "nothing" if verdict.got is None else repr(verdict.got)
    return click.style(f"  {name}  {verdict.failed}: expected {verdict.expected}, got {got}", dim=True)


def _decision_lines(explanation: engine.Explanation) -> list[str]:
    sampler, policy = explanation.sampler, explanation.policy
    fate = click.style("kept", fg="green") if explanation.sampled else click.style("not kept", fg="yellow")
    if explanation.reason is Reason.DISABLED:
        return [f"  {fate}: tracing.enabled is false, so nothing is decided here"]
    if explanation.reason is Reason.PARENT:
        return [f"  {fate}: the caller's traceparent says so (parent: respect)", f"  trace {explanation.trace_id}"]
    source = f"policy {policy.name}" if policy.name != DEFAULT_POLICY else "the default sampling"
    lines = [f"  {fate}: {source} samples {sampler_text.name(sampler)}", f"  trace {explanation.trace_id}"]
    if (assumption := sampler_text.assumption(sampler)) is not None:
        lines.append(f"  {assumption}")
    if (boost := sampler_text.boost(policy)) is not None:
        lines.append(f"  {boost}")
    random, threshold = explanation.randomness, sampler_text.threshold(sampler)
    if random is not None and threshold is not None:
        lines.append(f"  R = {random:014x} {'>=' if random >= threshold else '<'} T = {threshold:014x}")
    return lines
