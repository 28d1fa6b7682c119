/** Nodes: shown to those whose work they may run, drained by operators. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { NodeView, Page } from '../../../protocol/wire/api.ts';
import type { CoreNode } from '../../core/entities.ts';
import { readNamespace, requireOperator } from '../caller.ts';
import type { Input } from '../input/fields.ts';
import { readText, readTextOr } from '../input/fields.ts';
import type { Context } from '../services.ts';
import { listNodeViews, liveView } from '../views/nodes.ts';

/** Operators see all nodes unless they name a namespace; others those that serve theirs. */
export async function listNodes(context: Context, input: Input): Promise<Page<NodeView>> {
  const named = readTextOr(input, 'namespace', { charsMax: 200, fallback: null });
  const seesAll = context.caller.role === 'operator' && named === null;
  const namespace = seesAll ? null : readNamespace(context.caller, input);
  const nowMs = context.deps.clock.nowMs();
  return { items: listNodeViews(context.deps.driver.state(), { namespace, nowMs }), next: null };
}

/** The node takes nothing new and finishes what runs. */
export async function drainNode(context: Context, input: Input): Promise<NodeView> {
  const { id } = getNode(context, input);
  await context.deps.driver.request({
    kind: 'nodeDrainAsked',
    ...{ node: id, by: 'operator', reason: '' },
  });
  return viewNode(context, input);
}

/** The node takes work again; a quarantine is lifted too. */
export async function undrainNode(context: Context, input: Input): Promise<NodeView> {
  const { id } = getNode(context, input);
  await context.deps.driver.request({ kind: 'nodeUndrainAsked', node: id });
  return viewNode(context, input);
}

function getNode(context: Context, input: Input): CoreNode {
  requireOperator(context.caller);
  const id = readText(input, 'id', 200);
  const fits = [...context.deps.driver.state().nodes.values()].filter(
    (node) =>
      // Peer ids all begin alike: their ends are what people can tell apart.
      node.id === id || node.id.startsWith(id) || node.id.endsWith(id) || node.profile?.name === id,
  );
  const [first, second] = fits;
  const exact = fits.find((node) => node.id === id);
  if (exact !== undefined) return exact;
  if (first === undefined) {
    throw new PerigeeError('not_found', `There is no live node "${id.slice(0, 80)}".`, {
      fix: '`scripts/perigee nodes` lists them.',
    });
  }
  if (second !== undefined) {
    throw new PerigeeError('ambiguous_id', `"${id}" fits ${first.id} and ${second.id}.`);
  }
  return first;
}

function viewNode(context: Context, input: Input): NodeView {
  const state = context.deps.driver.state();
  return liveView(getNode(context, input), state, context.deps.clock.nowMs());
}
