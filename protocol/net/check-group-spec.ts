/** A group as a coordinator tells it to its nodes, and as its store keeps it, checked field by field. */
import {
  environmentBytesMax,
  environmentEntriesMax,
  includeModuleCharsMax,
  includeModulesMax,
  nameCharsMax,
} from '../wire/limits.ts';
import type { GroupInclude, GroupSpec } from '../wire/task.ts';
import { isolationLevels } from '../wire/task.ts';
import {
  attemptMax,
  checkDigest,
  checkDuration,
  checkGroup,
  checkHash,
  checkNamespace,
  checkPython,
  checkSize,
} from './check-common.ts';
import type { Check } from './check-field.ts';
import {
  checkBoolean,
  checkFields,
  checkInteger,
  checkList,
  checkNullable,
  checkNumber,
  checkOneOf,
  checkText,
  invalidField,
} from './check-field.ts';

const checkEnvironment: Check<Record<string, string>> = (value, path) => {
  const fields = checkFields(value, path);
  const environment: Record<string, string> = {};
  let bytes = 0;
  const names = Object.keys(fields);
  if (names.length > environmentEntriesMax) {
    throw invalidField(path, `at most ${environmentEntriesMax} entries`);
  }
  for (const name of names) {
    const text = checkText(environmentBytesMax)(fields[name], `${path}.${name}`);
    bytes += Buffer.byteLength(name) + Buffer.byteLength(text);
    environment[name] = text;
  }
  if (bytes > environmentBytesMax) throw invalidField(path, `at most ${environmentBytesMax} bytes`);
  return environment;
};

/** A group as a coordinator tells it; also what the store's documents are read with. */
export const checkGroupSpec: Check<GroupSpec> = (value, path) => {
  const fields = checkFields(value, path);
  const at = (name: string): string => `${path}.${name}`;
  const field = <Value>(name: string, check: Check<Value>): Value => check(fields[name], at(name));
  return {
    group: field('group', checkGroup),
    namespace: field('namespace', checkNamespace),
    name: field('name', checkText(nameCharsMax)),
    imageName: field('imageName', checkText(300)),
    imageDigest: field('imageDigest', checkDigest),
    functionKind: field('functionKind', checkOneOf(['pickle', 'source'])),
    functionBlob: field('functionBlob', checkHash),
    functionEntry: field('functionEntry', checkText(200)),
    cloudpickleBlob: field('cloudpickleBlob', checkNullable(checkHash)),
    cloudpickleVersion: field('cloudpickleVersion', checkNullable(checkText(40))),
    python: field('python', checkPython),
    cpus: field('cpus', checkNumber(0, 65_536)),
    memoryBytes: field('memoryBytes', checkSize),
    taskTimeoutMs: field('taskTimeoutMs', checkDuration),
    retryCount: field('retryCount', checkInteger(0, attemptMax)),
    maximumConcurrency: field('maximumConcurrency', checkNullable(checkInteger(1))),
    queueTimeoutMs: field('queueTimeoutMs', checkNullable(checkDuration)),
    priority: field('priority', checkInteger(-1_000_000, 1_000_000)),
    taskIsolation: field('taskIsolation', checkOneOf(['worker', 'task'])),
    isolationMin: field('isolationMin', checkOneOf(isolationLevels)),
    network: field('network', checkBoolean),
    environment: field('environment', checkEnvironment),
    resultFormat: field('resultFormat', checkOneOf(['pickle', 'json', 'msgpack'])),
    // As a coordinator before it says nothing of it, nothing is said where there is none.
    ...(fields['include'] === undefined ? {} : { include: field('include', checkInclude) }),
  };
};

const checkInclude: Check<GroupInclude> = (value, path) => {
  const fields = checkFields(value, path);
  return {
    blob: checkHash(fields['blob'], `${path}.blob`),
    modules: checkList(checkText(includeModuleCharsMax), includeModulesMax)(
      fields['modules'],
      `${path}.modules`,
    ),
  };
};
