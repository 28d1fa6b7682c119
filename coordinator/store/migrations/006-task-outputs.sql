-- Files that tasks gave out, saved with the outcome; their bytes are blobs.
create table task_output (
  task_key integer not null,
  name text not null,
  group_id integer not null,
  hash text not null,
  size_bytes integer not null,
  media_type text not null,
  -- JSON object of what the writer told.
  metadata text not null,
  primary key (task_key, name)
) without rowid, strict;
create index task_output_by_group on task_output (group_id, task_key, name);
