-- Machines of clouds: what they cost, and which peer runs on them.
alter table instance add column offer text not null default 'process';
alter table instance add column price_per_hour real not null default 0;
alter table instance add column node text;
alter table instance add column cost real not null default 0;

-- What happened to the fleet, for people.
create table fleet_event (
  id integer primary key,
  at_ms integer not null,
  pool text not null,
  instance text,
  event text not null,
  text text not null,
  is_loud integer not null
) strict;
