"""Whether a node may give None, as far as its annotation tells."""

from __future__ import annotations

from nodeflow.graph import NodeSpec
from postprocess.hints import gives, shown
from postprocess.valuefit import holds


def never_none(spec: NodeSpec) -> str:
    """What a node is annotated to give, when None is none of it; empty when it may give None, or doesn't say."""
    hint = gives(spec)
    return "" if holds(None, hint) else shown(hint)
