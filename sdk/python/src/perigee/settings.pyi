from typing import Any, Mapping, NamedTuple

RETRY_SECONDS: float
FIRST_RETRY_SECONDS: float

class Settings(NamedTuple):
    url: str
    token: str
    ca_path: str | None
    retry_seconds: float
    first_retry_seconds: float

def load_settings(
    url: str | None = None, token: str | None = None, environ: Mapping[str, str] | None = None
) -> Settings: ...
def config_path(environ: Mapping[str, str]) -> str: ...
def read_config(path: str) -> dict[str, Any] | None: ...
