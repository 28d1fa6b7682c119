-- When a blob was last put, or referred to by a group or a result.
create table blob (
  hash text primary key,
  used_at_ms integer not null
) without rowid, strict;
insert into blob (hash, used_at_ms)
select hash, cast(unixepoch('subsec') * 1000 as integer)
from (select hash from blob_namespace union select hash from blob_peer);

-- Batches that are gone but for rows that are still to be deleted, a few at a time.
create table removed_batch (
  batch integer primary key
) strict;

-- The largest batch and outcome numbers of a namespace that were removed: neither is given again.
create table removed_until (
  namespace_id integer primary key,
  batch integer not null,
  outcome integer not null
) strict;
