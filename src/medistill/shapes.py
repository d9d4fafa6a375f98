"""Shapes of arrays in annotations, for what must run where jaxtyping is not installed.

They are checked in tests alone, so that nothing but their names is needed to predict.
"""

from typing import TYPE_CHECKING, Any

__all__ = ["Float", "Float32", "Shaped", "UInt8"]

try:
    from jaxtyping import Float, Float32, Shaped, UInt8
except ImportError:
    if not TYPE_CHECKING:

        class _Unchecked:
            """`UInt8[np.ndarray, "x y z"]` is `np.ndarray`."""

            def __class_getitem__(cls, item: Any) -> Any:
                return item[0]

        Float = Float32 = Shaped = UInt8 = _Unchecked
