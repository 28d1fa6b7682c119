/** Every operation by the name that `/perigee/client/1` calls it by. */
import type { ClientOperationName, ClientOperations } from '../../../protocol/wire/client.ts';
import type { Input } from '../input/fields.ts';
import type { Context } from '../services.ts';
import { submitBatch } from './batches.ts';
import { findBlob } from './blobs.ts';
import { explainTask } from './explain.ts';
import { explainFleet, getFleet } from './fleet.ts';
import {
  createGroup,
  getGroup,
  listGroups,
  removeGroup,
  terminateGroup,
  updateGroup,
} from './groups.ts';
import { buildImage } from './image-build.ts';
import { listImageryCollections, searchImagery } from './imagery.ts';
import { listImages, removeImage, showImage } from './images.ts';
import { importImage } from './import-image.ts';
import { createNamespace, listNamespaces, removeNamespace } from './namespaces.ts';
import { drainNode, listNodes, undrainNode } from './nodes.ts';
import { listGroupOutputs, listTaskOutputs } from './outputs.ts';
import { getMesh, getStatus, getWhoami } from './status.ts';
import { listTasks } from './task-list.ts';
import { cancelTask, getTaskView } from './tasks.ts';
import {
  createJoinToken,
  createToken,
  listJoinTokens,
  listTokens,
  revokeJoinToken,
  revokeToken,
} from './tokens.ts';

type Output<Name extends ClientOperationName> = ClientOperations[Name]['output'];

/** What runs for each name. */
export const operations: {
  readonly [Name in ClientOperationName]: (
    context: Context,
    input: Input,
  ) => Output<Name> | Promise<Output<Name>>;
} = {
  'mesh.get': getMesh,
  whoami: getWhoami,
  'status.get': getStatus,
  'namespaces.create': createNamespace,
  'namespaces.list': listNamespaces,
  'namespaces.remove': removeNamespace,
  'tokens.create': createToken,
  'tokens.list': listTokens,
  'tokens.revoke': revokeToken,
  'joinTokens.create': createJoinToken,
  'joinTokens.list': listJoinTokens,
  'joinTokens.revoke': revokeJoinToken,
  'groups.create': createGroup,
  'groups.list': listGroups,
  'groups.get': getGroup,
  'groups.update': updateGroup,
  'groups.terminate': terminateGroup,
  'groups.remove': removeGroup,
  'batches.submit': submitBatch,
  'tasks.list': listTasks,
  'tasks.get': getTaskView,
  'tasks.cancel': cancelTask,
  'tasks.explain': explainTask,
  'tasks.outputs': listTaskOutputs,
  'groups.outputs': listGroupOutputs,
  'blobs.find': findBlob,
  'nodes.list': listNodes,
  'nodes.drain': drainNode,
  'nodes.undrain': undrainNode,
  'fleet.get': getFleet,
  'fleet.explain': explainFleet,
  'images.list': listImages,
  'images.show': showImage,
  'images.build': buildImage,
  'images.remove': removeImage,
  'images.import': importImage,
  'imagery.search': searchImagery,
  'imagery.collections': listImageryCollections,
};

/** True for the name of an operation. */
export function isOperationName(name: string): name is ClientOperationName {
  return Object.hasOwn(operations, name);
}
