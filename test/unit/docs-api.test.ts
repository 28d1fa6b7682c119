import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { groupBounds } from '../../coordinator/gateway/input/group-request.ts';
import { operations } from '../../coordinator/gateway/operations/table.ts';
import { gatewayDefaults } from '../../coordinator/gateway/settings.ts';

const root = join(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/api.md'), 'utf8');
const files = ['json-routes', 'byte-routes', 'output-routes', 'stac-routes', 'boot-routes'];
const routes = files
  .map((file) => readFileSync(join(root, 'coordinator/gateway/http', `${file}.ts`), 'utf8'))
  .join('\n');

/** `GET /v1/tasks/{}` for each call that the page names, query and names of parameters aside. */
function documentedCalls(): Set<string> {
  const calls = new Set<string>();
  for (const line of page.split('\n').filter((text) => text.startsWith('| `'))) {
    const cell = line.split(' | ')[0] ?? '';
    for (const [, method, path] of cell.matchAll(/`(GET|PUT|POST|PATCH|DELETE) (\/v1[^?`]*)/g)) {
      calls.add(`${method} ${path?.replace(/\{[^}]+\}/g, '{}')}`);
    }
    const other = /`(POST) (\/v1\/nodes\/)\{id\}\/drain`, `…\/(undrain)`/.exec(cell);
    if (other !== null) calls.add(`${other[1]} ${other[2]}{}/${other[3]}`);
    if (cell.includes('/outputs/{name}`')) calls.add('HEAD /v1/tasks/{}/outputs/{}');
    if (cell.includes('/v1/blobs/')) calls.add('HEAD /v1/blobs/{}').add('GET /v1/blobs/{}');
  }
  return calls;
}

function servedCalls(): Set<string> {
  const calls = new Set<string>();
  const add = (method = '', path = ''): void => {
    calls.add(`${method.toUpperCase()} ${path.replace(/:[A-Za-z]+/g, '{}')}`);
  };
  for (const match of routes.matchAll(/method: '([A-Z]+)',\s+url: '([^']+)'/g)) {
    add(match[1], match[2]);
  }
  for (const match of routes.matchAll(/server\.(get|put|head)(?:<[^(]*>)?\('([^']+)'/g))
    add(match[1], match[2]);
  return calls;
}

describe('docs/api.md', () => {
  it('names every call that is served, and none that is not', () => {
    expect([...documentedCalls()].sort()).toEqual([...servedCalls()].sort());
    expect(servedCalls().size).toBeGreaterThan(30);
  });

  it('gives the defaults and bounds of a group that the gateway uses', () => {
    const number = (value: number): string => value.toLocaleString('en-US');
    for (const field of ['taskTimeoutSeconds', 'retryCount', 'cpus', 'priority'] as const) {
      const { min, max, fallback } = groupBounds[field];
      const row = page.split('\n').find((line) => line.startsWith(`| \`${field}\``)) ?? '';
      expect(row).toContain(`| ${number(fallback)} |`);
      expect(row).toContain(number(min));
      expect(row).toContain(number(max));
    }
  });

  it('gives the times that the gateway grants a slow client', () => {
    const { headersTimeoutMs, bodyTimeoutMs, keepAliveTimeoutMs, heartbeatMs } = gatewayDefaults;
    expect(page).toContain(`arrive within ${headersTimeoutMs / 1000} s`);
    expect(page).toContain(`a batch within ${bodyTimeoutMs / 1000} s`);
    expect(page).toContain(`kept for ${keepAliveTimeoutMs / 1000} s`);
    expect(page).toContain(`after every ${heartbeatMs / 1000} s of silence`);
  });
});

describe('protocol/wire/client.ts', () => {
  it('names every operation that the gateway runs', () => {
    const source = readFileSync(join(root, 'protocol/wire/client.ts'), 'utf8');
    for (const name of Object.keys(operations)) {
      expect(source).toMatch(new RegExp(`^  '?${name.replace('.', '\\.')}'?: \\{`, 'm'));
    }
  });
});
