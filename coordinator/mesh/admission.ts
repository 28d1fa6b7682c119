/** Who may join: nodes that were admitted before, by their peer id, and holders of a join token. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { NamespaceName, NodeId } from '../../protocol/wire/ids.ts';
import type { Hello } from '../../protocol/wire/messages.ts';
import type { Store } from '../store/port.ts';
import { hashToken } from '../tokens.ts';

export interface AdmissionDeps {
  store: Pick<Store, 'admitNode' | 'findNode' | 'findTokenByHash'>;
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
  if (known !== undefined) return known.namespaces;
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
