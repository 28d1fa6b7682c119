/** Checks of what nodes say of each other through the coordinator: who has what, and where they are. */
import type { AssetId, ImageDigest, NamespaceName, NodeId, OriginId } from '../wire/ids.ts';
import {
  holdingsChangesMax,
  locatedNodesMax,
  locateItemsMax,
  originPauseMsMax,
  originsMax,
  peerAddressesMax,
} from '../wire/limits.ts';
import type {
  Holdings,
  ImageryReads,
  Locate,
  Located,
  LocatedNode,
  OriginDemand,
  OriginShares,
} from '../wire/messages.ts';
import type { Check } from './check-field.ts';
import {
  checkBoolean,
  checkFields,
  checkInteger,
  checkList,
  checkNullable,
  checkNumber,
  checkPattern,
  checkText,
} from './check-field.ts';

type Fields = Readonly<Record<string, unknown>>;

const checkAsset = checkPattern(/^[0-9a-f]{16}$/, 'an asset id') as Check<AssetId>;
const checkDigest = checkPattern(/^sha256:[0-9a-f]{64}$/, 'an image digest') as Check<ImageDigest>;
const checkPeer = checkPattern(/^[1-9A-HJ-NP-Za-km-z]{20,120}$/, 'a peer id') as Check<NodeId>;
const checkNamespace = checkPattern(
  /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
  'a namespace name',
) as Check<NamespaceName>;
const checkCount = checkInteger(0);
const checkOrigin = checkPattern(/^[0-9a-f]{16}$/, 'an origin id') as Check<OriginId>;
const checkPause = checkNumber(0, originPauseMsMax);
const checkRate = checkNumber(0, 1e9);
const namespacesMax = 10_000;

/** Multiaddrs with a peer id; what they say is tried, never believed. */
export const checkPeerAddresses = checkList(checkText(300, 1), peerAddressesMax);

/** A node's holdings, whole or as changes. */
export function checkHoldings(fields: Fields): Holdings {
  return {
    kind: 'holdings',
    epoch: checkCount(fields['epoch'], 'holdings.epoch'),
    sequence: checkCount(fields['sequence'], 'holdings.sequence'),
    full: checkBoolean(fields['full'], 'holdings.full'),
    add: checkList(checkHolding, holdingsChangesMax)(fields['add'], 'holdings.add'),
    drop: checkList(checkAsset, holdingsChangesMax)(fields['drop'], 'holdings.drop'),
  };
}

/** What was read of imagery; nothing when it was left out. */
export function checkImageryReads(value: unknown): { imageryReads?: ImageryReads } {
  if (value === undefined) return {};
  const fields = checkFields(value, 'heartbeat.imageryReads');
  const count = (name: keyof ImageryReads): number =>
    checkCount(fields[name], `heartbeat.imageryReads.${name}`);
  return {
    imageryReads: {
      hits: count('hits'),
      misses: count('misses'),
      cacheBytes: count('cacheBytes'),
      peerBytes: count('peerBytes'),
      originBytes: count('originBytes'),
    },
  };
}

/** A node's question who has something. */
export function checkLocate(fields: Fields): Locate {
  return {
    kind: 'locate',
    request: checkCount(fields['request'], 'locate.request'),
    images: checkList(checkDigest, locateItemsMax)(fields['images'], 'locate.images'),
    assets: checkList(checkAsset, locateItemsMax)(fields['assets'], 'locate.assets'),
    peers: checkList(checkPeer, locateItemsMax)(fields['peers'], 'locate.peers'),
  };
}

/** The coordinator's answer to it. */
export function checkLocated(fields: Fields): Located {
  return {
    kind: 'located',
    request: checkCount(fields['request'], 'located.request'),
    nodes: checkList(checkNode, locatedNodesMax)(fields['nodes'], 'located.nodes'),
  };
}

/** How much a node wants to ask of origins. */
export function checkOriginDemand(fields: Fields): OriginDemand {
  return {
    kind: 'originDemand',
    origins: checkList(checkWanted, originsMax)(fields['origins'], 'originDemand.origins'),
  };
}

/** How much it may. */
export function checkOriginShares(fields: Fields): OriginShares {
  return {
    kind: 'originShares',
    nodes: checkCount(fields['nodes'], 'originShares.nodes'),
    requestsMax: checkCount(fields['requestsMax'], 'originShares.requestsMax'),
    perSecondMax: checkRate(fields['perSecondMax'], 'originShares.perSecondMax'),
    origins: checkList(checkShare, originsMax)(fields['origins'], 'originShares.origins'),
  };
}

const checkWanted: Check<OriginDemand['origins'][number]> = (value, path) => {
  const fields = checkFields(value, path);
  return {
    origin: checkOrigin(fields['origin'], `${path}.origin`),
    wanted: checkCount(fields['wanted'], `${path}.wanted`),
    pauseMs: checkNullable(checkPause)(fields['pauseMs'], `${path}.pauseMs`),
  };
};

const checkShare: Check<OriginShares['origins'][number]> = (value, path) => {
  const fields = checkFields(value, path);
  return {
    origin: checkOrigin(fields['origin'], `${path}.origin`),
    requests: checkInteger(1)(fields['requests'], `${path}.requests`),
    perSecond: checkRate(fields['perSecond'], `${path}.perSecond`),
    pauseMs: checkPause(fields['pauseMs'], `${path}.pauseMs`),
  };
};

const checkHolding: Check<Holdings['add'][number]> = (value, path) => {
  const fields = checkFields(value, path);
  return {
    asset: checkAsset(fields['asset'], `${path}.asset`),
    bytes: checkCount(fields['bytes'], `${path}.bytes`),
  };
};

const checkNode: Check<LocatedNode> = (value, path) => {
  const fields = checkFields(value, path);
  return {
    node: checkPeer(fields['node'], `${path}.node`),
    addresses: checkPeerAddresses(fields['addresses'], `${path}.addresses`),
    namespaces: checkNullable(checkList(checkNamespace, namespacesMax))(
      fields['namespaces'],
      `${path}.namespaces`,
    ),
    images: checkList(checkDigest, locateItemsMax)(fields['images'], `${path}.images`),
    assets: checkList(checkAsset, locateItemsMax)(fields['assets'], `${path}.assets`),
  };
};
