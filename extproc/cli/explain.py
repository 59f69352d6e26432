"""`extproc explain`: which policy decides on a request, and why."""

import json
import re
import secrets
from pathlib import Path
from urllib.parse import urlsplit

import click

from extproc.cli.arguments import Parsed, load_policy
from extproc.engine import explain as engine
from extproc.engine.outcome import Reason
from extproc.engine.wire import Mutation
from extproc.policy.plan import DEFAULT_POLICY, SamplerKind


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


@click.command("explain")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("method")
@click.argument("url")
@click.option("-H", "--header", "headers", type=_HEADER, multiple=True, help="A request header, 'name: value'.")
@click.option("--service", default="", help="The upstream cluster that the route leads to.")
@click.option("--trace-id", type=_TRACE_ID, help="The trace's id, 32 hex digits.  [default: a random one]")
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print it.",
)
def command(
    file: Path,
    method: str,
    url: str,
    headers: tuple[tuple[str, str], ...],
    service: str,
    trace_id: str | None,
    output: str,
) -> None:
    """Show what the policy FILE does with one request: METHOD URL.

    Every policy is listed with the first field that fails, then the decision with the sampler's arithmetic, the tags
    and what Envoy is told. URL is a path with its query, or a whole URL whose host is then matched too.

    \b
    extproc explain policy.yaml GET /api/users/42
    extproc explain policy.yaml POST https://shop.example.com/api/orders/7 --service order-service -H 'x-tier: gold'
    extproc explain policy.yaml GET / -H 'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    """  # noqa: D301  click reads the backspace
    plan = load_policy(file)
    request = _pseudo_headers(method, url)
    for name, value in headers:
        key = ":authority" if name == "host" else name
        request[key] = f"{request[key]},{value}" if key in request and key != ":authority" else value
    explanation = engine.explain(plan, request, service, trace_id or secrets.token_hex(16))
    click.echo(json.dumps(_as_data(explanation), indent=2) if output == "json" else _as_text(explanation))


def _pseudo_headers(method: str, url: str) -> dict[str, str]:
    parts = urlsplit(url)
    path = parts.path or "/"
    return {
        ":method": method.upper(),
        ":scheme": parts.scheme or "http",
        ":authority": parts.netloc.rpartition("@")[2],
        ":path": f"{path}?{parts.query}" if parts.query else path,
    }


def _as_data(explanation: engine.Explanation) -> dict[str, object]:
    sampler, mutation = explanation.sampler, explanation.mutation
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
            "sampling": {
                "policy": sampler.kind,
                "ratio": sampler.probability,
                "parent": "respect" if sampler.respect_parent else "ignore",
            },
            "randomness": None if explanation.randomness is None else f"{explanation.randomness:014x}",
            "threshold": f"{sampler.threshold:014x}",
        },
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
    ratio = f" {sampler.probability:g}" if sampler.kind is SamplerKind.PROBABILISTIC else ""
    comparison = ">=" if explanation.sampled else "<"
    return [
        f"  {fate}: {source} samples {sampler.kind}{ratio}",
        f"  trace {explanation.trace_id}",
        f"  R = {explanation.randomness:014x} {comparison} T = {sampler.threshold:014x}",
    ]
