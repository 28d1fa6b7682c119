import datetime as _datetime
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from perigee.client import AsyncTasks

from perigee.tiles import Tile as Tile
from perigee.tiles import tile_from_key as tile_from_key
from perigee.tiles import tile_from_latlon as tile_from_latlon
from perigee.tiles import tiles_from_shape as tiles_from_shape

MOUNT_ROOT: str

def open(uri: str) -> str: ...
class Asset:
    href: str
    @property
    def title(self) -> Optional[str]: ...
    @property
    def media_type(self) -> Optional[str]: ...
    @property
    def roles(self) -> List[str]: ...
    def to_dict(self) -> Dict[str, Any]: ...

class Item:
    def __init__(self, document: Dict[str, Any]) -> None: ...
    @property
    def id(self) -> str: ...
    @property
    def collection(self) -> Optional[str]: ...
    @property
    def geometry(self) -> Optional[Dict[str, Any]]: ...
    @property
    def bbox(self) -> Optional[List[float]]: ...
    @property
    def properties(self) -> Dict[str, Any]: ...
    @property
    def datetime(self) -> Optional[_datetime.datetime]: ...
    @property
    def assets(self) -> Dict[str, Asset]: ...
    @property
    def __geo_interface__(self) -> Dict[str, Any]: ...
    def to_dict(self) -> Dict[str, Any]: ...

class ItemCollection(List[Item]):
    @property
    def items(self) -> List[Item]: ...
    def to_dict(self) -> Dict[str, Any]: ...

class ItemSearch:
    def items(self) -> Iterator[Item]: ...
    def __iter__(self) -> Iterator[Item]: ...
    def items_as_dicts(self) -> Iterator[Dict[str, Any]]: ...
    def pages(self) -> Iterator[ItemCollection]: ...
    def item_collection(self) -> ItemCollection: ...
    def matched(self) -> int: ...

_Time = Union[str, _datetime.datetime, _datetime.date]

def search(
    collections: Union[str, Sequence[str], None] = ...,
    bbox: Optional[Sequence[float]] = ...,
    datetime: Union[_Time, Sequence[Optional[_Time]], None] = ...,
    intersects: Any = ...,
    query: Union[str, Sequence[str], Mapping[str, Mapping[str, Any]], None] = ...,
    filter: Union[str, Mapping[str, Any], None] = ...,
    ids: Union[str, Sequence[str], None] = ...,
    sortby: Any = ...,
    fields: Any = ...,
    max_items: Optional[int] = ...,
    limit: Optional[int] = ...,
    client: Optional[AsyncTasks] = ...,
) -> ItemSearch: ...
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
