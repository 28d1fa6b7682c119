/** What a node says of the files that a task gave out, field by field. */
import type { BlobHash } from '../wire/ids.ts';
import { blobBytesMax, outputMetadataCharsMax, taskOutputsMax } from '../wire/limits.ts';
import { isJsonObject, isMediaType, isOutputName } from '../wire/output-names.ts';
import type { TaskOutput } from '../wire/task.ts';
import type { Check } from './check-field.ts';
import {
  checkFields,
  checkInteger,
  checkList,
  checkNullable,
  checkPattern,
  checkText,
  invalidField,
} from './check-field.ts';

const checkHash = checkPattern(/^[0-9a-f]{64}$/, 'a SHA-256') as Check<BlobHash>;

const checkOutput: Check<TaskOutput> = (value, path) => {
  const fields = checkFields(value, path);
  const name = checkText(100, 1)(fields['name'], `${path}.name`);
  if (!isOutputName(name)) throw invalidField(`${path}.name`, 'a name of an output');
  const mediaType = checkText(200, 1)(fields['mediaType'], `${path}.mediaType`);
  if (!isMediaType(mediaType)) throw invalidField(`${path}.mediaType`, 'a media type');
  const metadata = checkText(outputMetadataCharsMax)(fields['metadata'], `${path}.metadata`);
  if (!isJsonObject(metadata)) throw invalidField(`${path}.metadata`, 'a JSON object');
  return {
    name,
    hash: checkHash(fields['hash'], `${path}.hash`),
    sizeBytes: checkInteger(0, blobBytesMax)(fields['sizeBytes'], `${path}.sizeBytes`),
    mediaType,
    metadata,
  };
};

const checkAll = checkNullable(checkList(checkOutput, taskOutputsMax));

/** The outputs of one outcome; none from an agent of before there were any. */
export const checkOutputs: Check<TaskOutput[]> = (value, path) => {
  const outputs = checkAll(value, path) ?? [];
  const names = new Set(outputs.map((output) => output.name));
  if (names.size < outputs.length) throw invalidField(path, 'a list without a name twice');
  return outputs;
};
