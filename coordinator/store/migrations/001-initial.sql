-- Names are interned: an outcome carries three small integers in place of three texts.

create table meta (
  key text primary key,
  value text not null
) without rowid, strict;

create table namespace (
  id integer primary key,
  name text not null unique,
  created_at_ms integer not null
) strict;

-- libp2p peer ids that appear in grants and outcomes, admitted or not.
create table peer (
  id integer primary key,
  name text not null unique
) strict;

create table node (
  peer_id integer primary key references peer (id),
  name text not null,
  -- JSON list, null for every namespace.
  namespaces text,
  admitted_at_ms integer not null,
  token_id text not null
) strict;

create table grp (
  id integer primary key,
  guid text not null unique,
  namespace_id integer not null references namespace (id),
  name text not null,
  -- The GroupSpec as JSON; limits are changed in place.
  spec text not null,
  created_at_ms integer not null,
  state text not null,
  terminated_at_ms integer,
  -- Kept at every commit, never counted.
  submitted integer not null default 0,
  succeeded integer not null default 0,
  failed integer not null default 0
) strict;
create index grp_by_namespace on grp (namespace_id, id);

-- The narrow part of a batch; its done_count changes at every commit, its block never.
create table batch (
  id integer primary key,
  namespace_id integer not null references namespace (id),
  group_id integer not null references grp (id),
  client_batch text not null,
  block_hash text not null,
  task_count integer not null,
  at_ms integer not null,
  submitted_after integer not null,
  done_count integer not null default 0
) strict;
create unique index batch_by_client on batch (namespace_id, client_batch);
create index batch_by_group on batch (group_id, id);
-- Only what is open is looked for by namespace in order; done batches leave this index.
create index batch_open on batch (namespace_id, id) where done_count < task_count;

create table block (
  batch integer primary key,
  bytes blob not null
) strict;

-- One row per run of tasks granted together: the ledger of attempts.
create table grant_run (
  batch integer not null,
  lo integer not null,
  attempt integer not null,
  task_count integer not null,
  peer_id integer not null,
  at_ms integer not null,
  primary key (batch, lo, attempt)
) without rowid, strict;

-- Ends that did not settle their task; what settled it is in its outcome.
create table attempt_end (
  task_key integer not null,
  attempt integer not null,
  peer_id integer not null,
  ending text not null,
  charged integer not null,
  message text not null,
  at_ms integer not null,
  primary key (task_key, attempt)
) without rowid, strict;

-- Running tasks that a user cancelled; kept until their batch goes.
create table cancel_asked (
  task_key integer primary key,
  at_ms integer not null
) strict;

-- task_key = batch * 65536 + index. Append-only: a second row for a task is refused by the key.
create table outcome (
  task_key integer primary key,
  namespace_id integer not null,
  number integer not null,
  group_id integer not null,
  attempt integer not null,
  peer_id integer,
  -- 0 success, then the failure codes in the order of the wire.
  status integer not null,
  runtime_ms real not null,
  peak_memory_bytes integer not null,
  log_bytes integer not null,
  submitted_at_ms integer not null,
  started_at_ms integer,
  at_ms integer not null,
  -- JSON of the Failure; null on success.
  failure text,
  -- Last, so that the columns before it are read without its overflow pages.
  result blob not null
) strict;
create unique index outcome_by_namespace on outcome (namespace_id, number);
create index outcome_by_group on outcome (group_id, number);

-- Kept pieces of an attempt's output.
create table log_chunk (
  task_key integer not null,
  attempt integer not null,
  start integer not null,
  size integer not null,
  bytes blob not null,
  primary key (task_key, attempt, start)
) without rowid, strict;

-- How much of an attempt's output has arrived, the cut part too.
create table log_end (
  task_key integer not null,
  attempt integer not null,
  end_offset integer not null,
  primary key (task_key, attempt)
) without rowid, strict;

create table token (
  id text primary key,
  purpose text not null,
  secret_hash text not null unique,
  label text not null,
  role text,
  -- JSON list, null for every namespace.
  namespaces text,
  created_at_ms integer not null,
  expires_at_ms integer,
  revoked_at_ms integer,
  uses_left integer
) strict;

create table instance (
  id text primary key,
  pool text not null,
  state text not null,
  handle text not null,
  reason text not null,
  requested_at_ms integer not null,
  ended_at_ms integer
) strict;

-- Which namespaces may read a blob, and which nodes have put it.
create table blob_namespace (
  hash text not null,
  namespace_id integer not null,
  primary key (hash, namespace_id)
) without rowid, strict;
create table blob_peer (
  hash text not null,
  peer_id integer not null,
  primary key (hash, peer_id)
) without rowid, strict;
