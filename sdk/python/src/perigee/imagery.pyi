from perigee.tiles import Tile as Tile
from perigee.tiles import tile_from_key as tile_from_key
from perigee.tiles import tile_from_latlon as tile_from_latlon
from perigee.tiles import tiles_from_shape as tiles_from_shape

MOUNT_ROOT: str

def open(uri: str) -> str: ...
