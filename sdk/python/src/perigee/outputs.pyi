from typing import IO, Any, Dict, Mapping, Optional, Union

def save_output(
    name: str,
    source: Union[str, bytes, IO[bytes], None] = ...,
    data: Optional[bytes] = ...,
    media_type: Optional[str] = ...,
    metadata: Optional[Mapping[str, Any]] = ...,
) -> Dict[str, Any]: ...
def check_name(name: str) -> str: ...
def describe_call() -> Optional[Dict[str, Any]]: ...
