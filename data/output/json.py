"""The one writer of JSON for users: it is valid, whatever the values are."""

from __future__ import annotations

import json
import math
from typing import Any


def json_text(value: Any, *, indent: int | None = 2) -> str:
    r"""Return a value as JSON; numbers that are not finite become null.

    All letters beyond ASCII are escaped, so that no terminal obeys a name.

    Examples:
        >>> json_text({"p": float("nan"), "name": chr(27)}, indent=None)
        '{"p": null, "name": "\\u001b"}'
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    """Return a value whose numbers JSON can write: it has neither NaN nor infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
