-- Images that were built or brought in; removed ones stay as rows (coordinator/images/image.ts).
create table image (
  id integer primary key,
  digest text not null unique,
  state text not null,
  request_key text not null,
  generation integer not null,
  -- JSON of the ImageSource.
  source text not null,
  -- JSON list of {name, namespace}.
  names text not null,
  python_implementation text not null,
  python_version text not null,
  arch text not null,
  size_bytes integer not null,
  base text,
  -- JSON of names and versions.
  packages text not null,
  archive_hash text,
  archive_bytes integer,
  failure_message text,
  failure_fix text,
  created_at_ms integer not null,
  ended_at_ms integer
) strict;

-- What builds print.
create table image_log (
  digest text not null,
  start integer not null,
  bytes blob not null,
  primary key (digest, start)
) without rowid, strict;
