/** Who may join: nodes that were admitted before, by their peer id, and holders of a join token. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { InstanceId, NamespaceName, NodeId } from '../../protocol/wire/ids.ts';
import type { Hello } from '../../protocol/wire/messages.ts';
import { instanceOfToken } from '../instance-token.ts';
import type { Store } from '../store/port.ts';
import { hashToken } from '../tokens.ts';

export interface AdmissionDeps {
  store: Pick<Store, 'admitNode' | 'findNode' | 'findTokenByHash' | 'listTokens'>;
  clock: { nowMs(): number };
}

/**
 * The namespaces whose work the node may see; null for all. Takes one use of the join token the
 * first time; later the peer id, which noise has proved, is enough.
 * @throws PerigeeError join_token_wrong
 */
export async function admitNode(
  deps: AdmissionDeps,
  node: NodeId,
  hello: Hello,
): Promise<readonly NamespaceName[] | null> {
  const known = await deps.store.findNode(node);
  if (known !== undefined) {
    await checkSameInstance(deps, known.tokenId, hello);
    return known.namespaces;
  }
  if (hello.joinToken === null) {
    throw new PerigeeError(
      'join_token_wrong',
      'This node is not known here and gave no join token.',
    );
  }
  const token = await deps.store.findTokenByHash(hashToken(hello.joinToken));
  if (token?.purpose !== 'join') {
    throw new PerigeeError('join_token_wrong', 'The join token is not known to this mesh.');
  }
  if (token.revokedAtMs !== null) {
    throw new PerigeeError('join_token_wrong', 'The join token was revoked.');
  }
  const nowMs = deps.clock.nowMs();
  if (token.expiresAtMs !== null && token.expiresAtMs <= nowMs) {
    throw new PerigeeError('join_token_wrong', 'The join token has expired.');
  }
  refuseOtherInstance(instanceOfToken(token), hello);
  const admitted = await deps.store.admitNode({
    node,
    name: hello.nodeName,
    namespaces: token.namespaces,
    admittedAtMs: nowMs,
    tokenId: token.id,
  });
  if (!admitted) throw new PerigeeError('join_token_wrong', 'The join token is used up.');
  return token.namespaces;
}

/** A node stays the machine that it joined as: what it says of itself moves no other instance's state. */
async function checkSameInstance(
  deps: AdmissionDeps,
  tokenId: string,
  hello: Hello,
): Promise<void> {
  if (hello.instance === null) return;
  const token = (await deps.store.listTokens('join')).find(({ id }) => id === tokenId);
  if (token !== undefined) refuseOtherInstance(instanceOfToken(token), hello);
}

function refuseOtherInstance(bound: InstanceId | null, hello: Hello): void {
  if (bound === null || bound === hello.instance) return;
  throw new PerigeeError(
    'join_token_wrong',
    `The join token is for instance ${bound}, and the node says that it is ${hello.instance ?? 'none'}.`,
  );
}
