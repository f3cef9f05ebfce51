"""What a cluster is configured to do, and the plan that says it in the checker's words."""

from __future__ import annotations

from typing import Final

from tests.cluster.plan import BreakerPlan, LanePlan, Plan

SECRET: Final = "cluster-secret-0123456789"
TOKEN: Final = "t" * 24

_RETRY: Final = "retry: {schedule: [200ms, 500ms, " + ", ".join(["1s"] * 60) + "]}"
LANES: Final = {
    "plain": "concurrency: 16, breaker: none",
    "tight": "concurrency: 3, breaker: none",
    "paced": "concurrency: 8, rate: 5/s, breaker: none",
    "row": "concurrency: 6, order_by: $.data.key, breaker: none",
    "sick": "concurrency: 4, breaker: {share: 50%, of: 4, within: 5s, pause: 1s}",
    "first": "concurrency: 4, breaker: none, once: {per: $.data.key, within: 1h}",
    "bundle": "concurrency: 4, breaker: none, digest: {every: 1s, per: $.data.key, max: 5}",
    "news": "concurrency: 4, breaker: none, changed: {of: $.data.value, per: $.data.key}",
}

#: Each type of event goes to the lane of its name.
RULES: Final = "rules:\n" + "".join(
    f"  - {{name: to {lane}, from: agiled, on: {lane}, do: {lane}}}\n" for lane in LANES
)
#: Another version of the same: one of them goes somewhere else besides.
OTHER_RULES: Final = RULES + "  - {name: also tight, from: agiled, on: plain, do: tight}\n"


def config(*, listen: str, admin: str, store: str, destination: str) -> str:
    """Return a node's `hookline.yaml`. It is told its name by its environment."""
    lanes = "".join(
        f'  {lane}: {{record: {{url: "{destination}", node: "${{NODE}}"}}, timeout: 10s, {_RETRY}, {limits}}}\n'
        for lane, limits in LANES.items()
    )
    return (
        f"version: 1\nlisten: {listen}\nadmin: {{listen: '{admin}', token: {TOKEN}}}\nstore: {store}\n"
        f"rules: rules.yaml\nplugins: plugins\nsources: {{agiled: {{type: agiled, secret: {SECRET}}}}}\n"
        f"destinations:\n{lanes}"
    )


def plan(*, lease_s: float, node_lease_s: float) -> Plan:
    """Return what is promised of it."""
    down = BreakerPlan(share=0.5, least=4, within_s=5, pause_s=1)
    return Plan(
        lanes={
            "plain": LanePlan(concurrency=16),
            "tight": LanePlan(concurrency=3),
            "paced": LanePlan(concurrency=8, rate=5),
            "row": LanePlan(concurrency=6, order_by="key"),
            "sick": LanePlan(concurrency=4, breaker=down),
            "first": LanePlan(concurrency=4, gate="once"),
            "bundle": LanePlan(concurrency=4, gate="digest", most=5),
            "news": LanePlan(concurrency=4, gate="changed"),
        },
        routes={lane: (frozenset({lane}),) for lane in LANES}
        | {"plain": (frozenset({"plain"}), frozenset({"plain", "tight"}))},
        lease_s=lease_s,
        node_lease_s=node_lease_s,
    )
