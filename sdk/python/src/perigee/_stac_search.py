"""Searches of the catalogue, with pystac-client's parameter names and forms of values."""
import datetime as _datetime
import json
import re

from perigee._compat import native, quote, string_types
from perigee._stac_item import UTC, Item, ItemCollection
from perigee.errors import BadRequestError

#: Items fetched at once.
PAGE_ITEMS = 100

_TEST = re.compile(r'^\s*([^<>=!]+?)\s*(<=|>=|!=|<>|==|<|>|=)\s*(.*?)\s*$')
_OPERATORS = {'<=': 'lte', '>=': 'gte', '!=': 'neq', '<>': 'neq', '==': 'eq', '<': 'lt', '>': 'gt', '=': 'eq'}


class ItemSearch(object):
    """A search whose items are fetched as they are read; iterate over it, or hand it to ``map``."""

    def __init__(self, client, parameters, max_items=None, limit=None):
        self._client = client
        self._parameters = parameters
        self._max_items = max_items
        self._limit = limit or PAGE_ITEMS

    def items(self):
        """The items one by one, latest first unless ``sortby`` says otherwise.

        Raises
        ------
        NotFoundError
            Nothing was found, and a collection that was named is not there.
        """
        for page in self.pages():
            for item in page:
                yield item

    __iter__ = items

    def items_as_dicts(self):
        """As `items`, as plain data."""
        for item in self.items():
            yield item.to_dict()

    def pages(self):
        """Lists of items as they are fetched."""
        left = self._max_items
        body = dict(self._parameters)
        is_first = True
        while body is not None and (left is None or left > 0):
            body['limit'] = self._limit if left is None else min(self._limit, left)
            answer = self._post(body)
            items = ItemCollection(Item(document) for document in answer['features'])
            if is_first and not items:
                self._require_collections()
            is_first = False
            if left is not None:
                left -= len(items)
            if items:
                yield items
            following = [link for link in answer['links'] if link['rel'] == 'next']
            body = dict(self._parameters, **_plain_keys(following[0]['body'])) if following else None

    def item_collection(self):
        """All items at once.

        Returns
        -------
        ItemCollection
            A list, with ``to_dict``.
        """
        return ItemCollection(self.items())

    def matched(self):
        """How many items fit, whatever ``max_items`` says."""
        return self._post(dict(self._parameters, limit=1))['numberMatched']

    def _post(self, body):
        return self._client._transport.send_json('POST', '/v1/stac/search', body)

    def _require_collections(self):
        for collection in self._parameters.get('collections') or []:
            self._client._transport.get_json('/v1/stac/collections/%s' % quote(collection, safe=''))

    def __repr__(self):
        return 'ItemSearch(%s)' % json.dumps(self._parameters, sort_keys=True)[:200]


def search_parameters(collections=None, ids=None, bbox=None, intersects=None, datetime=None, query=None,
                      filter=None, sortby=None, fields=None):  # noqa: A002 - STAC's own name
    """The body of a search; what is None is left out."""
    parameters = {
        'collections': _texts(collections, 'collections'),
        'ids': _texts(ids, 'ids'),
        'bbox': _box(bbox),
        'intersects': _geometry(intersects),
        'datetime': format_interval(datetime),
        'query': _query(query),
        'filter': json.loads(filter) if isinstance(filter, string_types) else filter,
        'sortby': _listed(sortby),
        'fields': _fields(fields),
    }
    return dict((name, value) for name, value in parameters.items() if value is not None)


def format_interval(value):
    """A time, a text, or a pair of these (None is an open end) as STAC writes it."""
    if value is None or isinstance(value, string_types):
        return native(value)
    if isinstance(value, (list, tuple)):
        if len(value) == 1:
            return format_interval(value[0])
        if len(value) != 2:
            raise BadRequestError('datetime has %d parts.' % len(value), fix='give one time or a pair of them')
        return '/'.join('..' if end is None else format_interval(end) for end in value)
    if isinstance(value, _datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(UTC)
        return value.strftime('%Y-%m-%dT%H:%M:%S') + '.%06dZ' % value.microsecond
    if isinstance(value, _datetime.date):
        return value.isoformat()
    if hasattr(value, 'to_pydatetime'):
        return format_interval(value.to_pydatetime())
    raise BadRequestError('datetime is a %s.' % type(value).__name__,
                          fix="give a text such as '2001-07', a datetime, or a pair of them")


def _texts(value, name):
    if value is None:
        return None
    values = value.split(',') if isinstance(value, string_types) else _iterated(value)
    # Collections and items of pystac stand for their ids.
    texts = [native(each) if isinstance(each, string_types) else getattr(each, 'id', None) for each in values]
    if not all(isinstance(each, string_types) for each in texts):
        raise BadRequestError('%s must be texts: %r' % (name, value))
    return texts


def _iterated(value):
    return list(value) if hasattr(value, '__iter__') else [value]


def _box(value):
    if value is None:
        return None
    parts = value.split(',') if isinstance(value, string_types) else list(value)
    try:
        return [float(part) for part in parts]
    except (TypeError, ValueError):
        raise BadRequestError('bbox must be numbers: %r' % (value,), fix='give west, south, east, north in degrees')


def _geometry(value):
    if value is None:
        return None
    if isinstance(value, string_types):
        value = json.loads(value)
    shape = getattr(value, '__geo_interface__', value)
    found = _geometries(shape)
    if not found:
        raise BadRequestError('intersects has no geometry: %r' % (value,),
                              fix='give GeoJSON, or something with __geo_interface__')
    return found[0] if len(found) == 1 else {'type': 'GeometryCollection', 'geometries': found}


def _geometries(shape):
    kind = shape.get('type') if hasattr(shape, 'get') else None
    if kind == 'FeatureCollection':
        return [geometry for feature in shape['features'] for geometry in _geometries(feature)]
    if kind == 'Feature':
        return _geometries(shape['geometry']) if shape.get('geometry') else []
    # Tuples, as shapely has them, are lists in JSON; anything else was checked by the coordinator.
    return [dict(shape)] if kind else []


def _query(value):
    if value is None or hasattr(value, 'keys'):
        return value
    tests = [value] if isinstance(value, string_types) else list(value)
    query = {}
    for test in tests:
        match = _TEST.match(test)
        if match is None or not match.group(3):
            raise BadRequestError('%r is no test of a property.' % (test,),
                                  fix="write it like 'eo:cloud_cover<20' or 'platform=landsat-7'")
        name, sign, text = match.groups()
        query.setdefault(name, {})[_OPERATORS[sign]] = _value(text)
    return query


def _value(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def _listed(value):
    if value is None:
        return None
    if isinstance(value, string_types):
        return value.split(',')
    return [value] if hasattr(value, 'keys') else list(value)


def _fields(value):
    if value is None or hasattr(value, 'keys'):
        return value
    names = value.split(',') if isinstance(value, string_types) else list(value)
    return {'include': [name.lstrip('+') for name in names if not name.startswith('-')],
            'exclude': [name[1:] for name in names if name.startswith('-')]}


def _plain_keys(mapping):
    return dict((native(key), value) for key, value in mapping.items())
