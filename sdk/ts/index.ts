/** The TypeScript SDK of Perigee; docs/typescript.md shows how it is used. */
export { type ErrorCode, PerigeeError } from '../../protocol/base/errors.ts';
export type {
  StacAsset,
  StacCollection,
  StacGeometry,
  StacItem,
  StacItemCollection,
} from '../../protocol/stac/item.ts';
export type {
  AttemptView,
  GroupLimitsRequest,
  GroupView,
  StatusView,
  TaskView,
  WhoamiView,
} from '../../protocol/wire/api.ts';
export type { FailureCode, TaskState } from '../../protocol/wire/task.ts';
export { asCompleted } from './as-completed.ts';
export type { MapInput, MapOptions } from './calls.ts';
export { CloudFunction } from './cloud-function.ts';
export { type ConnectOptions, connect } from './connect.ts';
export type { WaitOptions } from './deadline.ts';
export type { FunctionText } from './function-source.ts';
export { Imagery, ItemSearch, type SearchOptions, type SearchTime } from './imagery.ts';
export type { IncludeOptions } from './include-files.ts';
export { MapError } from './map-error.ts';
export { type FunctionOptions, Mesh } from './mesh.ts';
export { Task, type TaskStatus } from './task.ts';
export { TaskFailed, type TaskFailure } from './task-failed.ts';
export { TaskOutput } from './task-output.ts';
export type { Value } from './value.ts';
export { version } from './version.ts';
