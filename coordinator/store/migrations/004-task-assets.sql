-- What the tasks of a batch read, as it was sent; batches whose tasks do not say have no row.
create table batch_assets (
  batch integer primary key,
  bytes blob not null
) strict;
