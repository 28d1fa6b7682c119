/** Makes the addresses in a STAC document whole: a relative one is told from the document's own. */

type Fields = Readonly<Record<string, unknown>>;

/** Whether an address stands for itself, as `https://…`, `s3://…` and `data:NAME/…` do. */
export function isAbsoluteHref(href: string): boolean {
  return /^[A-Za-z][A-Za-z0-9+.-]+:/.test(href);
}

/** `href` as seen from the document at `base`; undefined where the two make no address. */
export function resolveHref(href: string, base: string): string | undefined {
  if (isAbsoluteHref(href)) return href;
  if (!URL.canParse(href, base)) return undefined;
  return new URL(href, base).href;
}

/** The document with its links and assets as seen from `base`; what cannot be resolved stays. */
export function withResolvedHrefs<Document extends Fields>(
  document: Document,
  base: string,
): Document {
  const { links, assets } = document;
  return {
    ...document,
    ...(Array.isArray(links) ? { links: links.map((link) => resolveOne(link, base)) } : {}),
    ...(isFields(assets)
      ? {
          assets: Object.fromEntries(
            Object.entries(assets).map(([key, asset]) => [key, resolveOne(asset, base)]),
          ),
        }
      : {}),
  };
}

function resolveOne(value: unknown, base: string): unknown {
  if (!isFields(value) || typeof value['href'] !== 'string') return value;
  return { ...value, href: resolveHref(value['href'], base) ?? value['href'] };
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
