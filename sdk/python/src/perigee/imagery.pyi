from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from perigee.tiles import Tile as Tile
from perigee.tiles import tile_from_key as tile_from_key
from perigee.tiles import tile_from_latlon as tile_from_latlon
from perigee.tiles import tiles_from_shape as tiles_from_shape

MOUNT_ROOT: str

def open(uri: str) -> str: ...
def prefetch(uris: Sequence[str]) -> None: ...
def read(
    uri: str,
    bands: Union[int, str, Sequence[Union[int, str]], None] = ...,
    window: Optional[Tuple[int, int, int, int]] = ...,
    bounds: Optional[Tuple[float, float, float, float]] = ...,
    resolution: Optional[float] = ...,
    srs: Optional[str] = ...,
    resampler: str = ...,
) -> Tuple[Any, Dict[str, Any]]: ...
LIKES: Any

def write(
    name: str,
    array: Any,
    like: Any = ...,
    transform: Any = ...,
    crs: Optional[str] = ...,
    nodata: Any = ...,
    order: Optional[str] = ...,
    resampler: Optional[str] = ...,
    bands: Optional[Sequence[str]] = ...,
    datetime: Any = ...,
    properties: Optional[Dict[str, Any]] = ...,
) -> Dict[str, Any]: ...
def ndarray(
    inputs: Union[str, Sequence[str]],
    bands: Optional[Sequence[Union[int, str]]] = ...,
    scales: Optional[List[Any]] = ...,
    data_type: Optional[str] = ...,
    srs: Optional[str] = ...,
    resolution: Optional[float] = ...,
    dimensions: Optional[Tuple[int, int]] = ...,
    bounds: Optional[Tuple[float, float, float, float]] = ...,
    bounds_srs: Optional[str] = ...,
    resampler: str = ...,
    order: str = ...,
) -> Tuple[Any, Dict[str, Any]]: ...
