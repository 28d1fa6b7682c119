/** Namespaces: made by their users or by operators, removed by operators. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { NamespaceView, Page } from '../../../protocol/wire/api.ts';
import type { NamespaceName } from '../../../protocol/wire/ids.ts';
import { checkNamespaceName, requireOperator, requireWriter } from '../caller.ts';
import type { Input } from '../input/fields.ts';
import { readText } from '../input/fields.ts';
import type { Context, Services } from '../services.ts';
import { formatTime } from '../views/times.ts';

/** Makes a namespace; the same again changes nothing. A user may name only its own. */
export async function createNamespace(
  context: Context,
  input: Input,
): Promise<{ namespace: NamespaceName; created: boolean }> {
  const namespace = checkNamespaceName(readText(input, 'name', 200));
  requireWriter(context.caller);
  if (namespace !== context.caller.namespace) requireOperator(context.caller);
  const created = await context.deps.store.createNamespace(namespace, context.deps.clock.nowMs());
  return { namespace, created };
}

/** All namespaces. */
export async function listNamespaces(context: Context): Promise<Page<NamespaceView>> {
  requireOperator(context.caller);
  const found = await context.deps.store.listNamespaces();
  const items = found.map(({ namespace, createdAtMs }) => ({
    namespace,
    createdAt: formatTime(createdAtMs),
  }));
  return { items, next: null };
}

/**
 * Removes a namespace whose groups are all terminated, and revokes its tokens.
 * @throws PerigeeError conflict, not_found
 */
export async function removeNamespace(
  context: Context,
  input: Input,
): Promise<{ namespace: NamespaceName }> {
  requireOperator(context.caller);
  const namespace = checkNamespaceName(readText(input, 'name', 200));
  await getNamespace(context, namespace);
  if (namespace === context.caller.namespace) {
    throw new PerigeeError('conflict', 'The token in use belongs to that namespace.', {
      fix: 'Use an operator’s token of another namespace.',
    });
  }
  if (!(await context.deps.store.removeNamespace(namespace))) {
    throw new PerigeeError('conflict', `${namespace} still has groups that are not terminated.`, {
      fix: 'Terminate its groups first: `scripts/perigee group terminate ID`.',
    });
  }
  await revokeTokens(context, namespace);
  await context.deps.stac.call('removeNamespace', { namespace });
  return { namespace };
}

async function revokeTokens(context: Context, namespace: NamespaceName): Promise<void> {
  const nowMs = context.deps.clock.nowMs();
  for (const token of await context.deps.store.listTokens('access')) {
    if (token.namespaces?.includes(namespace) && token.revokedAtMs === null) {
      await context.deps.store.revokeToken(token.id, nowMs);
    }
  }
  context.authenticator.forget();
  await context.streams.recheck();
}

/** @throws PerigeeError not_found when there is no such namespace. */
export async function getNamespace(services: Services, namespace: NamespaceName): Promise<void> {
  if (await services.deps.store.hasNamespace(namespace)) return;
  throw new PerigeeError('not_found', `There is no namespace ${namespace}.`, {
    fix: `Make it first: \`scripts/perigee namespace create ${namespace}\`, or create_namespace().`,
  });
}
