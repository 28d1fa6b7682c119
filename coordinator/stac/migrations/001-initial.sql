-- Collections of a namespace; those that everybody reads have an empty one.
create table collection (
  key integer primary key,
  namespace text not null,
  id text not null,
  -- The document as it was given; null for one that was made because items named it.
  body text,
  item_count integer not null default 0,
  -- What its items have covered so far.
  west real,
  south real,
  east real,
  north real,
  start_ms integer,
  end_ms integer,
  unique (namespace, id)
) strict;

create table item (
  key integer primary key,
  collection integer not null references collection (key) on delete cascade,
  id text not null,
  -- What it is sorted by: its datetime, else the start of its interval.
  at_ms integer not null,
  start_ms integer not null,
  end_ms integer not null,
  -- Null for an item without a place; west is above east across the antimeridian.
  west real,
  south real,
  east real,
  north real,
  unique (collection, id)
) strict;

-- Items as a whole, without the links that the server makes; apart, so that rows of `item` are small and
-- many of them are looked through in little time.
create table document (
  key integer primary key references item (key) on delete cascade,
  body text not null
) strict;

create index item_at on item (at_ms desc, key desc);
create index item_collection_at on item (collection, at_ms desc, key desc);

-- Place and time (in seconds) of items, rounded outwards; 2 x key, and 2 x key + 1 for the part of an
-- item that lies beyond the antimeridian.
create virtual table item_box using rtree (
  id,
  west, east,
  south, north,
  start_s, end_s
);
