/** Checks of what nodes say of each other through the coordinator: who has what, and where they are. */
import type { AssetId, ImageDigest, NamespaceName, NodeId } from '../wire/ids.ts';
import {
  holdingsChangesMax,
  locatedNodesMax,
  locateItemsMax,
  peerAddressesMax,
} from '../wire/limits.ts';
import type { Holdings, Locate, Located, LocatedNode } from '../wire/messages.ts';
import type { Check } from './check-field.ts';
import {
  checkBoolean,
  checkFields,
  checkInteger,
  checkList,
  checkNullable,
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
