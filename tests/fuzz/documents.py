"""Strategies for JSON: any document, and a valid one with a few places changed."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

numbers = st.one_of(
    st.integers(-3, 70),
    st.sampled_from([2**31, 2**53, 2**63, 2**64, -(2**63), 10**30, 10**400]),
    st.floats(),
    st.sampled_from([0.5, 1e-300, 1e300]),
)
names = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["name", "model", "config", "0", "$tensor", "$tuple", "$pairs", "$float", "self", "options"]),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, names)
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4)),
    max_leaves=8,
)
deep = st.integers(100, 100_000).map(lambda depth: "[" * depth)


@st.composite
def changed(draw: st.DrawFn, tree: Any, most: int = 3) -> Any:
    """`tree` with one to `most` nodes replaced, removed, doubled or renamed."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, most))):
        node: Any = tree
        parent: Any = None
        key: Any = None
        while isinstance(node, (dict, list)) and node and (parent is None or draw(st.booleans())):
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            parent, key = node, draw(st.sampled_from(keys))
            node = parent[key]
        if parent is None:
            return draw(documents)
        action = draw(st.sampled_from(["replace", "replace", "retype", "remove", "add"]))
        if action == "replace":
            parent[key] = draw(documents)
        elif action == "retype":
            parent[key] = draw(st.sampled_from([str(node), [node], {"a": node}, [node, node]]))
        elif action == "remove":
            del parent[key]
        elif isinstance(parent, dict):
            parent[draw(names)] = draw(st.one_of(documents, st.just(node)))
        else:
            parent.append(copy.deepcopy(node))
    return tree


def texts(tree: Any) -> st.SearchStrategy[str]:
    """Files that should hold `tree`: with places changed, any document, too deep, cut off or no JSON at all."""
    whole = json.dumps(tree)
    cut = st.integers(0, len(whole) - 1).map(lambda end: whole[:end])
    return st.one_of(changed(tree).map(_dumps), documents.map(_dumps), deep, cut, st.text(max_size=20))


def _dumps(tree: Any) -> str:
    return json.dumps(tree)
