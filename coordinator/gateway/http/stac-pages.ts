/** Documents of the STAC API that do not depend on what is in the catalogue. */
import { collectionUrl, mediaTypes } from '../../stac/documents.ts';

/** What holds here, and no more (a test asks for each). */
export const conformanceClasses: readonly string[] = [
  'https://api.stacspec.org/v1.0.0/core',
  'https://api.stacspec.org/v1.0.0/collections',
  'https://api.stacspec.org/v1.0.0/ogcapi-features',
  'https://api.stacspec.org/v1.0.0/item-search',
  'https://api.stacspec.org/v1.0.0/item-search#fields',
  'https://api.stacspec.org/v1.0.0/item-search#sort',
  'https://api.stacspec.org/v1.0.0/item-search#query',
  'https://api.stacspec.org/v1.0.0/item-search#filter',
  'http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core',
  'http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson',
  'http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter',
  'http://www.opengis.net/spec/cql2/1.0/conf/cql2-json',
  'http://www.opengis.net/spec/cql2/1.0/conf/basic-cql2',
  'http://www.opengis.net/spec/cql2/1.0/conf/advanced-comparison-operators',
];

const openApiType = 'application/vnd.oai.openapi+json;version=3.0';
const queryablesRelation = 'http://www.opengis.net/def/rel/ogc/1.0/queryables';

/** The page at the root, which leads to all else. */
export function landingPage(
  root: string,
  seen: { namespace: string; collections: readonly { id: string; title?: string }[] },
): object {
  const { json, geojson } = mediaTypes;
  return {
    type: 'Catalog',
    stac_version: '1.1.0',
    id: 'perigee',
    title: 'Perigee',
    description: `Imagery that ${seen.namespace} may search.`,
    conformsTo: conformanceClasses,
    links: [
      { rel: 'root', type: json, href: root },
      { rel: 'self', type: json, href: root },
      { rel: 'service-desc', type: openApiType, href: `${root}/api` },
      { rel: 'conformance', type: json, href: `${root}/conformance` },
      { rel: 'data', type: json, href: `${root}/collections` },
      { rel: 'search', type: geojson, href: `${root}/search`, method: 'GET' },
      { rel: 'search', type: geojson, href: `${root}/search`, method: 'POST' },
      { rel: queryablesRelation, type: 'application/schema+json', href: `${root}/queryables` },
      ...seen.collections.map(({ id, title }) => ({
        rel: 'child',
        type: json,
        title: title ?? id,
        href: collectionUrl(root, id),
      })),
    ],
  };
}

/** What a filter may name: every property of items, of which these are always there. */
export function queryables(url: string): object {
  return {
    $schema: 'https://json-schema.org/draft/2019-09/schema',
    $id: url,
    type: 'object',
    title: 'Queryables',
    properties: {
      id: { type: 'string' },
      collection: { type: 'string' },
      datetime: { type: 'string', format: 'date-time' },
      'eo:cloud_cover': { type: 'number', minimum: 0, maximum: 100 },
    },
    additionalProperties: true,
  };
}

/** The API in its own words. */
export function openApi(root: string): object {
  const get = (summary: string, parameters: readonly object[] = []): object => ({
    get: { summary, parameters, responses: { 200: { description: summary } } },
  });
  const collection = pathParameter('collectionId');
  return {
    openapi: '3.0.3',
    info: { title: 'Perigee', version: '1', description: 'A STAC API; docs/api.md has the rest.' },
    servers: [{ url: root }],
    security: [{ bearer: [] }],
    components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
    paths: {
      '/': get('The page that leads to all else.'),
      '/conformance': get('The conformance classes that hold.'),
      '/queryables': get('What a filter may name.'),
      '/collections': get('All collections.'),
      '/collections/{collectionId}': get('One collection.', [collection]),
      '/collections/{collectionId}/queryables': get('What a filter may name.', [collection]),
      '/collections/{collectionId}/items': get('Items of a collection.', [
        collection,
        ...searchParameters,
      ]),
      '/collections/{collectionId}/items/{featureId}': get('One item.', [
        collection,
        pathParameter('featureId'),
      ]),
      '/search': {
        ...get('Items that fit.', [
          ...searchParameters,
          queryParameter('collections'),
          queryParameter('ids'),
          queryParameter('intersects'),
        ]),
        post: {
          summary: 'Items that fit.',
          requestBody: { content: { [mediaTypes.json]: { schema: { type: 'object' } } } },
          responses: { 200: { description: 'Items that fit.' } },
        },
      },
    },
  };
}

const searchParameters = [
  'bbox',
  'datetime',
  'limit',
  'token',
  'sortby',
  'fields',
  'query',
  'filter',
].map(queryParameter);

function pathParameter(name: string): object {
  return { name, in: 'path', required: true, schema: { type: 'string' } };
}

function queryParameter(name: string): object {
  return { name, in: 'query', schema: { type: 'string' } };
}
