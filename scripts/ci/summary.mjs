// What stands at the end of a log of the checks, which may be all that is kept of it.
import { stripVTControlCharacters } from 'node:util';

const linesMax = 8;
const columnsMax = 200;
/** So that a mesh that fails as a whole does not push the first failures out of the log's end. */
const failuresMax = 40;

/** Lines on everything that failed; none when nothing did. */
export function describeFailures({ failures, checks, skips, triedAgain }) {
  const lines = [
    ...failures
      .slice(0, failuresMax)
      .flatMap(({ file, name, messages }) => [
        `FAILED ${file} > ${name}`,
        ...firstLines(messages).map((line) => `    ${line}`),
      ]),
    ...(failures.length > failuresMax
      ? [`FAILED and ${failures.length - failuresMax} more, further up`]
      : []),
    ...checks.map((name) => `FAILED the check "${name}" as a whole: see "=== ${name}" further up`),
    ...skips.map(({ file, name }) => `SKIPPED, and not listed in test/skips.md: ${file} > ${name}`),
    ...triedAgain.map(({ file, name }) => `passed only when it was tried again: ${file} > ${name}`),
  ];
  return lines.length === 0 ? [] : ['', '=== what to look at', ...lines];
}

/** Of several errors of one test the first lines, shared out in order. */
function firstLines(messages) {
  return messages
    .flatMap((message) => stripVTControlCharacters(message).split('\n'))
    .filter((line) => line.trim() !== '')
    .slice(0, linesMax)
    .map((line) => (line.length > columnsMax ? `${line.slice(0, columnsMax)} …` : line));
}
