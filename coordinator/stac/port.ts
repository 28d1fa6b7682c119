/** The catalogue of imagery as the gateway sees it: STAC documents of namespaces, and searches. */
import type { NamespaceName } from '../../protocol/wire/ids.ts';

/** Whose collections a change touches: a namespace's, or with null those that everybody reads. */
export type Owner = NamespaceName | null;

/** Answers are JSON documents as bytes, ready to be sent. */
export interface StacCalls {
  /** Takes a collection, or replaces its document and keeps its items. */
  putCollection(input: { owner: Owner; document: unknown }): { id: string; created: boolean };
  /** Takes one item, a FeatureCollection, or a list of items, as JSON; all of them or none. */
  putItems(input: { owner: Owner; collection: string; bytes: Uint8Array }): {
    collection: string;
    created: number;
    replaced: number;
  };
  /** @throws PerigeeError not_found */
  removeCollection(input: { owner: Owner; id: string }): { id: string; items: number };
  /** @throws PerigeeError not_found */
  removeItem(input: { owner: Owner; collection: string; id: string }): { id: string };
  listCollections(input: Viewer): Uint8Array;
  /** @throws PerigeeError not_found naming near ids */
  getCollection(input: Viewer & { id: string }): Uint8Array;
  /** @throws PerigeeError not_found */
  getItem(input: Viewer & { collection: string; id: string }): Uint8Array;
  /** @throws PerigeeError invalid_request, timed_out, cursor_expired */
  search(input: Viewer & SearchCall): Uint8Array;
  removeNamespace(input: { namespace: NamespaceName }): { collections: number };
}

/** Who reads, and where links of the answer point: null leaves them out. */
export interface Viewer {
  namespace: NamespaceName;
  root: string | null;
}

export interface SearchCall {
  /** The parameters of STAC's item search; unknown ones are refused. */
  parameters: Readonly<Record<string, unknown>>;
  page: SearchedPage;
}

/** How the next page is asked for. */
export interface SearchedPage {
  method: 'GET' | 'POST';
  /** Its own address without its query. */
  url: string;
  /** What the address says of collections beside the parameters. */
  collections?: readonly string[];
}

/** The same over a thread of its own. */
export interface StacCatalogue {
  call<Name extends keyof StacCalls>(
    name: Name,
    input: Parameters<StacCalls[Name]>[0],
  ): Promise<ReturnType<StacCalls[Name]>>;
  stop(): Promise<void>;
}
