import io
from typing import Any, Dict

class TaskOutput:
    tuid: str
    name: str
    href: str
    bytes: int
    media_type: str
    sha256: str
    metadata: Dict[str, Any]
    def open(self) -> io.BufferedReader: ...
    def read(self) -> Any: ...
    def download(self, path: str = ...) -> str: ...
